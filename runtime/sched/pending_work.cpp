// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/pending_work.hpp"

#include "runtime/sched/stack_shortage.hpp"
#include "runtime/sched/timers.hpp"

namespace weft::rt {

static bool ring_is_empty(const P& p) noexcept { return p.queue.size() <= (p.queue.peek_next() != nullptr ? 1u : 0u); }

// What is overdue while a fiber waits for its turn in a queue that this M cannot take from counts only `with_runnext`.
bool anything_to_do(bool with_runnext) noexcept {
  if (sched.global_size() != 0) return true;
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) {
    const P& p = *sched.all_ps[i].load(std::memory_order_acquire);
    if (with_runnext ? !p.queue.empty() : !ring_is_empty(p)) return true;
  }
  const pending_timers timers = look_at_timers();
  return timers.earliest != never && sched.timers.get_up_for(timers) <= steady_now();
}

bool has_what_others_want(const P* p) noexcept {
  return !p->queue.empty() || (cached_stacks_are_short() && p->stacks.size() != 0);
}

bool work_waits_in(const P* p) noexcept { return has_what_others_want(p) || sched.global_size() != 0; }

bool work_waits_elsewhere() noexcept {
  if (sched.idle.idle_ps() != 0) return false;
  const poller* net = sched.net.load(std::memory_order_acquire);
  if (net != nullptr && net->has_waiters()) return true;
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) {
    if (!ring_is_empty(*sched.all_ps[i].load(std::memory_order_acquire))) return true;
  }
  return look_at_timers().earliest != never;
}

}  // namespace weft::rt
