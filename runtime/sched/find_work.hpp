// SPDX-License-Identifier: Apache-2.0
// The M's loop, for the threads and for run(), and its look at the global queue, which a yield shares.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Returns the global queue's first fiber, or nullptr; unless `only_one`, its fair share of what comes after goes to
/// the P's ring. Takes the scheduler lock unless the queue is empty.
G* take_global(P* p, bool only_one) noexcept;

/// Ends the M's search, successful or not: the last searcher sees to it that another searches if there is anything left
/// to find (idle.hpp, 7).
void stop_search(M* m) noexcept;

/// Runs fibers until the runtime ends or the thread has been idle for long.
void schedule_loop(M* m) noexcept;

}  // namespace weft::rt
