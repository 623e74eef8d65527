// SPDX-License-Identifier: Apache-2.0
// The Ps' timer heaps as a whole: starting a timer in one of them, running what is due, looking at what is not.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Reads the clock for the holder of `p`, and notes it for who needs it less exactly.
nanoseconds_t read_clock(P* p) noexcept;

/// Starts `t` in the own P's heap. Returns true if the caller has no P: `t` went to another's heap, and whoever sleeps
/// in the poller must hear of it (`wake_sleeper_before`) once no lock is held.
bool start_timer(timer& t) noexcept;
/// For a deferred action of a timer, which stands in an M's loop.
void restart_timer_in_loop(timer& t) noexcept;

/// Runs what is due in `heap`, and makes ready whom it wakes. If that is one alone, and `one_goes_first`, returns it, to
/// be run at once. Called by an M's loop with a P and no lock.
G* run_timers(M* m, timer_heap& heap, bool one_goes_first = false) noexcept;
void run_all_timers(M* m) noexcept;
/// Timers of Ps beyond the width have no holder who would look at them.
void run_retired_timers(M* m) noexcept;

void add(pending_timers& all, const timer_heap& heap) noexcept;
pending_timers look_at_timers() noexcept;

}  // namespace weft::rt
