// SPDX-License-Identifier: Apache-2.0
// The lock inside weft's own objects: a word, held for tens of nanoseconds, never across malloc, mmap, clone, futex or
// any other system call (but, where a cancellation or the monitor spreads a word to all threads, membarrier), and never
// while user code runs.
//
// Price: one locked instruction to lock, none to unlock (a plain release store). A waiter that loses spins 100 pauses,
// then yields its time slice, then sleeps 50 µs at a time: with more threads than CPUs the holder may be off its CPU.
// Memory order: `lock` acquires what the last `unlock` released.
#pragma once

#include <cstdint>

#include <weft/detail/annotations.hpp>
#include <weft/detail/atomic.hpp>
#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {
namespace detail {

class WEFT_CAPABILITY("mutex") spin_lock {
 public:
  constexpr spin_lock() noexcept = default;
  spin_lock(const spin_lock&) = delete;
  spin_lock& operator=(const spin_lock&) = delete;

  void lock() noexcept WEFT_ACQUIRE() {
    if (word_.exchange(1, std::memory_order_acquire) != 0) [[unlikely]]
      lock_slow();
  }
  bool try_lock() noexcept WEFT_TRY_ACQUIRE(true) {
    // The load keeps a loop of try_lock from stealing the holder's cache line; it orders nothing.
    return word_.load(std::memory_order_relaxed) == 0 && word_.exchange(1, std::memory_order_acquire) == 0;
  }
  void unlock() noexcept WEFT_RELEASE() { word_.store(0, std::memory_order_release); }

  /// True while somebody holds it. For fast paths that must not return while a waker is still inside (destroy after
  /// wake).
  bool is_locked() const noexcept { return word_.load(std::memory_order_acquire) != 0; }

 private:
  WEFT_EXPORT void lock_slow() noexcept;
  detail::atomic<std::uint32_t> word_{0};
};

/// Scoped ownership that clang's analysis understands (std::lock_guard carries no annotations in libstdc++).
class WEFT_SCOPED_CAPABILITY spin_guard {
 public:
  explicit spin_guard(spin_lock& l) noexcept WEFT_ACQUIRE(l) : lock_(l) { lock_.lock(); }
  ~spin_guard() WEFT_RELEASE() { lock_.unlock(); }
  spin_guard(const spin_guard&) = delete;
  spin_guard& operator=(const spin_guard&) = delete;

 private:
  spin_lock& lock_;
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
