// SPDX-License-Identifier: Apache-2.0
// What the monitor's thread also does for others, who stand on higher floors.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::inline v0::rt {

/// Called at each look of the monitor, on its thread; defined with the scheduler's trace and the width watch (runtime/run).
void monitor_tick(nanoseconds_t now) noexcept;
/// Called now and then while every P is idle: gives memory back in batches. False: nothing was left to give.
bool monitor_tidies_up() noexcept;
/// Whether it must tick although every P is idle (a trace is asked for).
bool monitor_wants_ticks() noexcept;

}  // namespace weft::inline v0::rt
