// SPDX-License-Identifier: Apache-2.0
// The timer heaps as a whole: starting a timer in one of them, running what is due, looking at what is not.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Reads the clock for the holder of `p`, and notes it for who needs it less exactly.
nanoseconds_t read_clock(P* p) noexcept;

/// Starts `t` in the own P's heap. Returns true if the caller has no P: `t` went to a heap that is nobody's, and whoever
/// sleeps in the poller must hear of it (`wake_sleeper_before`) once no lock is held.
bool start_timer(timer& t) noexcept;
/// For a deferred action of a timer, which stands in an M's loop.
void restart_timer_in_loop(timer& t) noexcept;

/// Runs what is due in `heap`, and makes ready whom it wakes. If that is one alone, and `one_goes_first`, returns it, to
/// be run at once. Called by an M's loop with a P and no lock.
G* run_timers(M* m, timer_heap& heap, bool one_goes_first = false) noexcept;
void run_all_timers(M* m) noexcept;
/// Those that no holder of a P looks at: of Ps beyond the width, and those that were started without one. Unless
/// `at_any_price`, leaves out what another thread is at: that one may have lost its CPU, and all Ps would wait for it.
void run_ownerless_timers(M* m, bool at_any_price) noexcept;

/// Calls `f` with each heap.
template <class F>
void for_each_heap(F f) noexcept {
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) f(sched.all_ps[i].load(std::memory_order_acquire)->timers);
  for (timer_heap& heap : sched.foreign_timers) f(heap);
}

pending_timers look_at_timers() noexcept;

}  // namespace weft::rt
