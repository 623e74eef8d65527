// SPDX-License-Identifier: Apache-2.0
// Synchronisation between fibers and plain threads: wait_group and mutex.
//
// All of these are neither copyable nor movable, need no memory of their own, have constexpr constructors (so they can
// be globals) and keep their layout with and without NDEBUG. Any of them may be destroyed by the fiber that its last
// waker has let go.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <weft/detail/any_duration.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/detail/wait_list.hpp>

namespace weft::inline v0 {

/// wait_group waits until a number of things are done. Reusable once a wait has returned.
///
/// What happened before a `done` happens before the return of the `wait` that it releases.
class WEFT_EXPORT wait_group {
 public:
  constexpr wait_group() noexcept = default;
  wait_group(const wait_group&) = delete;
  wait_group& operator=(const wait_group&) = delete;

  /// Adds `n`, which may be negative. Never waits. Throws std::logic_error, and changes nothing, if the count would
  /// become negative or exceed 2^31 - 1.
  void add(int n = 1);
  /// The same as add(-1). Never throws `cancelled`.
  void done() { add(-1); }
  /// Waits until the count is zero. Cancellable.
  void wait();
  /// The same, at most for so long; true: the count was zero.
  [[nodiscard]] bool wait_for(detail::any_duration at_most);
  /// Counts one, and starts `f` in a fiber of its own, detached; done when `f` returns. Never waits. If `f` throws, the
  /// process ends as with weft::go; if it is cancelled, it counts as done.
  template <class F>
  void go(F&& f) {
    add(1);
    counted_call<std::decay_t<F>> call{counted(this), std::forward<F>(f)};
    detail::plant<decltype(call)>(nullptr, nullptr, nullptr, std::move(call));
  }

 private:
  /// One that is to be done, by whoever holds it last.
  class counted {
   public:
    explicit counted(wait_group* group) noexcept : group_(group) {}
    counted(counted&& other) noexcept : group_(std::exchange(other.group_, nullptr)) {}
    counted& operator=(counted&&) = delete;
    ~counted() {
      if (group_ != nullptr) group_->done();
    }

   private:
    wait_group* group_;
  };
  template <class F>
  struct counted_call {
    counted one;  // goes after `f`: what the closure holds is gone when the wait returns
    F f;
    void operator()() && { std::move(f)(); }
  };

  bool wait_until(std::int64_t deadline);
  // {count:32, waiters:31, lock:1}: see runtime/sync/wait_group.cpp.
  std::atomic<std::uint64_t> word_{0};
  detail::wait_list waiters_;
};

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
  /// Waits at most for so long. Not cancellable.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& at_most) noexcept {
    if (try_lock()) return true;
    const auto patience = std::chrono::duration_cast<std::chrono::nanoseconds>(at_most).count();
    return patience > 0 && lock_slow(patience);
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) noexcept {
    return try_lock_for(when - Clock::now());
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
  // {waiters:28, starving:1, woken:1, queue lock:1, locked:1}: see runtime/sync/mutex.cpp.
  std::atomic<std::uint32_t> word_{0};
  detail::wait_list waiters_;
};

}  // namespace weft::inline v0
