// SPDX-License-Identifier: Apache-2.0
// wait_group: one word {count:32, waiters:31, lock:1} and the list of waiters.
//
// Invariants
//  1. `waiters` is the length of the list; both change only under the lock bit. `count` changes by a compare-and-swap
//     at any time, except that the step to zero with waiters present takes the lock bit in the same instruction.
//  2. Destroy after wake: a thread that sees {0, *, unlocked} may go, and destroy the object. Therefore the last
//     `done` keeps the lock bit set until it has emptied the list, and the store that clears it is its last access; it
//     wakes afterwards.
//  3. A waiter that was woken does not touch the object again.
//
// Memory order: the compare-and-swap of `add` is acq_rel: each `done` releases what its caller did, the last one
// acquires it all, and its release of the lock bit (or the wake) hands it to the waiters, whose look at the word is an
// acquire. Locked instructions: add, done: 1. wait on zero: none.
#include <weft/wait_group.hpp>

#include <stdexcept>
#include <string>

#include <weft/detail/atomic.hpp>

#include "runtime/sched/ready.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/sched/timer_heap.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/scope/outcome.hpp"
#include "runtime/sync/word_lock.hpp"
#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

constexpr std::uint64_t lock_bit = 1;
constexpr std::uint64_t one_waiter = 2;
constexpr std::uint64_t waiters_mask = 0xffff'fffe;
constexpr unsigned count_shift = 32;

constexpr std::int64_t count_of(std::uint64_t word) noexcept { return static_cast<std::int64_t>(word >> count_shift); }

std::uint64_t lock_word(detail::atomic<std::uint64_t>& word) noexcept {
  for (int turn = 0;; ++turn) {
    std::uint64_t w = word.load(std::memory_order_relaxed);
    if ((w & lock_bit) == 0 &&
        word.compare_exchange_weak(w, w | lock_bit, std::memory_order_acquire, std::memory_order_relaxed))
      return w | lock_bit;
    bit_lock_pause(turn);
  }
}

/// The word's lock bit in the shape that the wait protocol wants.
struct word_lock {
  detail::atomic<std::uint64_t>* word;

  void lock() noexcept { lock_word(*word); }
  void unlock(int grown_by) noexcept {
    word->fetch_add(static_cast<std::uint64_t>(std::int64_t{grown_by}) * one_waiter - lock_bit,
                    std::memory_order_release);
  }
};

}  // namespace

void wait_group::add(int n) {
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  for (int turn = 0;;) {
    const std::int64_t count = count_of(word) + n;
    if (count < 0)
      throw std::logic_error("weft: negative wait_group count: " + std::to_string(count_of(word)) + " and add(" +
                             std::to_string(n) + ")");
    if (count > 0x7fff'ffff) throw std::logic_error("weft: wait_group count exceeds 2147483647");
    std::uint64_t next = (static_cast<std::uint64_t>(count) << count_shift) | (word & (waiters_mask | lock_bit));
    const bool last = count == 0 && (word & waiters_mask) != 0;
    if (last || (count == 0 && (word & lock_bit) != 0)) {
      // A fiber is about to wait, or to leave: the number of waiters must be known before the step to zero.
      if ((word & lock_bit) != 0) {
        bit_lock_pause(turn++);
        word = word_.load(std::memory_order_relaxed);
        continue;
      }
      next |= lock_bit;
    }
    if (!word_.compare_exchange_weak(word, next, std::memory_order_acq_rel, std::memory_order_relaxed)) continue;
    if (!last) return;
    break;
  }
  const g_list woken = wait_queue<env>(waiters_).pop_all(wait_result::ok);
  // The last access. Not a store: an `add` may have come in between.
  word_.fetch_and(~(waiters_mask | lock_bit), std::memory_order_release);
  wake_all(woken);
}

bool wait_group::wait_until(std::int64_t deadline) {
  check_cancelled(current_g());
  std::uint64_t word = word_.load(std::memory_order_acquire);
  if (count_of(word) == 0 && (word & lock_bit) == 0) return true;
  if (deadline == 0) return false;
  word = lock_word(word_);
  if (count_of(word) == 0) {
    word_.fetch_and(~lock_bit, std::memory_order_release);
    return true;
  }
  waiter<env> w;
  const wait_outcome how =
      wait_in_queue<env>(word_lock{&word_}, waiters_, w, {wait_reason::wait_group, true, deadline});
  if (how == wait_outcome::timed_out) return false;
  throw_if_not_ok(how);
  return true;
}

void wait_group::wait() { wait_until(never); }

bool wait_group::wait_for(detail::any_duration at_most) {
  return wait_until(at_most.ns() <= 0 ? 0 : saturating_add(steady_now(), at_most.ns()));
}

}  // namespace v0
}  // namespace weft
