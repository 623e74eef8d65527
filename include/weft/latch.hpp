// SPDX-License-Identifier: Apache-2.0
// A count that goes down once.
#pragma once

#include <cstddef>
#include <limits>

#include <weft/detail/export.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/detail/wait_list.hpp>

namespace weft {
inline namespace v0 {

/// latch lets its waiters go once its count has come to zero, and stays open. As std::latch, with cancellable waits.
///
/// What happened before a `count_down` happens before the return of a wait. A negative number throws
/// std::invalid_argument, a count below zero std::logic_error, and the count is unchanged. Any fiber or plain thread.
class WEFT_EXPORT latch {
 public:
  /// Throws std::invalid_argument for expected < 0.
  constexpr explicit latch(std::ptrdiff_t expected) : left_(expected >= 0 ? expected : refuse("latch", expected)) {}
  latch(const latch&) = delete;
  latch& operator=(const latch&) = delete;

  static constexpr std::ptrdiff_t max() noexcept { return std::numeric_limits<std::ptrdiff_t>::max(); }

  /// Never waits, never throws `cancelled`.
  void count_down(std::ptrdiff_t n = 1);
  /// Whether the count is zero. Never waits.
  [[nodiscard]] bool try_wait() const noexcept;
  /// Waits until the count is zero. Cancellable.
  void wait() const;
  /// Counts down, and waits. Cancellable: at its entry it throws before it has counted; if it is cancelled while it
  /// waits, it has counted.
  void arrive_and_wait(std::ptrdiff_t n = 1);

 private:
  [[noreturn]] static std::ptrdiff_t refuse(const char* what, std::ptrdiff_t n);
  mutable detail::spin_lock lock_;
  std::ptrdiff_t left_ WEFT_GUARDED_BY(lock_);
  mutable detail::wait_list waiters_ WEFT_GUARDED_BY(lock_);
};

}  // namespace v0
}  // namespace weft
