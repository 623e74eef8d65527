// SPDX-License-Identifier: Apache-2.0
// The end of a runtime, in three parts: what the main fiber does, what the calling thread does, and what is left as
// before the first run().
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Steps 1 to 5 of end.cpp, on the main fiber: returns when it is the only one, and the Ms leave their loops. What has
/// not ended is named on stderr each time `grace` has passed.
void end_fibers(nanoseconds_t grace) noexcept;
/// Waits until all threads of the runtime are gone. On the calling thread, after its own loop.
void await_threads() noexcept;
/// Puts the scheduler back to its state before run(), whatever run() got to. The monitor is gone.
void reset_scheduler() noexcept;

}  // namespace weft::rt
