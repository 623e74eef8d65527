// SPDX-License-Identifier: Apache-2.0
// The M's loop, for the threads and for run().
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::inline v0::rt {

/// Runs fibers until the runtime ends or the thread has been idle for long.
void schedule_loop(M* m) noexcept;

}  // namespace weft::inline v0::rt
