// SPDX-License-Identifier: Apache-2.0
// What find_work.cpp, monitor.cpp and the end of run() need of machine.cpp.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::inline v0::rt {

/// A new or reused M without a thread; null if there is no memory.
M* make_m() noexcept;
/// Makes the calling thread `m`'s, and undoes it.
void attach_thread(M* m) noexcept;
void detach_thread(M* m) noexcept;

/// Says on stderr, once per run, that there are no more threads to be had: `max_threads` is reached (error 0), or the
/// system gave `error`. The fibers go on with the threads there are. No lock held.
void say_threads_are_short(int running, int error) noexcept;

/// Notes who holds `p`; it came to the caller under a lock.
void own(M* m, P* p) noexcept;
/// After `own`, with no lock held: gets the monitor up if it slept.
void note_busy() noexcept;
/// Gets the sleeper up if it would sleep past the earliest timer.
void nudge_sleeper() noexcept;
P* take_idle_p() noexcept WEFT_REQUIRES(sched.lock);
void put_idle_p(P* p, bool searching) noexcept WEFT_REQUIRES(sched.lock);

/// Sleeps until somebody hands over a P; false: the thread shall end (nothing to do for long, or the runtime has
/// ended).
bool sleep_until_given_p(M* m) noexcept;
/// The same for an M with a pinned fiber: until somebody has picked that fiber, or no other M can be had for a P. It heeds
/// no missed wake, which it could do nothing about. False: the runtime has ended.
bool sleep_until_pinned_is_due(M* m) noexcept;
/// The pinned fiber, if somebody has picked it and the M has a P for it: the one that came with it (another that the M had
/// is handed on), or its own. Null: it is not due.
G* take_due(M* m) noexcept;
/// Gives fiber and P to the M that the fiber is pinned to; no P, if that M helps out with another fiber.
void give_to_pinned(M* m, G* g) noexcept;
/// An M with a pinned fiber begins to run another one, or has done so.
void help_out(M* m, bool begins) noexcept;
/// As `hand_off`, but to no M that waits for its pinned fiber.
bool hand_off_to_unpinned(P* p) noexcept;
/// Returns whether a wake was missed since the last call; the caller then looks again before it sleeps.
bool forget_missed_wake() noexcept WEFT_REQUIRES(sched.lock);
/// A P that was surrendered at an entry, or null.
P* take_surrendered_p() noexcept WEFT_REQUIRES(sched.lock);
/// Hands on a P that its M has lost; it goes to the idle ones if no M can be had.
void pass_on(P* p) noexcept;

void wake_poller() noexcept;
/// Sets `ended` and gets every M out of bed, so that their threads end.
void end_machines() noexcept;

}  // namespace weft::inline v0::rt
