// SPDX-License-Identifier: Apache-2.0
// Making fibers runnable.
#pragma once

#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// The winner of a claim makes the fiber ready. No lock held. Waits until the fiber is off its stack; wakes a plain
/// thread's futex where the fiber stands for one. Any thread, but not an M's own loop (there: `ready_from_loop`).
void wake(G* g) noexcept;
/// The same for a linked batch; one decision about waking Ms for all.
void wake_all(g_list batch) noexcept;
/// A new fiber's first appearance. As `wake`, and counts as work for others at once.
void submit_new(G* g) noexcept;
/// The same from an M's own loop, inside its bracket. `ahead`: they are put where they go ahead of the queues of all Ps.
void ready_from_loop(M* m, g_list batch, bool ahead = false) noexcept;
/// Takes a fiber that has just become ready, for the M's loop to run at once. Returns false if it must go by a queue.
bool take_ready(M* m, G* g) noexcept;

/// Notes that this fiber made another runnable and computed on. A hint for its next wake; nullptr is nobody.
void computes_on(const G* waker) noexcept;

/// Puts a fiber behind all others; for the hook of `yield`, and for what its M cannot run.
void push_global(G* g) noexcept;
void push_global(g_list batch) noexcept;
/// Takes all that is in the queue of `p`, which is the caller's.
g_list take_all(P* p) noexcept;
/// Makes sure that the ring of `p`, the caller's, takes one more.
void make_room(P* p) noexcept;

}  // namespace weft::rt
