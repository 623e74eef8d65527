// SPDX-License-Identifier: Apache-2.0
// Starting and resuming fibers from an M's loop.
#pragma once

#include "runtime/sched/m.hpp"

namespace weft::rt {

/// Gives `g` a stack if it has none. May map memory: on the M's own stack only. False: none to be had.
bool bind_fiber(M* m, G* g) noexcept;

/// Runs `g` until some fiber of this M comes back to the loop.
void run_from_loop(M* m, G* g) noexcept;

}  // namespace weft::rt
