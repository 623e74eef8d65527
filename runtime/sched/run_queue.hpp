// SPDX-License-Identifier: Apache-2.0
//
// The run queue of a P: a ring of N runnable fibers and the slot `runnext`.
//
// Problem: the P's owner pushes and pops some ten million times a second, thieves come seldom, and nobody may take a
// lock. One owner (the M that holds the P) writes the tail and fills runnext; everyone may take: from the ring by
// moving the head, from runnext by swapping it to null.
//
// Invariants
//   I1  head <= tail <= head + N (as distances; the indices wrap). Slots in [head, tail) hold published fibers.
//   I2  only the owner stores the tail, ring slots of its own queue, and non-null values into runnext.
//   I3  a fiber that put_next displaced goes to the ring at once; until then `displacing_` is true.
//   I4  a fiber is in at most one slot of one queue; whoever moves the head over it, or swaps it out of runnext, owns
//       it.
//
// Memory-order pairs (R release, A acquire)
//   tail_ R in put, steal_from        -> A in steal_from, empty: the slot and the fiber's own fields
//   head_ R by the CAS of get, take_half, steal_from -> A in put: the slot was read before it is filled again
//   next_ seq_cst exchange in put_next -> A in steal_next, peek_next, empty: the fiber's own fields
//   displacing_: true before the exchange of put_next, false R after the tail's store in put -> A in empty, after
//                next_: whoever sees what the exchange did (or what a thief made of it) sees true, or the displaced in
//                the ring (the CAS of get_next and steal_next carry on the exchange's release sequence, so they need
//                no release)
//   next_ seq_cst exchange in put_next + seq_cst load in idle_state::submit_wants_wake
//                                     -> fence in idle_state::give_up_p + loads in empty: the submit/idle pair.
//
// The trap in merging submit's fence with the exchange. The displaced fiber reaches the ring by a plain store *after*
// the exchange: nothing orders this store before the submitter's look at the searchers. It is sound all the same: a
// thread that goes idle and looks again sees runnext occupied, or, if somebody emptied it right after the exchange,
// sees `displacing_` (and empty() says no) or the displaced fiber in the ring. Without the mark a wake-up can be lost:
// tests/model/idle_test.cpp.
//
// Rejected: Go's put with a locked store of the tail (5 ns for each spawn); thieves of runnext that wait until the
// victim has left the runtime (it may be asleep there); a ring whose thieves lock it (a preempted thief stops the
// owner); an unbounded deque (memory to give back, and the overflow to the global queue is what keeps a spawn storm
// fair).
#pragma once

#include <cassert>
#include <cstdint>

#include "runtime/base/atomics.hpp"

namespace weft::rt {

// T has a member `T* link`, which is free to use for whoever owns the fiber.
template <class T, class Atomics = std_atomics, unsigned N = 256>
class run_queue {
  static_assert(N >= 2 && (N & (N - 1)) == 0, "the ring's size must be a power of two: indices wrap at 2^32");

 public:
  static constexpr unsigned capacity = N;

  run_queue() = default;
  run_queue(const run_queue&) = delete;
  run_queue& operator=(const run_queue&) = delete;

  // Owner. Puts a fiber where it runs next; returns whom it displaced, who has to go to put() next, or null.
  // 1 locked instruction; it is also the fence of submit, so none has to follow it.
  T* put_next(T* fiber) noexcept {
    const bool occupied = next_.load(std::memory_order_relaxed) != nullptr;  // if not, it stays so: I2
    if (occupied) displacing_.store(true, std::memory_order_relaxed);        // published by the exchange
    T* const displaced = next_.exchange(fiber, std::memory_order_seq_cst);
    if (occupied && displaced == nullptr)
      displacing_.store(false, std::memory_order_relaxed);  // stolen: none on its way
    return displaced;
  }

  // Owner. Appends to the ring; false if it is full. 0 locked instructions, hence no fence: see the trap above for
  // displaced fibers; any other caller that relies on a wake-up executes a full fence afterwards.
  bool put(T* fiber) noexcept {
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);  // own store
    if (tail - head >= N) return false;
    ring_[tail % N].store(fiber, std::memory_order_relaxed);  // published by the next line
    tail_.store(tail + 1, std::memory_order_release);
    if (displacing_.load(std::memory_order_relaxed)) displacing_.store(false, std::memory_order_release);  // own store
    return true;
  }

