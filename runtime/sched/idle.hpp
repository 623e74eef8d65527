// SPDX-License-Identifier: Apache-2.0
//
// Whom to wake, and when not to: the word that submitters read and idling Ms write.
//
// Problem: a thread that makes a fiber runnable must wake a thread that sleeps, or work lies about while a CPU idles
// for good; but a wake-up costs 1.5 us to the waker, and most are in vain. Go's rule: wake one only if a P is idle
// *and* nobody searches. A woken M searches; if it finds work and was the last searcher it sees to it that another
// searches (so a burst ramps up as a chain); if it finds nothing it sleeps. What must never happen: the submitter sees
// a searcher and leaves the work to it, while this searcher has just looked and is about to sleep.
//
// One 64-bit word {searchers, idle Ps}: a submitter reads both in one load, an M gives up its P and stops searching in
// one step, and no state lies between.
//
// The contract for the scheduler. "Lock" is the scheduler lock, which guards the lists of idle Ps and idle Ms.
//   Submit
//    1  Publish: put_next; or put / a push to the global queue / a timer's new earliest time, then fence_seq_cst().
//       (put_next's exchange is the fence; the fiber it displaced goes to the ring after it, without one: see
//       run_queue.hpp.)
//    2  if (submit_wants_wake()) wake.      Pairs with 9. Waking nobody is right for `ready` into an empty runnext:
//       its caller is about to park and to run that fiber itself, unless it is known to compute on (ready.cpp); the
//       monitor's tick is the safety net. Nor does a yield wake anybody. Of both, what is still in the queue after a look
//       around and a pick in an M's loop (looks.hpp) is announced then: if (left_over_wants_wake(own queue)) wake. A pair
//       that hands things to and fro leaves nothing: whoever came for it would find nothing.
//   Wake (the caller owns a searcher's count now, and hands it to the M that it wakes)
//    3  Lock. No idle P: wake_failed(), unlock, done. Else pop it, take_p(), pop an idle M or start one, unlock; the M
//       begins at 5, searching. If no thread could be started: put the P back, give_up_p(true).
//   Find work (an M with a P, inside its bracket)
//    4  Due timers, global queue where it is time to look, own queue, batch from the global queue, poll: none of these needs to
//       search. To steal: if not searching yet: if (!may_search(procs)) go to 8; begin_search().
//    5  Steal rings; the timers and runnexts of others only in the last round.
//    6  Runnext: x = victim.peek_next(); if null, next victim. Pause some microseconds. If the victim's M is inside its
//       bracket, next victim: it is about to pick for itself. steal_next(x).
//    7  Found while searching: if (end_search_found()) one of: wake at once (2, 3), or look at everything first, as in
//       9, and wake only if there is something left: a scan of a few Ps is cheaper than a wake-up in vain. Or if nobody
//       sleeps in the poller (poll.hpp).
//    8  Nothing found: lock; look at the global queue once more (take from it, unlock, go to 7 if searching); push the
//       P to the idle list; give_up_p(searching); unlock.
//    9  *Every* M that gave up a P, searching or not, looks at everything again: the global queue, empty() of each P's
//       queue, the earliest timer of each P. Pairs with 1 and 2. If there is something: lock; pop an idle P; if there
//       is one take_p(), unlock, begin_search(), go to 4. If there is none, sleep: each P is in somebody's hands, and
//       will come by here. An M that keeps finding a runnext that it cannot get (a ping-pong pair) may stop looking
//       after a few rounds: it is the case of step 2 that the monitor's tick covers.
//   10  Sleep (in the poller if nobody is there, else on the futex). A poll that yields fibers: lock; take an idle P.
//
// Why no work is overlooked. Let W be published at 1 and the word be read at 2; 9's loads follow give_up_p's fence.
//   idle == 0         Each P is held. Whoever gives one up later is ordered after the load, so its step 9 sees W.
//   searchers == 0    and idle > 0: the submitter wakes.
//   searchers > 0     Some M holds this count. The last of them to drop it found something (7: wakes or looks, after
//                     the drop), or found nothing (8, 9: looks, after the drop), or was a waker that found no idle P:
//                     it drops the count under the lock under which it saw none, so every P is given up after the drop.
// Go reaches the second half of this with a flag (`needspinning`), as its Ms that did not search sleep without a second
// look, and with a locked section for each wake attempt while all Ps are busy. Here the submitter only reads.
//
// Memory-order pairs
//   word_ seq_cst load in submit_wants_wake -> seq_cst exchange (put_next) or fence before it        } the Dekker pair:
//   word_ RMW + fence in give_up_p, end_search_found         -> the caller's loads after it          } either sees
//   The RMWs are relaxed: those that stop a search or free a P are ordered by the fence after them, the others announce
//   an M that will come by one of these. The lists that the counts mirror are ordered by the lock.
#pragma once

