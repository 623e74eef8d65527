// SPDX-License-Identifier: Apache-2.0
// Finding an M for a P: for work that was published, and for a P whose M blocks or computes.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Wakes one more M, or makes one; the caller counts as a searcher (idle.hpp, step 3). No lock held.
void wake_one() noexcept;
/// Called after a full fence behind published work: steps 2 and 3 of idle.hpp.
inline void wake_if_wanted() noexcept {
  if (sched.idle.submit_wants_wake()) wake_one();
}

/// Gives `p`, with what lies in its queue, to a sleeping or a new M, in need to one that waits for its pinned fiber.
/// Returns false if there is none to be had. No lock held.
bool hand_off(P* p) noexcept;
/// The same, but to no M that waits for its pinned fiber.
bool hand_off_to_unpinned(P* p) noexcept;
/// Hands on a P that its M has lost; it goes to the idle ones if no M can be had. No lock held.
void pass_on(P* p) noexcept;
/// Puts a P on the idle list whose M blocks while nothing waits. Gives it to somebody if nobody sleeps in the poller, nor
/// `somebody_comes`, who will when there is nothing else to do; wakes one if something has come meanwhile. No lock held.
void lay_aside(P* p, bool& somebody_comes) noexcept;
/// Puts a P that nobody could be found for, or that is not needed, on the idle list; what lies in its queue goes to the
/// global one, and its timers get somebody's attention. An M that has lain down meanwhile gets it, `also_to_pinned`: one
/// that waits for its pinned fiber, too. No lock held.
void shelve_p(P* p, bool searching, bool also_to_pinned = true) noexcept;

}  // namespace weft::rt
