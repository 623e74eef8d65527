// SPDX-License-Identifier: Apache-2.0
// Giving up the CPU, and the pick of the next fiber as park.cpp, find_work.cpp and run_fiber.cpp share it.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Gives up the CPU until somebody claims the fiber and wakes it. The caller has armed the wait word (or the hook makes
/// the fiber findable); `commit(arg)` runs once the fiber is off its stack. On a plain thread: commits and sleeps on a
/// futex.
void park(wait_reason why, commit_fn commit, void* arg) noexcept;
void yield_now() noexcept;

/// Counts a pick and returns the next fiber of the own P, or nullptr: nothing there, or the turn of the M's loop.
/// Called by the P's owner inside the bracket, as the next two.
G* pick_local(P* p) noexcept;
/// The same without counting: runnext within its slice, then the ring.
G* pick_own(P* p) noexcept;
/// Leaves the runner of `s`, whose fiber has ended, for `next` (nullptr: the M's loop); returns when the stack is given
/// to another fiber, with the M that it then runs on.
M* leave_runner(M* m, stack* s, G* next, commit_fn commit, void* arg) noexcept;

}  // namespace weft::rt
