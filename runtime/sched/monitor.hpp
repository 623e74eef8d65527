// SPDX-License-Identifier: Apache-2.0
// What the monitor's thread also does for others, who stand on higher floors.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::inline v0::rt {

/// Called at each look of the monitor, on its thread; defined with the scheduler's trace and the width watch
/// (runtime/run).
void monitor_tick(nanoseconds_t now) noexcept;
/// Called now and then while every P is idle: gives memory back in batches. False: nothing was left to give.
bool monitor_tidies_up() noexcept;
/// Whether it must tick although every P is idle (a trace is asked for, or a dump).
bool monitor_wants_ticks() noexcept;
/// Called before it sleeps because every P is idle; how long it may, if nobody wakes it: `never`, as a rule.
nanoseconds_t monitor_may_sleep(nanoseconds_t now) noexcept;
/// A P was taken from `m`, whose fiber blocks or burns since `silent`. No lock held; defined with the counters
/// (runtime/inspect).
void note_handoff(const M& m, bool burning, nanoseconds_t silent) noexcept;

}  // namespace weft::inline v0::rt
