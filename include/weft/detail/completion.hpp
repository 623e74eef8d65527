// SPDX-License-Identifier: Apache-2.0
// What a fiber and its handle share: whether it has ended, how, and who waits for that. The result itself lies in a
// derived class.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>

#include <weft/detail/any_duration.hpp>
#include <weft/detail/atomic.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/select_entry.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/detail/wait_list.hpp>

namespace weft {
inline namespace v0 {
namespace detail {

class WEFT_EXPORT completion {
 public:
  completion() noexcept = default;
  completion(const completion&) = delete;
  completion& operator=(const completion&) = delete;

  void retain() noexcept {
    references_.fetch_add(1, std::memory_order_relaxed);
  }  // the caller has one: it cannot go to zero
  void release() noexcept;

  bool done() const noexcept { return done_.load(std::memory_order_acquire); }  // pairs with the release in `finish`
  std::uint64_t id() const noexcept { return id_; }

  /// Waits for the end. Throws `cancelled`.
  void wait();
  /// The same, at most for so long; true: it has ended.
  bool wait_for(any_duration at_most);
  /// After the end: throws what the fiber threw, or fiber_cancelled; marks it as taken.
  void take_error();

  /// The end, as a case of a select.
  select_entry end_case() noexcept;

  void cancel() noexcept;
  void detach() noexcept;
  /// The handle's destructor: cancels, waits shielded, and decides what becomes of an error that nobody took.
  void abandon() noexcept;

 protected:
  virtual ~completion();

 private:
  friend struct completion_access;

  spin_lock lock_;
  detail::atomic<std::uint32_t> references_{1};
  detail::atomic<bool> done_{false};
  bool cancelled_ = false;  ///< it ended by `cancelled`; written before `done_`
  bool in_scope_ = false;   ///< a scope hears of its error too
  bool detached_ WEFT_GUARDED_BY(lock_) = false;
  detail::atomic<bool> taken_{false};
  wait_list joiners_ WEFT_GUARDED_BY(lock_);
  std::exception_ptr error_;  ///< written before `done_`
  void* g_ = nullptr;
  std::uint64_t id_ = 0;
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
