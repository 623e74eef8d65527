// SPDX-License-Identifier: Apache-2.0
// Fibers that no stack is to be had for: they wait until others have ended, or memory has come back. By the size class
// of their stacks: those that wait for large ones keep nobody else waiting.
//
// Invariants
//  1. A fiber is on a list of `sched.without_stack` and in no queue, or in queues and on no list. `sizes_without_stack`
//     has a bit for each list that is not empty.
//  2. While a list is not empty nobody but the monitor gives stacks of its class to fibers, first come, first served:
//     those that begin meanwhile go to its end.
//  3. While one is not empty the free stacks are in the shared pools, but for what the cache of a P that is held has
//     had before: that is emptied where its M looks around, and as it goes idle; and a P with stacks is taken from an M
//     that blocks or computes (work_waits_in). Whoever puts the first fiber on a list empties those of the idle Ps, and
//     a P goes idle under the same lock. A retired P has none.
//  4. While one is not empty the monitor ticks. Nobody tells it when memory comes back: it asks each 10 ms.
#pragma once

#include "runtime/fiber/stack.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Returns true if some fiber waits for a stack. Exact under the scheduler's lock, otherwise a hint.
inline bool stacks_are_short() noexcept { return sched.sizes_without_stack.load(std::memory_order_relaxed) != 0; }
inline bool stacks_are_short(std::size_t index) noexcept {
  return (sched.sizes_without_stack.load(std::memory_order_relaxed) >> index & 1) != 0;
}
/// The same for one of the default size, which are those that caches hold.
inline bool cached_stacks_are_short() noexcept { return stacks_are_short() && stacks_are_short(stack_class(0)); }

/// Returns false if there is no stack for `g`, or others have waited longer for theirs: then it waits, too, and is
/// somebody else's. Says so once in a run. On an M's own stack, with no lock held.
bool give_stack_or_wait(M* m, G* g) noexcept;

/// What the monitor does for those that wait.
class stack_giver {
 public:
  /// Returns true if some have got a stack. They are ready. No lock held.
  bool look(nanoseconds_t now) noexcept;

 private:
  void serve(std::size_t index, nanoseconds_t now, g_list& ready) noexcept;
  bool give(std::size_t index, G& g, nanoseconds_t now) noexcept;

  stack_cache cache_;
  nanoseconds_t not_before_[stack_classes]{};  // where the pools have none
  unsigned shard_ = 0;                         // that had the last one
};

}  // namespace weft::rt
