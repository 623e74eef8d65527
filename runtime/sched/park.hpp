// SPDX-License-Identifier: Apache-2.0
// The pick of the next fiber, as park.cpp, find_work.cpp and run_fiber.cpp share it. All inside the bracket, by the P's
// owner.
#pragma once

#include "runtime/sched/m.hpp"
#include "runtime/sched/p.hpp"

namespace weft::inline v0::rt {

/// Counts a pick and takes the next fiber of the own P, or null: nothing there, or the turn of the M's loop.
G* pick_local(P* p) noexcept;
/// The same without counting: runnext within its slice, then the ring.
G* pick_own(P* p) noexcept;
/// Leaves the runner of `s`, whose fiber has ended, for `next` (null: the M's loop); returns when the stack is given to
/// another fiber, with the M that it then runs on.
M* leave_runner(M* m, stack* s, G* next, commit_fn commit, void* arg) noexcept;

}  // namespace weft::inline v0::rt
