// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/idle_p.hpp"

#include <cassert>
#include <utility>

#include "runtime/sched/futex.hpp"
#include "runtime/sched/hand_off.hpp"
#include "runtime/sched/monitor.hpp"
#include "runtime/sched/retake.hpp"
#include "runtime/sched/stack_shortage.hpp"

namespace weft::rt {

void own(M* m, P* p) noexcept {
  m->p = p;
  p->m.store(m, std::memory_order_release);  // release: thieves and the monitor look into the M
}

void note_busy() noexcept {
  // Pairs with the fence in monitor::sleep_deeply: it sees the P taken, or we see it asleep.
  std_atomics::fence_seq_cst();
  if (sched.monitor_sleeps.load(std::memory_order_relaxed) == 0) return;
  // The clock stood still while the monitor slept, and a fiber that parks next notes it.
  sched.coarse_now.store(steady_now(), std::memory_order_relaxed);
  wake_monitor();
}

P* take_idle_p() noexcept WEFT_REQUIRES(sched.lock) {
  P* p = sched.idle_ps;
  if (p == nullptr) return nullptr;
  sched.idle_ps = p->idle_link;
  p->idle_link = nullptr;
  sched.idle.take_p();
  return p;
}

void put_idle_p(P* p, bool searching) noexcept WEFT_REQUIRES(sched.lock) {
  assert(p->queue.empty() && "an idle P holds no fiber");
  p->m.store(nullptr, std::memory_order_relaxed);
  // Retired by set_maxprocs: its holder was the last.
  if (p->number >= sched.procs.load(std::memory_order_relaxed)) {
    p->stacks.drain();
    if (p->in_service) sched.in_service.fetch_sub(1, std::memory_order_relaxed);
    p->in_service = false;
    if (searching) sched.idle.wake_failed();
    return;
  }
  if (!p->in_service) sched.in_service.fetch_add(1, std::memory_order_relaxed);
  p->in_service = true;
  if (cached_stacks_are_short()) p->stacks.drain();
  p->times_idle.store(p->times_idle.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  p->idle_link = sched.idle_ps;
  sched.idle_ps = p;
  sched.idle.give_up_p(searching);
}

void surrender(M* m, P* p) noexcept {
  p->m.store(nullptr, std::memory_order_relaxed);
  detail::spin_guard guard(sched.lock);
  p->surrendered_by = m->is_caller ? nullptr : m;
  p->idle_link = sched.surrendered_ps;
  sched.surrendered_ps = p;
  sched.some_are_surrendered.store(true, std::memory_order_relaxed);
}

P* take_surrendered_p() noexcept WEFT_REQUIRES(sched.lock) {
  P* p = sched.surrendered_ps;
  if (p == nullptr) return nullptr;
  sched.surrendered_ps = std::exchange(p->idle_link, nullptr);
  sched.some_are_surrendered.store(sched.surrendered_ps != nullptr, std::memory_order_relaxed);
  return p;
}

void has_come(M* m) noexcept WEFT_REQUIRES(sched.lock) {
  if (!m->is_coming) return;
  m->is_coming = false;
  sched.coming_threads.store(sched.coming_threads.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
}

void take_any_p(M* m) noexcept {
  M* burner = nullptr;
  {
    detail::spin_guard guard(sched.lock);
    P* p = take_surrendered_p();
    if (p != nullptr)
      burner = p->surrendered_by;
    else
      p = take_idle_p();
    if (p != nullptr) {
      own(m, p);
      has_come(m);
    }
  }
  if (burner != nullptr && burner != m) make_slice_long(*burner);
  if (m->p != nullptr) note_busy();
}

bool search_again(M* m) noexcept {
  take_any_p(m);
  if (m->p == nullptr) return false;
  sched.idle.begin_search();
  m->searching = true;
  return true;
}

}  // namespace weft::rt
