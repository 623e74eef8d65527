// SPDX-License-Identifier: Apache-2.0
// The public face of the inspection: sums over Ps, which each count for themselves.
#include <weft/debug.hpp>

#include "netpoll/backend.hpp"
#include "runtime/fiber/stack.hpp"
#include "runtime/inspect/dump.hpp"
#include "runtime/inspect/handoff.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft {
inline namespace v0 {
namespace debug {

using namespace rt;

void dump_fibers(std::FILE* out) noexcept { dump_everything(out); }

static void add_ps(counters& sum) noexcept {
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) {
    const P& p = *sched.all_ps[i].load(std::memory_order_acquire);
    sum.fibers_ended += p.ended.get();
    sum.parks += p.parks.get();
    sum.wakes += p.wakes.get();
    sum.steals += p.steals.get();
    sum.overflows += p.overflows.get();
    sum.handoffs += p.handoffs.get();
    sum.runnable += p.queue.size();
  }
  // Starts after ends, so that a fiber that comes and goes meanwhile does not make the difference negative.
  for (int i = 0; i < known; ++i) sum.fibers_started += sched.all_ps[i].load(std::memory_order_acquire)->started.get();
}

static void add_threads(counters& sum) noexcept {
  sum.maxprocs = sched.procs.load(std::memory_order_acquire);
  if (sum.maxprocs == 0) return;
  sum.idle_procs = static_cast<int>(sched.idle.idle_ps());
  detail::spin_guard guard(sched.lock);
  sum.threads = sched.threads + 2;  // the caller of run(), and the monitor
  sum.idle_threads = sched.idle_threads;
}

counters stats() noexcept {
  counters sum;
  sum.fibers_ended = sched.foreign_ended.load(std::memory_order_acquire);
  add_ps(sum);
  sum.fibers_started += sched.foreign_started.load(std::memory_order_acquire);
  sum.fibers = sum.fibers_started - sum.fibers_ended;
  sum.runnable += sched.global_size();
  add_threads(sum);

  const handoff_counts why = count_handoffs();
  sum.handoffs_blocked = why.blocked;
  sum.handoffs_announced = why.announced;
  sum.handoffs_burned = why.burned;

  const stack_stats stacks = read_stack_stats();
  sum.stacks = stacks.mapped;
  sum.stacks_in_use = stacks.in_use;
  sum.stacks_pooled = stacks.pooled;
  sum.stacks_trimmed = stacks.trimmed;
  sum.stack_bytes_reserved = stacks.reserved;
  sum.stack_bytes_committed = stacks.committed;
  sum.guards = stacks.mode == guard_mode::install ? guard_kind::install : guard_kind::protect;
  sum.files = serving_files();
  sum.io_uring_refused = ring_refusals();
  sum.membarrier = !parkers_must_fence.load(std::memory_order_relaxed);
  return sum;
}

}  // namespace debug
}  // namespace v0
}  // namespace weft
