// SPDX-License-Identifier: Apache-2.0
//
// The sequence word of an M, by which the monitor takes a P from a thread that is not inside the runtime.
//
// Problem: a fiber that blocks in the kernel or burns CPU must lose its P without having announced anything. So the
// thread marks when it is inside the runtime (where it touches its P), and this must cost next to nothing: two plain
// stores, with no locked instruction and no fence. The fence that a Dekker pair needs is executed by the rare side:
// membarrier(2) makes every running thread of the process execute one.
//
// Protocol. `seq` is odd inside and even outside, written by its own thread alone. `M.retake_lock` and `M.p` are the
// M's.
//   M        enter():   seq = odd; (compiler barrier); look at req                         1
//                       if it stands: lock M.retake_lock; P still mine -> go on (the       2
//                       monitor withdrew); else accept() and go on without a P
//            leave():   seq = even (release: all that was written to the P)                3
//   monitor  s = look(); outside(s), and the policy says take:
//                       lock M.retake_lock; request()                                      4
//                       membarrier(2), one for all candidates of the round                 5
//                       unchanged(s)? take M.p and hand it on; else, or if there is        6
//                       nothing to do after all: withdraw(). Unlock.
// Either the monitor sees the new seq at 6, or the M sees the request at 1: 5 stands between 4 and 6, and acts as a
// fence between the store and the load of 1. Hence, after 6, the M does not touch the P before it has the lock.
//
// Memory-order pairs
//   leave R              -> look, unchanged A: what the M did to the P before it left
//   withdraw R           -> enter A: the monitor's reads of the P's queues come before the M's next writes to them
//   seq store in enter   -> membarrier(2) (or the monitor's fence) -> seq load in unchanged        } the Dekker pair
//   req store in request -> the same                               -> req load in enter            }
//
// Without membarrier (old kernel, seccomp) a bracket is made with `fences = true`: enter() executes the fence itself,
// and the monitor executes Atomics::fence_seq_cst() at 5. To keep this choice off the fast path it is a bit of the
// request word: there is one load and one branch for both.
//
// A request without steps 5 and 6 is allowed too: it brings a wish ("your slice is over", "look around") to an M whose
// every entry succeeds.
#pragma once

#include <cassert>
#include <cstdint>

#include "runtime/base/atomics.hpp"

namespace weft::rt {

// An M begins inside: its own stack, idling and start-up are sections that never end, and cannot be taken from.
// Two lines wide: adjacent-line prefetch would pull the neighbour's word into the monitor's scan.
template <class Atomics = std_atomics>
class alignas(128) bracket {
 public:
  explicit bracket(bool fences = false) noexcept : mode_(fences ? fencing : 0), req_(mode_) {}
  bracket(const bracket&) = delete;
  bracket& operator=(const bracket&) = delete;

  // Its own thread, outside. True: a request stands, take the slow path (2). 0 locked instructions; 1 with fences.
  [[nodiscard]] bool enter() noexcept {
    const std::uint64_t seq = seq_.load(std::memory_order_relaxed);  // own store
    assert(outside(seq) && "enter() inside the runtime: a signal handler, or a call-back under the bracket");
    seq_.store(seq + 1, std::memory_order_relaxed);  // ordered before the load of req_ by the other side's membarrier
    Atomics::compiler_barrier();
    if (req_.load(std::memory_order_acquire) == 0) [[likely]]
      return false;
    return enter_slow();
  }

  // Its own thread, inside. 0 locked instructions.
  void leave() noexcept {
    const std::uint64_t seq = seq_.load(std::memory_order_relaxed);  // own store
    assert(!outside(seq) && "leave() outside the runtime");
    seq_.store(seq + 1, std::memory_order_release);
  }

  // Its own thread.
  bool inside() const noexcept { return !outside(seq_.load(std::memory_order_relaxed)); }

  // Its own thread, inside: does a request stand by now (for loops that never leave)?
  bool requested() const noexcept { return (req_.load(std::memory_order_acquire) & standing) != 0; }

  // Its own thread, inside, M.retake_lock held: the P is gone, and the request has served. Relaxed: the lock orders it.
  void accept() noexcept { req_.store(mode_, std::memory_order_relaxed); }

  // Any thread. The word to compare with later.
  std::uint64_t look() const noexcept { return seq_.load(std::memory_order_acquire); }
  static constexpr bool outside(std::uint64_t seq) noexcept { return (seq & 1) == 0; }

  // Monitor, M.retake_lock held. Relaxed: step 5 orders it.
  void request() noexcept { req_.store(mode_ | standing, std::memory_order_relaxed); }

  // Monitor, after step 5. True: the M is in the same stretch of user code as at look() == seq.
  bool unchanged(std::uint64_t seq) const noexcept { return seq_.load(std::memory_order_acquire) == seq; }

  // Monitor, M.retake_lock held, no P taken.
  void withdraw() noexcept { req_.store(mode_, std::memory_order_release); }

  bool fences() const noexcept { return mode_ != 0; }

  // Under a lock that orders it before the M's next thread, while it has none: as if newly made.
  void reset(bool fences) noexcept {
    mode_ = fences ? fencing : 0;
    req_.store(mode_, std::memory_order_relaxed);
  }

 private:
  static constexpr std::uint32_t standing = 1;
  static constexpr std::uint32_t fencing = 2;

  [[gnu::noinline]] bool enter_slow() noexcept {
    if (mode_ != 0) Atomics::fence_seq_cst();  // pairs with the monitor's fence at 5
    return requested();
  }

  typename Atomics::template atomic<std::uint64_t> seq_{1};  // pairs with look and unchanged
  std::uint32_t mode_;
  typename Atomics::template atomic<std::uint32_t> req_;  // pairs with enter
};

}  // namespace weft::rt
