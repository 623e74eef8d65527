// SPDX-License-Identifier: Apache-2.0
// The M's loop, for the threads and for run(), and its look at the global queue, which a yield shares.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::inline v0::rt {

/// The global queue's first fiber, or null; unless `only_one`, its fair share of what comes after goes to the P's ring.
/// Takes the scheduler lock unless the queue is empty.
G* take_global(P* p, bool only_one) noexcept;

/// Runs fibers until the runtime ends or the thread has been idle for long.
void schedule_loop(M* m) noexcept;

}  // namespace weft::inline v0::rt
