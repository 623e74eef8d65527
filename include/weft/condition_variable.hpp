// SPDX-License-Identifier: Apache-2.0
// Waiting, with a mutex given up meanwhile, until somebody says that something has changed.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include <weft/detail/any_duration.hpp>
#include <weft/detail/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/detail/wait_list.hpp>
#include <weft/mutex.hpp>

namespace weft {
inline namespace v0 {

/// condition_variable lets those who hold a weft::mutex wait for a change that others make under it.
///
/// A wait queues the caller and gives the mutex up in one step: no notification in between is missed. It has the mutex
/// again when it returns, and when it throws. It is woken by a notification, its deadline or a cancellation, and by
/// nothing else; who comes first may still have changed things again, so wait with a predicate. All waits are
/// cancellable: one that was notified returns though a cancellation came after; one that was not throws, and the
/// notification goes to the next. A `lock` that does not own a mutex throws std::system_error
/// (operation_not_permitted). Any fiber or plain thread.
///
/// ```cpp
/// std::unique_lock lock(guard);
/// changed.wait(lock, [&] { return !queue.empty(); });
/// ```
class WEFT_EXPORT condition_variable {
 public:
  constexpr condition_variable() noexcept = default;
  condition_variable(const condition_variable&) = delete;
  condition_variable& operator=(const condition_variable&) = delete;

  /// Wakes the one who has waited longest, if anybody waits. Never waits; the mutex need not be held.
  void notify_one() noexcept;
  /// Wakes all who wait now. Never waits; the mutex need not be held.
  void notify_all() noexcept;

  /// Waits for a notification. Cancellable.
  void wait(std::unique_lock<mutex>& lock) { wait_for_ns(lock, detail::for_ever); }
  /// Waits until `done()`, which is called with the mutex held, is true. Cancellable, at its entry also if it is true
  /// by then.
  template <class Predicate>
  void wait(std::unique_lock<mutex>& lock, Predicate done) {
    enter(lock);
    while (!done()) wait(lock);
  }

  /// Waits for a notification, at most for so long. Cancellable.
  std::cv_status wait_for(std::unique_lock<mutex>& lock, detail::any_duration at_most) {
    return wait_for_ns(lock, at_most.ns()) ? std::cv_status::no_timeout : std::cv_status::timeout;
  }
  /// Waits until `done()`, at most for so long; returns what it says last. Cancellable.
  template <class Predicate>
  bool wait_for(std::unique_lock<mutex>& lock, detail::any_duration at_most, Predicate done) {
    const std::int64_t deadline = enter(lock, at_most.ns());
    while (!done()) {
      if (!wait_until_ns(lock, deadline)) return done();
    }
    return true;
  }

  /// Waits for a notification, at most until then. Cancellable.
  template <class Clock, class Duration>
  std::cv_status wait_until(std::unique_lock<mutex>& lock, const std::chrono::time_point<Clock, Duration>& when) {
    if (wait_for_ns(lock, detail::time_left(when).ns())) return std::cv_status::no_timeout;
    return detail::time_left(when).ns() == 0 ? std::cv_status::timeout : std::cv_status::no_timeout;
  }
  /// Waits until `done()`, at most until then; returns what it says last. Cancellable.
  template <class Clock, class Duration, class Predicate>
  bool wait_until(std::unique_lock<mutex>& lock, const std::chrono::time_point<Clock, Duration>& when, Predicate done) {
    enter(lock);
    while (!done()) {
      if (wait_until(lock, when) == std::cv_status::timeout) return done();
    }
    return true;
  }

 private:
  /// Throws if the caller is cancelled, or if `lock` owns nothing; when `patience` (ns) ends.
  static std::int64_t enter(const std::unique_lock<mutex>& lock, std::int64_t patience = detail::for_ever);
  /// False: the time has come.
  bool wait_for_ns(std::unique_lock<mutex>& lock, std::int64_t patience);
  bool wait_until_ns(std::unique_lock<mutex>& lock, std::int64_t deadline);
  detail::spin_lock lock_;
  detail::wait_list waiters_;
};

}  // namespace v0
}  // namespace weft
