// SPDX-License-Identifier: Apache-2.0
// The regions of with_deadline and shield: local objects, so that what runs in them returns its result in place, also one
// that cannot be moved. On a plain thread they are nothing.
#pragma once

#include <chrono>
#include <cstddef>

#include <weft/detail/cancel_frame.hpp>
#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {
namespace detail {

/// While it lives, and until its deadline, the calling fiber's waits go on as before; past it they throw `cancelled`.
class WEFT_EXPORT deadline_region {
 public:
  explicit deadline_region(std::chrono::steady_clock::time_point deadline) noexcept;
  deadline_region(const deadline_region&) = delete;
  deadline_region& operator=(const deadline_region&) = delete;
  ~deadline_region();

  /// Called in a handler of `cancelled`, which has left the region. Ends it and throws: timed_out if its deadline has
  /// cancelled it and nothing outside is cancelled; what a wait outside would throw, if something is; else `cancelled`.
  [[noreturn]] void leave_cancelled();

 private:
  void end() noexcept;

  cancel_frame frame_;
  void* g_ = nullptr;  ///< the fiber; null on a plain thread, and once it is ended
  alignas(void*) std::byte timer_[72];
};

/// While it lives the calling fiber's waits are not cancelled.
class WEFT_EXPORT shield_region {
 public:
  shield_region() noexcept;
  shield_region(const shield_region&) = delete;
  shield_region& operator=(const shield_region&) = delete;
  ~shield_region();

 private:
  cancel_frame frame_;
  void* g_ = nullptr;
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
