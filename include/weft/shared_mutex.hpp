// SPDX-License-Identifier: Apache-2.0
// Mutual exclusion of writers from each other and from readers.
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

/// shared_mutex lets in either one writer (`lock`) or any number of readers (`lock_shared`); for std::unique_lock and
/// std::shared_lock, timed or not.
///
/// A waiting writer holds back readers that come after him; when he unlocks, the readers that waited meanwhile go
/// first. So neither side starves the other. Therefore a reader must not lock it again while it has it: a writer may
/// have come in between. It does not know its owners. Unlocking what is not locked ends the process. What happened
/// before an unlock happens before the lock that it makes possible. Any fiber or plain thread.
///
/// ```cpp
/// std::shared_lock reading(guard);  // or std::unique_lock writing(guard)
/// return table.at(key);
/// ```
class WEFT_EXPORT shared_mutex {
 public:
  constexpr shared_mutex() noexcept = default;
  shared_mutex(const shared_mutex&) = delete;
  shared_mutex& operator=(const shared_mutex&) = delete;

  /// Waits until the caller is the only one in. Not cancellable.
  void lock() noexcept {
    std::uint32_t free = 0;
    if (!word_.compare_exchange_strong(free, writer_bit, std::memory_order_acquire, std::memory_order_relaxed))
        [[unlikely]]
      lock_slow(detail::for_ever);
  }
  /// Never waits.
  [[nodiscard]] bool try_lock() noexcept;
  /// Waits at most for so long; true: the caller is in. Not cancellable.
  [[nodiscard]] bool try_lock_for(detail::any_duration at_most) noexcept {
    return try_lock() || (at_most.ns() > 0 && lock_slow(at_most.ns()));
  }
  /// Waits at most until then; true: the caller is in. Not cancellable.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) {
    return detail::try_until(when, [this](detail::any_duration left) { return try_lock_for(left); });
  }
  /// Never waits.
  void unlock() noexcept {
    std::uint32_t mine = writer_bit;
    if (!word_.compare_exchange_strong(mine, 0, std::memory_order_release, std::memory_order_relaxed)) [[unlikely]]
      unlock_slow();
  }

  /// Waits until no writer is in, and none that came before waits. Not cancellable.
  void lock_shared() noexcept {
    std::uint32_t w = word_.load(std::memory_order_relaxed);  // the exchange says whether it was right
    if ((w & not_readers) != 0 || !word_.compare_exchange_strong(w, w + one_reader, std::memory_order_acquire,
                                                                 std::memory_order_relaxed)) [[unlikely]]
      lock_shared_slow(detail::for_ever);
  }
  /// Never waits. False also while a writer waits.
  [[nodiscard]] bool try_lock_shared() noexcept;
  /// Waits at most for so long; true: the caller is in. Not cancellable.
  [[nodiscard]] bool try_lock_shared_for(detail::any_duration at_most) noexcept {
    return try_lock_shared() || (at_most.ns() > 0 && lock_shared_slow(at_most.ns()));
  }
  /// Waits at most until then; true: the caller is in. Not cancellable.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration>& when) {
    return detail::try_until(when, [this](detail::any_duration left) { return try_lock_shared_for(left); });
  }
  /// Never waits.
  void unlock_shared() noexcept {
    std::uint32_t w = word_.load(std::memory_order_relaxed);  // the exchange says whether it was right
    if ((w & not_readers) != 0 || w == 0 ||
        !word_.compare_exchange_strong(w, w - one_reader, std::memory_order_release, std::memory_order_relaxed))
        [[unlikely]]
      unlock_shared_slow();
  }

 private:
  static constexpr std::uint32_t writer_bit = 2, not_readers = 7, one_reader = 8;
  bool lock_slow(std::int64_t patience) noexcept;
  bool lock_shared_slow(std::int64_t patience) noexcept;
  void unlock_slow() noexcept;
  void unlock_shared_slow() noexcept;
  // {readers:29, somebody waits:1, writer:1, queue lock:1}: see runtime/sync/basic_shared_mutex.hpp.
  detail::atomic<std::uint32_t> word_{0};
  detail::wait_list writers_;
  detail::wait_list readers_;
};

}  // namespace v0
}  // namespace weft
