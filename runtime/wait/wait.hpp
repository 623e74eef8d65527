// SPDX-License-Identifier: Apache-2.0
// The wait protocol: one function by which everything that blocks in a queue parks, and its rules.
//
//   waker, under the queue's lock          the waiting fiber                        canceller, timer
//     pop a waiter                           lock(queue)                              flag (canceller)
//     claim it        <-- first              arm the word, link the waiter            fence of all threads
//     move the value  <-- second             start the timer                          claim if open
//     result = ok                            (order_arm_before_look)                  cause = ...
//     unlock, wake                           look at the cancel flag                  wake
//                                            park; the hook unlocks the queue
//                                            word = running; stop the timer
//                                            no result: lock, unlink if linked, unlock
//
// A claim that was won stands: what was handed over is returned, whatever the cancel flag says by then. Arming comes
// before linking and before the look: a canceller that came too early for the claim has set the flag, and the look
// finds it (Dekker; the fence is on the canceller's side).
//
// Locked instructions: none here; the queue's lock, and the waker's claim, are the caller's.
#pragma once

#include <cstdint>
#include <type_traits>

#include <weft/detail/annotations.hpp>
#include <weft/detail/wait_list.hpp>

#include "runtime/sched/reason.hpp"
#include "runtime/sched/timer_heap.hpp"
#include "runtime/wait/waiter.hpp"

namespace weft::rt {

enum class wait_outcome : std::uint8_t {
  ok,      ///< a waker took us from the queue and did what we wait for
  closed,  ///< a waker took us from the queue because there is nothing to wait for any more
  timed_out,
  cancelled,  ///< also a plain thread's wait, at the end of the runtime
};

struct wait_request {
  wait_reason why = wait_reason::none;
  bool cancellable = true;
  nanoseconds_t deadline = never;
};

/// The lock of a queue, as the wait sees it: a copyable reference whose unlock is told by how many waiters the queue
/// has grown (for objects that count them in the word that holds the lock).
template <class Lock>
struct lock_ref {
  Lock* it;
  void lock() noexcept WEFT_ACQUIRE(*it) { it->lock(); }
  void unlock(int /*grown_by*/) noexcept WEFT_RELEASE(*it) { it->unlock(); }
};

/// What is left to do once the fiber is off its stack: release the queue's lock, and wake the sleeper for a timer that
/// no M with a P knows of. Lies on the waiting frame, so it is copied before the release, after which the frame may be
/// gone.
template <class Env, class LockRef>
struct wait_commit {
  LockRef lock;
  typename Env::template var<nanoseconds_t> announce{never};

  // Not analysed: the fiber that parks has taken the lock.
  static void run(void* arg) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    const wait_commit& frame = *static_cast<wait_commit*>(arg);
    LockRef lock = frame.lock;
    const nanoseconds_t announce = frame.announce;
    lock.unlock(1);
    if (announce != never) Env::announce_timer(announce);
  }
};

/// What a caller has to do once it is linked and before it is off its stack: usually nothing.
struct nothing_first {};

/// Why the wait ended, if no waker said so.
inline wait_outcome outcome_of(wait_cause cause) noexcept {
  return cause == wait_cause::timeout ? wait_outcome::timed_out : wait_outcome::cancelled;
}

template <class T, class U>
concept other_than = !std::is_same_v<T, U>;

