// SPDX-License-Identifier: Apache-2.0
// Sleeping where timers and sockets are heard: in the poller, or on a futex until the first descriptor is opened. One M
// at a time does so, `polling_m`, with the next timer as its time-out (timer_watch.hpp).
//
// Problem: an M that is busy looks there now and then (looks.hpp), which is late where fibers compute. So beside
// an idle P, while a descriptor is open or a timer runs, an M shall sleep there. Who sees to it:
//
//   whoever gives up a P       sleeps there if nobody does (find_work.cpp)
//   whoever comes out          with fibers: wakes another for them, as for all work, who finds that place free
//                              (ready.cpp). Woken to search: the end of the last search asks `poller_is_wanted`
//                              (`stop_search`)
//   the monitor, at each look  where it is wanted all the same: a descriptor was opened or a timer started while nobody
//                              was there, such as by plain threads beside a main in blocking(f); or the M that slept
//                              there was handed a P, or came out for a timer, and has found work without a search
//
// An M that comes out is counted as a sleeper until it says `get_up`. Whoever looks before that and asks nobody leaves
// it to that M, which has its own look still before it, or goes back. A look that misses that it has got up is made up
// for by the monitor.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Looks at the poller without blocking, and makes runnable who is ready there. Returns true if there was anybody.
/// Called by an M's loop with a P.
bool poll_into_queue(M* m) noexcept;

/// Returns true if there is something to hear and no M sleeps where it is heard. A hint; no lock held.
bool poller_is_wanted() noexcept;

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