#include <cassert>
#include <cstdint>

#include "runtime/base/atomics.hpp"

namespace weft::rt {

template <class Atomics = std_atomics>
class alignas(64) idle_state {
 public:
  idle_state() = default;
  idle_state(const idle_state&) = delete;
  idle_state& operator=(const idle_state&) = delete;

  // Any thread, step 2. True: wake one (step 3); the caller counts as a searcher until it has handed the count on.
  // 0 locked instructions, 1 if it returns true.
  [[nodiscard]] bool submit_wants_wake() noexcept {
    std::uint64_t word = word_.load(std::memory_order_seq_cst);
    while (idle_in(word) != 0 && searchers_in(word) == 0) {
      if (word_.compare_exchange_weak(word, word + one_searcher, std::memory_order_seq_cst)) return true;
    }
    return false;
  }

  // The owner of a queue that has just picked a fiber, which it is about to run: whether somebody must be woken for the
  // others in it, who may have come there without steps 1 and 2. As submit_wants_wake. No fence if there are none.
  template <class Queue>
  [[nodiscard]] bool left_over_wants_wake(const Queue& own) noexcept {
    if (own.empty()) return false;
    Atomics::fence_seq_cst();  // the puts before the look; pairs with give_up_p
    return submit_wants_wake();
  }

  // Waker, step 3, under the lock under which it saw the list of idle Ps empty.
  void wake_failed() noexcept { drop_searcher(); }

  // Under the lock, step 3 or 9: a P was popped from the list of idle Ps.
  void take_p() noexcept {
    [[maybe_unused]] const std::uint64_t former = word_.fetch_sub(one_idle, std::memory_order_relaxed);
    assert(idle_in(former) != 0 && "take_p() without an idle P");
  }

  // M with a P that wants to steal, step 4: at most half as many searchers as busy Ps, else they only fight.
  bool may_search(unsigned procs) const noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);  // a hint
    return 2 * searchers_in(word) + idle_in(word) < procs;
  }

  // M with a P that is not counted as a searcher yet, step 4 or 9.
  void begin_search() noexcept { word_.fetch_add(one_searcher, std::memory_order_relaxed); }

  // Searcher that found work, step 7. True: it was the last one and Ps are idle, so it has to wake another, or to look
  // at everything and wake if something is left. What the caller reads after this is read after the drop.
  [[nodiscard]] bool end_search_found() noexcept {
    const std::uint64_t word = drop_searcher();
    if (searchers_in(word) != 0 || idle_in(word) == 0) return false;
    Atomics::fence_seq_cst();  // pairs with the publication and the load in steps 1 and 2
    return true;
  }

  // Under the lock, step 8: the P has been pushed to the list of idle Ps. What the caller reads after this is read
  // after the word has changed; it has to look at everything (step 9).
  void give_up_p(bool searching) noexcept {
    if (searching) {
      [[maybe_unused]] const std::uint64_t former = word_.fetch_add(one_idle - one_searcher, std::memory_order_relaxed);
      assert(searchers_in(former) != 0 && "give_up_p(searching) by an M that does not search");
    } else {
      word_.fetch_add(one_idle, std::memory_order_relaxed);
    }
    Atomics::fence_seq_cst();  // pairs with the publication and the load in steps 1 and 2
  }

  // Any thread; hints, as they may be old when they are read.
  unsigned searchers() const noexcept { return searchers_in(word_.load(std::memory_order_relaxed)); }
  unsigned idle_ps() const noexcept { return idle_in(word_.load(std::memory_order_relaxed)); }

 private:
  static constexpr std::uint64_t one_idle = 1;
  static constexpr std::uint64_t one_searcher = std::uint64_t{1} << 32;

  static constexpr unsigned idle_in(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word); }
  static constexpr unsigned searchers_in(std::uint64_t word) noexcept { return static_cast<unsigned>(word >> 32); }

  std::uint64_t drop_searcher() noexcept {
    const std::uint64_t former = word_.fetch_sub(one_searcher, std::memory_order_relaxed);
    assert(searchers_in(former) != 0 && "a searcher was dropped that was not counted");
    return former - one_searcher;
  }

  typename Atomics::template atomic<std::uint64_t> word_{
      0};  // {searchers:32, idle Ps:32}; pairs as in the head comment
};

}  // namespace weft::rt