/// Waits in `list` behind all other waiters (or in front of them). The caller holds `lock`, which guards `list`, and
/// has filled `w.slot`; on return the lock is free. `w` lies on the caller's frame. Neither throws nor looks at the
/// cancel flag once it was claimed.
///
/// If `first` is given, it runs after the waiter is linked and the lock released, just before parking: a condition
/// variable unlocks its mutex there. It is skipped if the wait was cancelled before. It may wake fibers but must not
/// wait. As in `wait_alone`, a waker may claim the waiter during that time; in `wake` it waits until the fiber is off
/// its stack.
///
/// Not analysed: the lock is released by a hook, through a copy of the reference. `wait_holding` has its callers
/// analysed.
template <class Env, other_than<typename Env::lock> LockRef, class First = nothing_first>
wait_outcome wait_in_queue(LockRef lock, detail::wait_list& list, waiter<Env>& w, const wait_request& how,
                           bool in_front = false, First first = {}) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  typename Env::fiber* const g = Env::current();
  const bool cancellable = how.cancellable && Env::may_be_cancelled(g);
  const bool timed = how.deadline != never;
  w.sole = !cancellable && !timed;
  w.g = g;
  const auto token = g->wait.arm(cancellable);
  w.wait_token = token;
  wait_queue<Env> queue(list);
  if (in_front)
    queue.push_front(&w);
  else
    queue.push_back(&w);
  wait_commit<Env, LockRef> commit{lock};
  typename Env::deadline_timer timer;
  if (timed && timer.start(g, token, how.deadline)) commit.announce = how.deadline;
  if (cancellable) {
    Env::order_arm_before_look();
    if (Env::cancel_pending(g) && g->wait.claim(token)) {
      queue.remove(&w);
      lock.unlock(0);
      if (timed) timer.stop();
      g->wait.disarm();
      return wait_outcome::cancelled;
    }
  }
  if constexpr (std::is_same_v<First, nothing_first>) {
    Env::park(how.why, commit.run, &commit);
  } else {
    commit.run(&commit);
    first();
    Env::park(how.why, nullptr, nullptr);
  }
  g->wait.disarm();
  if (timed) timer.stop();
  switch (w.result) {
    case wait_result::ok:
      return wait_outcome::ok;
    case wait_result::closed:
      return wait_outcome::closed;
    case wait_result::none:
      break;
  }
  const wait_outcome outcome = outcome_of(g->cause);
  lock.lock();  // always: a waker may have popped us and be about to try its claim
  const bool linked = w.linked;
  if (linked) queue.remove(&w);
  lock.unlock(linked ? -1 : 0);
  return outcome;
}

/// The same for a reference to `held`: tells the analysis that the caller holds it, and has released it on return. Not
/// analysed itself, for the reason above.
template <class Env, class LockRef, class First = nothing_first>
wait_outcome wait_holding([[maybe_unused]] typename Env::lock& held, LockRef lock, detail::wait_list& list,
                          waiter<Env>& w, const wait_request& how, First first = {}) noexcept
    WEFT_RELEASE(held) WEFT_NO_THREAD_SAFETY_ANALYSIS {
  return wait_in_queue<Env>(lock, list, w, how, false, first);
}

/// The same where a plain lock guards the list.
template <class Env>
wait_outcome wait_in_queue(typename Env::lock& lock, detail::wait_list& list, waiter<Env>& w,
                           const wait_request& how) noexcept WEFT_RELEASE(lock) {
  return wait_holding<Env>(lock, lock_ref<typename Env::lock>{&lock}, list, w, how);
}

/// Waits for nothing but the deadline (or `never`) and cancellation.
template <class Env>
wait_outcome wait_alone(const wait_request& how) noexcept {
  typename Env::fiber* const g = Env::current();
  const bool cancellable = how.cancellable && Env::may_be_cancelled(g);
  const bool timed = how.deadline != never;
  const auto token = g->wait.arm(cancellable);
  // No lock holds the waker back until the commit hook is through, so there must be none: announce at once.
  typename Env::deadline_timer timer;
  if (timed && timer.start(g, token, how.deadline)) Env::announce_timer(how.deadline);
  if (cancellable) {
    Env::order_arm_before_look();
    if (Env::cancel_pending(g) && g->wait.claim(token)) {
      if (timed) timer.stop();
      g->wait.disarm();
      return wait_outcome::cancelled;
    }
  }
  Env::park(how.why, nullptr, nullptr);
  g->wait.disarm();
  if (timed) timer.stop();
  return outcome_of(g->cause);
}

}  // namespace weft::rt
