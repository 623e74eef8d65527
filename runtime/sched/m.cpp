// SPDX-License-Identifier: Apache-2.0
// The calling thread's M, the slow entry to the runtime section, and the scheduler's state itself.
#include "runtime/sched/hand_off.hpp"
#include "runtime/sched/idle_p.hpp"
#include "runtime/sched/looks.hpp"
#include "runtime/sched/pending_work.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/retake.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/stack_shortage.hpp"

namespace weft::rt {

constinit scheduler sched;

#if defined(WEFT_SIMULATED)
void set_current_m(M* m) noexcept { sim::slot(sim::slot_of::machine) = m; }
#else
// Under this name `current_m` finds it; `used`, since a link-time optimiser does not see that.
[[gnu::used, gnu::visibility("hidden"),
  gnu::tls_model("initial-exec")]] thread_local constinit M* this_m asm("weft_v0_this_m") = nullptr;

#if !defined(__x86_64__)
[[gnu::noinline]] M* current_m() noexcept {
  M* m = this_m;
  asm volatile(""
               : "+r"(m)::"memory");  // keeps the compiler from finding this pure, and from caching it across a switch
  return m;
}
#endif

[[gnu::noinline]] void set_current_m(M* m) noexcept {
  this_m = m;
  asm volatile("" ::: "memory");
}
#endif

// There is nobody to take it. What waits in it is for those that have a P.
static void keep(M* m, P* p) noexcept {
  own(m, p);
  if (cached_stacks_are_short()) p->stacks.drain();
  push_global(take_all(p));
  std_atomics::fence_seq_cst();
  wake_if_wanted();
}

// A request stands: the monitor has taken the P, is about to, or wants it given to somebody else.
[[gnu::noinline]] void enter_slow(M* m, at_entry how) noexcept {
  {
    detail::spin_guard guard(m->retake_lock);
    m->section.accept();
  }
  const bool slice_is_over = m->slice_over.exchange(false, std::memory_order_relaxed);
  const bool looks = m->look_wanted.exchange(false, std::memory_order_relaxed);
  if (m->p != nullptr) {
    if (looks) grant_look(m->p);
    if (!slice_is_over) return;
    if (how == at_entry::keep_p || !work_waits_for(m->p)) return;
    P* p = m->p;
    p->handoffs.add();
    m->p = nullptr;
    if (how == at_entry::surrender_p)
      surrender(m, p);
    else if (!hand_off(p))
      keep(m, p);
    else if (!m->is_caller)
      make_slice_long(*m);
    return;
  }
  // Gone. Any idle P will do; without one this fiber goes on as a plain thread would, as it does inside blocking(f). So
  // does one whose thread would first have to get its own slice back, by a system call, while a lock may be held.
  if (m->in_blocking != 0) return;
  if (how == at_entry::hand_p_over) take_own_slice_back(m);
  if (m->former_slice.load(std::memory_order_relaxed) != 0) return;
  {
    detail::spin_guard guard(sched.lock);
    if (P* p = take_idle_p()) own(m, p);
  }
  if (m->p != nullptr) note_busy();
}

}  // namespace weft::rt
