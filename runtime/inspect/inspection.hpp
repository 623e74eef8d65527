// SPDX-License-Identifier: Apache-2.0
// What a running runtime adds to its process, and takes back when it ends:
//
//   SIGQUIT      prints the dump of all fibers, and the process goes on; only if the program has not said otherwise
//                about that signal: a handler of its own, a channel (weft/signals.hpp), or that it is ignored, which a
//                program also inherits. The handler sets a flag and gets the monitor up; the monitor prints.
//   terminate    on a fiber: says whose exception it was, with the stack of its throw (fatal.hpp). On other threads the
//                former handler runs as ever.
//   deadlock     the report (deadlock.hpp).
#pragma once

#include "runtime/config/options.hpp"
#include "runtime/sched/timer_heap.hpp"

namespace weft::rt {

void begin_inspection(const resolved_options& how) noexcept;
/// Harmless if nothing has begun.
void end_inspection() noexcept;

/// Returns true if a dump was asked for: then the monitor must tick even if it would sleep.
bool inspection_is_due() noexcept;
/// At each tick of the monitor, on its thread.
void inspection_tick(nanoseconds_t now) noexcept;

}  // namespace weft::rt
