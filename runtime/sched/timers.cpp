// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/timers.hpp"

#include <algorithm>

#include "runtime/sched/looks.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/upcalls.hpp"

namespace weft::rt {

nanoseconds_t read_clock(P* p) noexcept {
  p->now = steady_now();
  sched.coarse_now.store(p->now, std::memory_order_relaxed);
  return p->now;
}

constexpr nanoseconds_t held_up = 20'000'000;

G* run_timers(M* m, timer_heap& heap, bool one_goes_first) noexcept {
  if (heap.next_when() == never) return nullptr;
  P* p = m->p;
  const nanoseconds_t now = read_clock(p);
  // They have waited for their time, not for their turn. But none passes those that fired before, save where the ring has
  // been slow for some time with such in it all the while: two that lie apart there keep each other there, firing after
  // firing.
  const bool ring_has_none = p->queue.has_left(p->fired_until);
  const bool slow = queue_is_slow(*p);
  if (ring_has_none || !slow)
    p->held_up_since = 0;
  else if (p->held_up_since == 0)
    p->held_up_since = now;
  one_goes_first = one_goes_first && ring_has_none && sched.due_in_global() == 0;
  const bool ahead = ring_has_none ? slow || sched.due_in_global() != 0 : slow && now - p->held_up_since >= held_up;
  for (bool more = true; more;) {
    fired_timers fired;
    more = heap.run_due(now, fired);
    finish_expired(fired);
    fired.run_deferred();
    if (fired.ready == 0) continue;
    if (one_goes_first && !more && fired.ready == 1 && take_ready(m, fired.ready_head)) return fired.ready_head;
    one_goes_first = false;
    const std::uint32_t before = p->queue.end();
    ready_from_loop(m, {fired.ready_head, fired.ready_tail, fired.ready}, ahead);
    if (p->queue.end() != before) p->fired_until = p->queue.end();  // not if they went to the global queue
  }
  return nullptr;
}

void run_all_timers(M* m) noexcept {
  for_each_heap([m](timer_heap& heap) {
    if (heap.next_when() <= m->p->now || heap.next_when() <= read_clock(m->p)) run_timers(m, heap);
  });
}

void run_ownerless_timers(M* m, bool at_any_price) noexcept {
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = sched.procs.load(std::memory_order_relaxed); i < known; ++i)
    run_timers(m, sched.all_ps[i].load(std::memory_order_acquire)->timers);
  nanoseconds_t now = 0;
  for (timer_heap& heap : sched.foreign_timers) {
    const nanoseconds_t when = heap.next_when();
    if (when == never) continue;
    if (now == 0) now = read_clock(m->p);
    if (when <= now && (at_any_price || !heap.is_locked())) run_timers(m, heap);
  }
}

pending_timers look_at_timers() noexcept {
  pending_timers all;
  for_each_heap([&all](const timer_heap& heap) {
    all.earliest = std::min(all.earliest, heap.next_when());
    all.count += heap.size();
  });
  return all;
}

bool start_timer(timer& t) noexcept {
  inside_runtime here;
  if (P* p = here.p()) {
    p->timers.start(t);
    return false;
  }
  sched.foreign_timers[(reinterpret_cast<std::uintptr_t>(&t) >> 6) % scheduler::foreign_heaps].start(t);
  return true;
}

void restart_timer_in_loop(timer& t) noexcept { current_m()->p->timers.start(t); }

}  // namespace weft::rt
