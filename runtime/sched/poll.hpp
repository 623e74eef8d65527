// SPDX-License-Identifier: Apache-2.0
// Sleeping where timers and sockets are heard: in the poller, or on a futex until the first descriptor is opened. One M
// at a time does so, `polling_m`, with the next timer as its time-out (timer_watch.hpp).
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Looks at the poller without blocking, and makes runnable who is ready there. Returns true if there was anybody.
/// Called by an M's loop with a P.
bool poll_into_queue(M* m) noexcept;

/// Makes `m` the one that sleeps in the poller. Returns false if another M does, or is just coming out of it.
bool take_poller(M* m) noexcept WEFT_REQUIRES(sched.lock);
/// Steps 9 and 10 of idle.hpp, after `take_poller`. Returns with a P or without.
void sleep_in_poller(M* m) noexcept;

/// Wakes the M that sleeps in the poller. Any thread, no lock held.
void wake_poller() noexcept;
/// The same if it would sleep past `when`: for whoever started a timer without holding a P.
void wake_sleeper_before(nanoseconds_t when) noexcept;
/// The same if it would sleep past the earliest timer of all.
void nudge_sleeper() noexcept;

/// Makes `net` the poller, when the first descriptor is opened.
void install_poller(poller& net) noexcept;

}  // namespace weft::rt
