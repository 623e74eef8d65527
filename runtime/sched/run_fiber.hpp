// SPDX-License-Identifier: Apache-2.0
// Starting and resuming fibers from an M's loop.
#pragma once

#include "runtime/sched/m.hpp"

namespace weft::rt {

/// Gives `g`, which has none, a stack. May map memory: on a thread's own stack only. False: there is none to be had, and
/// `errno` says why.
bool bind_fiber(stack_cache& cache, unsigned shard, G* g) noexcept;

/// Runs `g` until some fiber of this M comes back to the loop.
void run_from_loop(M* m, G* g) noexcept;

}  // namespace weft::rt
