// SPDX-License-Identifier: Apache-2.0
// The monitor's thread as others see it.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Starts the thread. Throws std::system_error if there is none to be had.
void start_monitor();
/// Ends it and waits for that; harmless if it does not run.
void stop_monitor() noexcept;
/// Wakes it if it sleeps because every P is idle. Async-signal-safe.
void wake_monitor() noexcept;
/// Has it tick at once, whatever it does. A call while it does not run is forgotten. Async-signal-safe.
void call_monitor() noexcept;
/// It looks more often for a while, from now on. One system call; for when `monitor_is_slow` says so.
void ask_for_attention() noexcept;

}  // namespace weft::rt
