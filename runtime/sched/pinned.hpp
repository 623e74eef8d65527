// SPDX-License-Identifier: Apache-2.0
// Fibers that stay on one thread, by options::pin_main or a thread_pin, and their Ms. Such an M runs nothing else, unless not one other thread can be had: while its fiber waits, its P
// is somebody else's, and it sleeps until whoever has picked that fiber brings it, with a P (`due`, `due_p`).
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Pins the calling fiber to the M that it runs on, until `unpin` was called as often. Returns false if that M, which
/// helps out for want of threads, is another fiber's.
bool pin(G* g) noexcept;
void unpin(G* g) noexcept;
/// A pinned fiber ends: whatever is left of its pins goes with it. Inside the runtime section, on `m`.
void forget_pins(M* m, G* g) noexcept;

/// Gives fiber and P to the M that the fiber is pinned to; no P if that M helps out with another fiber.
void give_to_pinned(M* m, G* g) noexcept;
/// Returns the pinned fiber if somebody has picked it and the M has a P for it: the one that came with it (another that
/// the M had is handed on), or its own. Returns nullptr if it is not due.
G* take_due(M* m) noexcept;
/// An M with a pinned fiber begins to run another one, or has done so.
void help_out(M* m, bool begins) noexcept;

/// Gives the P away while the pinned fiber waits. Returns false if nobody is there to take it: this M still has it.
bool lend_p(M* m) noexcept;
/// Returns true if there is not one thread beside those with a pinned fiber, and none has been to be had for a while: a thread that is
/// refused for a moment is no reason to let another fiber have this one.
bool is_alone() noexcept;
/// For when all other threads are held up and no more are to be had: puts what is ready for others into the global
/// queue, and returns the pinned fiber if it is there, or else one that is pinned to another M.
G* take_pinned(M* m) noexcept;

/// Sleeps until somebody has picked the pinned fiber, or no other M can be had for a P. It heeds no missed wake, which
/// it could do nothing about. Returns false if the runtime has ended.
bool sleep_until_pinned_is_due(M* m) noexcept;
/// The same with a P that no thread could be had for: the monitor finds an M for it.
bool sleep_beside_held_up_threads(M* m) noexcept;

}  // namespace weft::rt