  // Owner. Unlinks the older half of the ring as a list from `first` to `last` (last->link is null) and returns its
  // length, for the global queue when put() found the ring full. 0 means that there was less than two, or a thief was
  // faster: there is room now. 1 locked instruction for the batch.
  unsigned take_half(T*& first, T*& last) noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);  // own store
    const std::uint32_t count = (tail - head) / 2;
    if (count == 0) return 0;
    if (!head_.compare_exchange_strong(head, head + count, std::memory_order_release, std::memory_order_relaxed)) {
      return 0;
    }
    // Only the owner fills slots, so ours still hold what we have just won: no copy on a fiber's stack.
    first = last = slot(head);
    for (std::uint32_t i = 1; i < count; ++i) {
      T* const fiber = slot(head + i);
      last->link = fiber;
      last = fiber;
    }
    last->link = nullptr;
    return count;
  }

  // Owner. Takes runnext only; a fiber from here inherits the time slice. 1 locked instruction, 0 if it is empty.
  T* get_next() noexcept {
    T* fiber = next_.load(std::memory_order_relaxed);  // own store, or a thief's null
    if (fiber == nullptr) return nullptr;
    // A failure is a thief's: by I2 the slot stays null. Relaxed: what it publishes is null, see displacing_ above.
    return next_.compare_exchange_strong(fiber, nullptr, std::memory_order_relaxed, std::memory_order_relaxed)
               ? fiber
               : nullptr;
  }

  // Owner. Takes the oldest of the ring only. 1 locked instruction, 0 if it is empty.
  T* get() noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      if (tail_.load(std::memory_order_relaxed) == head) return nullptr;  // own store
      T* const fiber = slot(head);
      if (head_.compare_exchange_weak(head, head + 1, std::memory_order_release, std::memory_order_acquire)) {
        return fiber;
      }
    }
  }

  // The owner of *this*, whose ring must be empty. Takes half of the victim's ring, rounded up, into this one and
  // returns the last of them to run at once; null if the victim's ring is empty. 1 locked instruction for the batch.
  T* steal_from(run_queue& victim) noexcept {
    const std::uint32_t own = tail_.load(std::memory_order_relaxed);  // own store
    assert(own == head_.load(std::memory_order_relaxed) && "steal_from wants an empty ring");
    for (;;) {
      std::uint32_t head = victim.head_.load(std::memory_order_acquire);
      const std::uint32_t tail = victim.tail_.load(std::memory_order_acquire);
      std::uint32_t count = tail - head;
      count -= count / 2;
      if (count == 0) return nullptr;
      if (count > N / 2) continue;  // torn: the ring went round between the two loads
      for (std::uint32_t i = 0; i < count; ++i) {
        ring_[(own + i) % N].store(victim.slot(head + i), std::memory_order_relaxed);  // beyond our tail: unpublished
      }
      if (!victim.head_.compare_exchange_strong(head, head + count, std::memory_order_release,
                                                std::memory_order_relaxed)) {
        continue;  // whoever won took a fiber: somebody got on
      }
      T* const fiber = slot(own + count - 1);
      if (count > 1) tail_.store(own + count - 1, std::memory_order_release);
      return fiber;
    }
  }

  // Owner. Where put() puts the next one, and whether all that was put before such a place has left the ring.
  // 0 locked instructions.
  std::uint32_t end() const noexcept { return tail_.load(std::memory_order_relaxed); }  // own store
  bool has_left(std::uint32_t end) const noexcept {
    return static_cast<std::int32_t>(head_.load(std::memory_order_relaxed) - end) >= 0;
  }

  // Any thread. What a thief saw in runnext before its pause; null if there is nothing. 0 locked instructions.
  T* peek_next() const noexcept { return next_.load(std::memory_order_acquire); }

  // Any thread. Takes runnext if it still holds `seen`. The fiber that put it there mostly parks within 50 ns and would
  // switch straight to it, so pause for microseconds between peek_next and this. 1 locked instruction.
  bool steal_next(T* seen) noexcept {
    return next_.compare_exchange_strong(seen, nullptr, std::memory_order_acquire, std::memory_order_relaxed);
  }

  // Any thread. True only if at one moment ring and runnext were both empty, and no fiber on its way from one to the
  // other. The tail is read around them, as a fiber may move between two loads. 0 locked instructions.
  bool empty() const noexcept {
    std::uint32_t tail = tail_.load(std::memory_order_acquire);
    for (;;) {
      if (head_.load(std::memory_order_acquire) != tail) return false;
      if (next_.load(std::memory_order_acquire) != nullptr) return false;
      if (displacing_.load(std::memory_order_acquire)) return false;
      const std::uint32_t again = tail_.load(std::memory_order_acquire);
      if (again == tail) return true;
      tail = again;
    }
  }

  // Any thread. How many there are, runnext included: exact for the owner while no thief is at work, else a hint.
  unsigned size() const noexcept {
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t in_ring = tail_.load(std::memory_order_acquire) - head;
    return (in_ring > N ? N : in_ring) + (next_.load(std::memory_order_relaxed) != nullptr ? 1 : 0);
  }

 private:
  T* slot(std::uint32_t index) const noexcept { return ring_[index % N].load(std::memory_order_relaxed); }

  // One line for the four words: the owner touches all of them in most operations, and a thief that finds nothing
  // pulls over one line, not three.
  alignas(64) typename Atomics::template atomic<std::uint32_t> head_{0};  // CAS by owner and thieves; pairs with put
  typename Atomics::template atomic<std::uint32_t> tail_{0};              // stored by the owner; pairs with thieves
  typename Atomics::template atomic<T*> next_{nullptr};                   // runnext; pairs with steal_next and empty
  typename Atomics::template atomic<bool> displacing_{false};             // stored by the owner; pairs with empty
  alignas(64) typename Atomics::template atomic<T*> ring_[N]{};           // published by tail_, handed back by head_
};

}  // namespace weft::rt
