// SPDX-License-Identifier: Apache-2.0
// Requests from any thread to one thread, and whether that thread has to be woken for them.
//
// Problem: a fiber hands its request over from the commit hook of its park, so the push may neither wait nor allocate;
// and the thread that serves may be about to sleep in the kernel just then.
//
// One word: EMPTY, ASLEEP (empty, and the owner sleeps or is about to), or the request that was pushed last, which
// links the others.
//
//   push         EMPTY, request -> request    no wake is needed: the owner looks again before it sleeps
//                ASLEEP -> request            the thread that did this, and no other, wakes the owner
//   take         any -> EMPTY                 the owner, awake again
//   fall_asleep  EMPTY -> ASLEEP              the owner; fails if there is a request
//
// As the sleep is a state of the same word there is no pair of words, and no fence, to get wrong.
//
// The push is a loop of compare-and-swap: some push always succeeds. A queue whose push is one exchange would leave a
// gap until the link is stored, and the owner waiting for a pusher that has just lost its CPU.
//
// Memory order: push releases, take acquires; the pushes before the last one are in its release sequence, as each of
// them is a read-modify-write. The owner's own transitions carry no data. Locked instructions: one each.
#pragma once

#include <cstdint>

#include "runtime/base/atomics.hpp"

namespace weft::rt {

/// `Node` has a plain member `next`, which is the inbox's from the push to the take.
template <class Atomics, class Node>
class inbox {
 public:
  /// For any thread. Returns true if the owner sleeps, so that the caller must wake it.
  [[nodiscard]] bool push(Node* n) noexcept {
    std::uintptr_t last = last_.load(std::memory_order_relaxed);  // a guess
    do {
      n->next = last == asleep ? nullptr : reinterpret_cast<Node*>(last);
    } while (!last_.compare_exchange_weak(last, reinterpret_cast<std::uintptr_t>(n), std::memory_order_release,
                                          std::memory_order_relaxed));
    return last == asleep;
  }

  /// Called by the owner. Returns everything that was pushed, the oldest first; the owner is awake from here on.
  Node* take() noexcept {
    const std::uintptr_t last = last_.exchange(empty, std::memory_order_acquire);
    Node* oldest = nullptr;
    for (Node* n = last == asleep ? nullptr : reinterpret_cast<Node*>(last); n != nullptr;) {
      Node* const older = n->next;
      n->next = oldest;
      oldest = n;
      n = older;
    }
    return oldest;
  }

  /// Called by the owner. Returns true if it may sleep: the next push says that it must be woken. Returns false if
  /// there is something to take.
  [[nodiscard]] bool fall_asleep() noexcept {
    std::uintptr_t expected = empty;
    return last_.compare_exchange_strong(expected, asleep, std::memory_order_relaxed, std::memory_order_relaxed);
  }

 private:
  static constexpr std::uintptr_t empty = 0;
  static constexpr std::uintptr_t asleep = 1;  // no request lies at an odd address

  typename Atomics::template atomic<std::uintptr_t> last_{empty};
};

}  // namespace weft::rt
