// SPDX-License-Identifier: Apache-2.0
// mutex: one word {waiters:29, woken:1, queue lock:1, locked:1} and the list of waiters.
//
// Barging with hand-over: an unlock frees the mutex and wakes the first waiter, which may find it taken again and then
// waits at the front; one that has waited for a millisecond is handed the mutex still locked, and none can overtake it.
//
// Invariants
//  1. While the queue lock is set nobody else changes the word: every compare-and-swap expects it clear, so the holder
//     may store.
//  2. `waiters` is the length of the list; it changes under the queue lock.
//  3. `woken` is set by the unlock that wakes a waiter without handing over, and cleared by that waiter when it takes
//     the mutex or queues again; while it is set an unlock wakes nobody else.
//  4. Destroy after wake: an unlock's last access to the object is the store (or compare-and-swap) that frees the
//     mutex, or the one that releases the queue lock when it hands over. It wakes afterwards.
//  5. lock() cannot be cancelled and waits in one queue without a timer: its waiter's claim is a plain store.
//
// Memory order: the thread that takes the mutex acquires what the last unlock released; both are on the word. A waiter
// that is handed it learns that through `wake`. `Env` as in runtime/wait/waiter.hpp. Locked instructions: lock 1,
// unlock 1 (2 with waiters); the fast paths are in include/weft/mutex.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/sync/word_lock.hpp"
#include "runtime/wait/wait.hpp"

namespace weft::rt {

/// The slow paths, over the members of a mutex.
template <class Env>
class basic_mutex {
 public:
  using word_type = typename Env::atomics::template atomic<std::uint32_t>;
  using node = waiter<Env>;

  static constexpr std::uint32_t locked = 1;
  static constexpr nanoseconds_t starved_after = 1'000'000;

  basic_mutex(word_type& word, detail::wait_list& waiters) noexcept : word_(word), waiters_(waiters) {}

  bool try_lock() noexcept {
    std::uint32_t w = word_.load(std::memory_order_relaxed);
    for (int turn = 0;;) {
      if ((w & locked) != 0) return false;
      if ((w & queue_lock) != 0) {
        bit_lock_pause<typename Env::atomics>(turn++);
        w = word_.load(std::memory_order_relaxed);
        continue;
      }
      if (word_.compare_exchange_weak(w, w | locked, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    }
  }

  /// `patience` in ns, negative: forever.
  bool lock(nanoseconds_t patience) noexcept {
    const bool may_spin = Env::may_spin();
    nanoseconds_t started = 0;
    nanoseconds_t deadline = never;
    std::uint32_t holds_woken = 0;
    int spins = 0;
    for (int turn = 0;;) {
      std::uint32_t w = word_.load(std::memory_order_relaxed);
      if ((w & queue_lock) != 0) {
        bit_lock_pause<typename Env::atomics>(turn++);
        continue;
      }
      if ((w & locked) == 0) {
        if (word_.compare_exchange_weak(w, (w & ~holds_woken) | locked, std::memory_order_acquire,
                                        std::memory_order_relaxed))
          return true;
        continue;
      }
      if (may_spin && spins < spin_rounds) {
        ++spins;
        for (int i = 0; i < pauses_a_round; ++i) Env::atomics::pause();
        continue;
      }
      const bool again = started != 0;
      if (!again) {
        started = Env::now();
        if (patience >= 0) deadline = saturating_add(started, patience);
      }
      if (!word_.compare_exchange_weak(w, w | queue_lock, std::memory_order_acquire, std::memory_order_relaxed))
        continue;
      node mine;
      mine.amount = static_cast<std::size_t>(started);
      switch (wait_in_queue<Env>(queue_ref{&word_, holds_woken}, waiters_, mine,
                                 {wait_reason::mutex_lock, false, deadline}, again)) {
        case wait_outcome::ok:
          return true;  // handed over, still locked
        case wait_outcome::timed_out:
          return false;
        default:
          holds_woken = woken;  // free when we were woken: try again
          spins = 0;
      }
    }
  }

  /// Returns false if it was not locked.
  bool unlock() noexcept {
    std::uint32_t w = word_.load(std::memory_order_relaxed);
    for (int turn = 0;;) {
      if ((w & locked) == 0) return false;
      if ((w & queue_lock) != 0) {
        bit_lock_pause<typename Env::atomics>(turn++);
        w = word_.load(std::memory_order_relaxed);
        continue;
      }
      const bool nobody_to_wake = w < one_waiter || (w & woken) != 0;
      if (word_.compare_exchange_weak(w, nobody_to_wake ? w & ~locked : w | queue_lock, std::memory_order_acq_rel,
                                      std::memory_order_relaxed)) {
        if (nobody_to_wake) return true;
        break;
      }
    }
    int popped = 0;
    node* const next = wait_queue<Env>(waiters_).pop_claimed(popped);
    w -= static_cast<std::uint32_t>(popped) * one_waiter;
    if (next == nullptr) {
      word_.store(w & ~locked, std::memory_order_release);
      return true;
    }
    auto* const g = static_cast<typename Env::fiber*>(next->g);
    const bool starved = Env::now() - static_cast<nanoseconds_t>(std::size_t{next->amount}) > starved_after;
    next->result = starved ? wait_result::ok : wait_result::closed;
    // `w` is as before the queue lock was set.
    word_.store(starved ? w : (w & ~locked) | woken, std::memory_order_release);
    Env::wake(g);
    return true;
  }

 private:
  static constexpr std::uint32_t queue_lock = 2;
  static constexpr std::uint32_t woken = 4;
  static constexpr std::uint32_t one_waiter = 8;
  static constexpr int spin_rounds = 4;
  static constexpr int pauses_a_round = 30;

  struct queue_ref {
    word_type* word;
    std::uint32_t clear_when_queued;  ///< `woken`, if the caller holds it

    void lock() noexcept {
      for (int turn = 0;; ++turn) {
        std::uint32_t w = word->load(std::memory_order_relaxed);
        if ((w & queue_lock) == 0 &&
            word->compare_exchange_weak(w, w | queue_lock, std::memory_order_acquire, std::memory_order_relaxed))
          return;
        bit_lock_pause<typename Env::atomics>(turn);
      }
    }
    void unlock(int grown_by) noexcept {
      std::uint32_t w = word->load(std::memory_order_relaxed) - queue_lock;
      w += static_cast<std::uint32_t>(grown_by) * one_waiter;
      if (grown_by > 0) w &= ~clear_when_queued;
      word->store(w, std::memory_order_release);
    }
  };

  word_type& word_;
  detail::wait_list& waiters_;
};

}  // namespace weft::rt
