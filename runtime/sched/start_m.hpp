// SPDX-License-Identifier: Apache-2.0
// How Ms come to be: the M, its thread, and what is said when there is no thread to be had.
//
// Invariants
//  1. Ms are never freed, their threads are: one that has had nothing to do for long ends (stop_m.hpp), and its M is
//     reused.
//  2. Each thread that ends leaves its handle in `last_ended` and joins the thread whose handle it found there, without
//     a lock; the end of run() waits until none is left, and joins the last. So each is joined once, and all are gone
//     when run() returns.
//  3. A thread that is started without a P counts among `coming_threads` until it lies idle, has a P or ends: while one
//     comes nobody takes threads for short, or orders one more. Written under the scheduler's lock, as are the lists
//     that it goes to.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Returns a new or reused M without a thread, or nullptr if there is no memory.
M* make_m() noexcept;
/// Makes the calling thread `m`'s, and undoes it.
void attach_thread(M* m) noexcept;
void detach_thread(M* m) noexcept;

/// Starts an M with `p`, or without one (nullptr) for later. Returns false if no thread is to be had. The caller owns
/// `p`, if there is one, and a searcher's count if `searching`. No lock held.
bool start_machine(P* p, bool searching) noexcept;

/// Sees to it that `count` threads lie idle for the next round of the monitor, which has just handed on as many Ps or is
/// about to: Ms with a P start what is missing. To start a thread takes some 300 µs of CPU, which the monitor does not
/// have where many compute: it is one thread among them, and has no more than its share. Whoever has just been given a P
/// has all of its own yet. No lock held.
void want_threads(int count) noexcept;
/// Starts one of these, if there are any. The holder of a P, in its loop. No lock held.
inline void start_wanted_thread() noexcept {
  int wanted = sched.threads_wanted.load(std::memory_order_relaxed);
  if (wanted <= 0) return;
  if (sched.threads_wanted.compare_exchange_strong(wanted, wanted - 1, std::memory_order_relaxed))
    start_machine(nullptr, false);
}

/// Says on stderr, once per run, that there are no more threads to be had: `max_threads` is reached (error 0), or the
/// system gave `error`. The fibers go on with the threads there are. No lock held.
void say_threads_are_short(int running, int error) noexcept;

}  // namespace weft::rt
