// SPDX-License-Identifier: Apache-2.0
// How many Ps are in use, and changing that while fibers run, without stopping anybody.
//
// A P beyond the new width is taken off the idle list at once; a busy one is retired by whoever holds it, at its next
// visit to the M's loop (looks.hpp), or by the monitor if that fiber neither parks nor picks. Its
// fibers go to the global queue; its timers stay in its heap, which whoever searches or sleeps looks at for ever.
// Invariant, under the scheduler's lock: `in_service` is true exactly for the Ps that are held or on the idle list.
#include "runtime/run/width.hpp"
#include "runtime/run/monitor_duties.hpp"

#include <weft/runtime.hpp>

#include <new>

#include "runtime/config/options.hpp"
#include "runtime/sched/admission.hpp"
#include "runtime/sched/hand_off.hpp"
#include "runtime/sched/idle_p.hpp"
#include "runtime/sched/pending_work.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft {
namespace rt {

static void make_ps_up_to(int n) {
  for (int i = sched.known_procs.load(std::memory_order_relaxed); i < n; ++i) {
    P* p = new P;
    p->number = i;
    sched.all_ps[i].store(p, std::memory_order_release);
    sched.known_procs.store(i + 1, std::memory_order_release);  // pairs with the acquire of whoever looks at all Ps
  }
}

static constinit detail::spin_lock width_lock;  // one change at a time; held across `new`, and nobody else's business

void set_width(int n) WEFT_NO_THREAD_SAFETY_ANALYSIS {
  detail::spin_guard one_at_a_time(width_lock);
  make_ps_up_to(n);
  {
    detail::spin_guard guard(sched.lock);
    sched.procs.store(n, std::memory_order_release);
    P* keep = nullptr;
    while (P* p = take_idle_p()) {
      if (p->number >= n) {
        p->stacks.drain();
        p->in_service = false;
        sched.in_service.fetch_sub(1, std::memory_order_relaxed);
        continue;
      }
      p->idle_link = keep;
      keep = p;
    }
    while (keep != nullptr) {
      P* p = keep;
      keep = p->idle_link;
      put_idle_p(p, false);
    }
    for (int i = 0; i < n; ++i) {
      P* p = sched.all_ps[i].load(std::memory_order_relaxed);
      if (!p->in_service) put_idle_p(p, false);
    }
  }
}

void change_width(int n) {
  set_width(n);
  std_atomics::fence_seq_cst();
  if (work_anywhere()) wake_if_wanted();  // a queue that grew while there were few Ps
}

}  // namespace rt

inline namespace v0 {

int maxprocs() noexcept { return rt::sched.procs.load(std::memory_order_acquire); }

int set_maxprocs(int n) {
  rt::check_width("set_maxprocs", n);
  const rt::admission inside("set_maxprocs");  // a plain thread must not widen a runtime that has ended
  const int former = maxprocs();
  rt::width_is_set_by_hand();
  rt::change_width(n);
  return former;
}

}  // namespace v0
}  // namespace weft
