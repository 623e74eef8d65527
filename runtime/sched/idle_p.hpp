// SPDX-License-Identifier: Apache-2.0
// Who holds a P: taking one, giving it up, and the Ps that nobody holds.
//
// Invariant: a P changes hands only under the scheduler's lock (the lists here, `next_p`, `due_p`) or, from a silent M,
// by the monitor under that M's `retake_lock` (retake.hpp). A P on the idle list has nothing in its queue; its timers may
// be somebody's.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Notes who holds `p`; it came to the caller under a lock.
void own(M* m, P* p) noexcept;
/// Called after `own`, with no lock held: wakes the monitor if it sleeps.
void note_busy() noexcept;

/// Takes note that a thread which was started without a P is there.
void has_come(M* m) noexcept WEFT_REQUIRES(sched.lock);

/// Returns an idle P, or nullptr.
P* take_idle_p() noexcept WEFT_REQUIRES(sched.lock);
/// Puts `p` on the idle list, or retires it if it lies beyond the width. `searching`: the caller's count as a searcher
/// ends with it.
void put_idle_p(P* p, bool searching) noexcept WEFT_REQUIRES(sched.lock);

/// Leaves `p`, which `m` held, to the monitor, or to the next M that looks for a P: for an entry that may hold a lock
/// (`at_entry`). Whoever takes it makes the slice of `m` long. No scheduler lock held.
void surrender(M* m, P* p) noexcept;
/// Returns a P that was surrendered at an entry, or nullptr.
P* take_surrendered_p() noexcept WEFT_REQUIRES(sched.lock);

/// Gives `m` a surrendered or an idle P, if there is one. No lock held.
void take_any_p(M* m) noexcept;
/// The same for an M that has seen that there is work, or was told so: it counts as a searcher, and so tells others of
/// what it leaves. Returns false if there is no P.
bool search_again(M* m) noexcept;

}  // namespace weft::rt
