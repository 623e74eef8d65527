// SPDX-License-Identifier: Apache-2.0
// "All fibers are asleep": nothing in the process can make any of them ready again.
//
// That is so if, at one look and again 10 ms later with nothing having happened in between,
//   - every P is idle, no queue holds a fiber, no M runs one, nobody is searching or just waking somebody,
//   - no timer runs,
//   - every fiber waits, and none of them for a descriptor; nobody holds a channel of signals,
//   - every M is asleep in the kernel (a thread that was preempted in the middle of something is not),
//   - no thread but the runtime's own exists, except such as wait in weft themselves, without a time-out.
// A thread beyond those could wake a fiber at any time: then one line says so instead, once a run.
// `deadlock_policy::fatal` takes no account of threads, `off` never looks.
//
// The monitor looks, and only where it would go to sleep because everything is idle: first (which costs some loads), 10
// ms later, and, if there was hope, a second later once more, as the thread may have ended. Then no more: an idle
// process has no ticks.
#pragma once

#include <weft/options.hpp>

#include "runtime/sched/timer_heap.hpp"

namespace weft::rt {

/// At the start of run(), before the monitor.
void configure_deadlock_report(deadlock_policy policy) noexcept;

/// On the monitor's thread. Ends the process if all fibers are asleep for good. Returns for how long there is no need
/// to look again if nothing happens: `never`, as a rule.
nanoseconds_t look_for_deadlock(nanoseconds_t now) noexcept;

}  // namespace weft::rt
