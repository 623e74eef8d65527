// SPDX-License-Identifier: Apache-2.0
// Fibers that no stack is to be had for: they wait until others have ended, or memory has come back.
//
// Invariants
//  1. A fiber is on the list `sched.without_stack` and in no queue, or in queues and not on the list.
//  2. While the list is not empty nobody but the monitor gives stacks to fibers, first come, first served: those that
//     begin meanwhile go to its end.
//  3. While the list is not empty the free stacks are in the shared pools, but for what a P's cache held before: that is
//     emptied where its M looks around, and as it goes idle. Whoever puts a fiber on the list empties those of the idle
//     Ps, and a P goes idle under the same lock.
//  4. While the list is not empty the monitor ticks. Nobody tells it when memory comes back: it asks each 10 ms.
#pragma once

#include "runtime/fiber/stack.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Exact under the scheduler's lock, otherwise a hint.
inline bool stacks_are_short() noexcept { return sched.number_without_stack.load(std::memory_order_relaxed) != 0; }

/// Returns false if there is no stack for `g`, or others have waited longer for theirs: then it waits, too, and is
/// somebody else's. Says so once in a run. On an M's own stack, with no lock held.
bool give_stack_or_wait(M* m, G* g) noexcept;

/// What the monitor does for those that wait.
class stack_giver {
 public:
  /// Returns true if some have got a stack. They are ready. No lock held.
  bool look(nanoseconds_t now) noexcept;

 private:
  bool give(G& g, nanoseconds_t now) noexcept;

  stack_cache cache_;
  nanoseconds_t not_before_ = 0;  // where the pools have none
};

}  // namespace weft::rt
