// SPDX-License-Identifier: Apache-2.0
// Mutual exclusion of fibers and threads.
#pragma once

#include <chrono>
#include <cstdint>

#include <weft/detail/any_duration.hpp>
#include <weft/detail/atomic.hpp>
#include <weft/detail/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/wait_list.hpp>

namespace weft {
inline namespace v0 {

/// mutex excludes fibers and threads from each other; Lockable and TimedLockable, for std::lock_guard,
/// std::unique_lock, std::scoped_lock.
///
/// Whoever comes by when it is free may take it, also ahead of those who wait (that is what makes it fast); one who has
/// waited longer than a millisecond is handed it directly. It does not know its owner: any fiber may unlock it, and
/// locking it twice deadlocks. Unlocking what is not locked ends the process. What happened before an `unlock` happens
/// before the `lock` that follows it.
class WEFT_EXPORT mutex {
 public:
  constexpr mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  /// Waits until the mutex is the caller's. Not cancellable.
  void lock() noexcept {
    std::uint32_t free = 0;
    if (!word_.compare_exchange_strong(free, locked_bit, std::memory_order_acquire, std::memory_order_relaxed))
        [[unlikely]]
      lock_slow(-1);
  }
  /// Never waits.
  [[nodiscard]] bool try_lock() noexcept;
  /// Waits at most for so long; true: it is the caller's. Not cancellable.
  [[nodiscard]] bool try_lock_for(detail::any_duration at_most) noexcept {
    return try_lock() || (at_most.ns() > 0 && lock_slow(at_most.ns()));
  }
  /// Waits at most until then; true: it is the caller's. Not cancellable.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) {
    return detail::try_until(when, [this](detail::any_duration left) { return try_lock_for(left); });
  }
  /// Never waits.
  void unlock() noexcept {
    std::uint32_t mine = locked_bit;
    if (!word_.compare_exchange_strong(mine, 0, std::memory_order_release, std::memory_order_relaxed)) [[unlikely]]
      unlock_slow();
  }

 private:
  static constexpr std::uint32_t locked_bit = 1;
  /// patience in ns, -1: for ever.
  bool lock_slow(std::int64_t patience) noexcept;
  void unlock_slow() noexcept;
  // {waiters:29, woken:1, queue lock:1, locked:1}: see runtime/sync/basic_mutex.hpp.
  detail::atomic<std::uint32_t> word_{0};
  detail::wait_list waiters_;
};

}  // namespace v0
}  // namespace weft
