// SPDX-License-Identifier: Apache-2.0
// What the scheduler calls on higher floors. Each function is declared here, says where it is defined, and is on the
// list of tests/floors; nothing else on a lower floor refers to a higher one.
#pragma once

#include <cstdint>

#include "runtime/sched/m.hpp"
#include "runtime/sched/timer_heap.hpp"

namespace weft::rt {

/// The body of a fiber: runs its closure and tells its joiner and its scope how it ended. Called on the fiber's own
/// stack, outside the runtime section. Clears the G's id where a canceller may still hold it. Defined in
/// scope/body.cpp.
void run_body(G* g);

/// Cancels the fibers whose regions have reached their deadline, and adds those that it claimed to `fired`. Called from
/// an M's loop with no lock held. Defined in scope/cancel.cpp.
void finish_expired(fired_timers& fired) noexcept;

/// Called while the runtime closes, inside the runtime section, when a fiber is gone and no longer counted. Defined in
/// run/end.cpp.
void fiber_gone(M* m) noexcept;

/// The rest is called on the monitor's thread, with no lock held.
///
/// Called at each look. Defined in run/monitor_duties.cpp, as the next three.
void monitor_tick(nanoseconds_t now) noexcept;
/// Called now and then while every P is idle: gives memory back in batches. Returns false if nothing was left to give.
bool monitor_tidies_up() noexcept;
/// Returns true if the monitor must tick although every P is idle (a trace is on, a dump is wanted, or a signal has come).
bool monitor_wants_ticks() noexcept;
/// Called before the monitor sleeps because every P is idle. Returns how long it may sleep if nobody wakes it, usually
/// `never`.
nanoseconds_t monitor_may_sleep(nanoseconds_t now) noexcept;
enum class handoff : std::uint8_t { blocked, burned, waited_for_a_cpu };
/// A P was taken from `m`, whose fiber has blocked or computed for `silent`, or had no CPU. Defined in
/// inspect/handoff.cpp.
void note_handoff(const M& m, handoff what, nanoseconds_t silent) noexcept;

}  // namespace weft::rt
