// SPDX-License-Identifier: Apache-2.0
// How an M sleeps without a P, is woken, and ends.
//
// Invariant: an M that sleeps holds no P. It is on `idle_ms`, or on `pinned_ms` if a fiber is pinned to it, or it is
// `polling_m` (poll.hpp). Whoever wakes it takes it off that place under the lock, so it is woken once, and hands it a
// P: in `next_p`, or in `due_p` with its pinned fiber.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// An M that was taken off its place under the lock, and is to be woken after it.
struct sleeper {
  M* m = nullptr;
  bool polls = false;
};

/// Takes a sleeping M off its place and notes that it is to run with `p`. Its `m` is nullptr if none sleeps. The M in
/// the poller is taken only if there is no other: it has to be broken out of a system call.
sleeper take_sleeper(P* p, bool searching) noexcept WEFT_REQUIRES(sched.lock);
/// The same from the Ms that wait for their pinned fiber: for when no other thread can be had.
sleeper take_pinned_sleeper(P* p, bool searching) noexcept WEFT_REQUIRES(sched.lock);
/// Takes `m` off `list`. Returns false if it is not on it.
bool take_off(M*& list, M* m) noexcept WEFT_REQUIRES(sched.lock);
/// Wakes an M that the caller took off its place. No lock held.
void get_up(const sleeper& who) noexcept;

/// Sleeps until somebody hands over a P. Returns false if the thread must end: nothing to do for long, or the runtime
/// has ended.
bool sleep_until_given_p(M* m) noexcept;
/// Returns true if a wake was missed since the last call; the caller then looks again before it sleeps.
bool forget_missed_wake() noexcept WEFT_REQUIRES(sched.lock);

/// Sets `ended` and wakes every M, so that their threads end.
void end_machines() noexcept;

}  // namespace weft::rt
