// SPDX-License-Identifier: Apache-2.0
// Looks at everything that an M could find: before it sleeps, and for whoever decides whether another is wanted. Hints
// unless the caller has passed the fence of idle.hpp.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Returns true if there is a fiber in a queue or a timer that is overdue. What is in a `runnext` counts only
/// `with_runnext`: this M may not be able to take it.
bool anything_to_do(bool with_runnext) noexcept;
inline bool work_anywhere() noexcept { return anything_to_do(true); }

/// Returns true if there is a fiber in its queue, or a stack that one elsewhere waits for.
bool has_what_others_want(const P* p) noexcept;
/// The two halves of `work_waits_for`: what it has itself and what is in the global queue, and what does not depend on `p`.
bool work_waits_in(const P* p) noexcept;
bool work_waits_elsewhere() noexcept;
/// Returns true if somebody would run if the M that holds `p` gave it away. Sockets, timers and the rings of other Ps
/// count if no P is idle: else somebody steals, and sleeps in the poller, or the monitor sends an M there (poll.hpp).
inline bool work_waits_for(const P* p) noexcept { return work_waits_in(p) || work_waits_elsewhere(); }

}  // namespace weft::rt
