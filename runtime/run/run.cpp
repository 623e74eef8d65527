// SPDX-License-Identifier: Apache-2.0
// run(): the beginning of a runtime, and the calling thread until it is over. The end: end.cpp.
#include <weft/runtime.hpp>

#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

#include <weft/detail/atomic.hpp>

#include "netpoll/backend.hpp"
#include "netpoll/signals.hpp"
#include "runtime/config/options.hpp"
#include "runtime/fiber/overflow.hpp"
#include "runtime/fiber/stack.hpp"
#include "runtime/inspect/inspection.hpp"
#include "runtime/inspect/schedtrace.hpp"
#include "runtime/run/end.hpp"
#include "runtime/run/monitor_duties.hpp"
#include "runtime/run/width.hpp"
#include "runtime/sched/context.hpp"
#include "runtime/sched/fiber_limit.hpp"
#include "runtime/sched/find_work.hpp"
#include "runtime/sched/fork.hpp"
#include "runtime/sched/g_pool.hpp"
#include "runtime/sched/gate.hpp"
#include "runtime/sched/idle_p.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/monitor.hpp"
#include "runtime/sched/signal_mask.hpp"
#include "runtime/sched/start_m.hpp"
#include "runtime/scope/fiber_local.hpp"

namespace weft {
namespace rt {

namespace {

constinit detail::atomic<bool> taken{false};

struct main_call {
  detail::callable_ref f;
  nanoseconds_t grace;
};

void main_body(void* closure) {
  const main_call& call = *static_cast<main_call*>(closure);
  call.f();
  end_locals(current_fiber());  // now, while their destructors may wait
  end_fibers(call.grace);
}

// While there is somebody to tell that there is none: main's stack, which its M then finds with the P.
void keep_stack_for_main(P& p, std::size_t size) {
  if (stack* s = bind_stack(p.stacks, 0, static_cast<unsigned>(p.number))) {
    p.stacks.put(s);
    return;
  }
  const int error = errno;
  if (error == EAGAIN) throw std::system_error(error, std::generic_category(), guard_limit_message());
  throw std::system_error(error, std::generic_category(),
                          "weft::run: no memory for main's stack of " + std::to_string(size) +
                              " bytes; set options::stack_size (WEFT_STACK_SIZE), or raise the limit on memory (ulimit "
                              "-v, ulimit -d)");
}

/// Undoes what `run_main` has set up, whatever it got to.
struct reset_at_the_end {
  ~reset_at_the_end() {
    stop_monitor();
    end_signals();
    end_inspection();
    reset_scheduler();
    taken.store(false, std::memory_order_release);
  }
};

}  // namespace

}  // namespace rt

inline namespace v0 {

namespace detail {

using namespace rt;

void run_main(const options& how, callable_ref f) {
  if (taken.exchange(true, std::memory_order_acquire)) {
    throw std::logic_error(forked_away.load(std::memory_order_relaxed)
                               ? forked_away_sentence
                               : "weft::run: a runtime runs already in this process; there is one at a time");
  }
  reset_at_the_end at_the_end;
  const resolved_options settled = resolve(how);
  const sigset_t callers_mask = note_callers_mask();
  watch_forks();
  init_membarrier();
  probe_sanitizer_hooks();
  init_stacks(settled.stack_size);
  describe_owner.store(
      [](void* owner) {
        const G* g = static_cast<G*>(owner);
        return overflow_info{g->id.load(std::memory_order_relaxed), g->name, g->spawn_site};
      },
      std::memory_order_relaxed);
  install_overflow_handler();
  sched.max_threads = settled.max_threads;
  sched.shortage_was_said.store(false, std::memory_order_relaxed);
  sched.threads_wanted.store(0, std::memory_order_relaxed);
  sched.no_thread_before.store(0, std::memory_order_relaxed);
  sched.refused_since.store(0, std::memory_order_relaxed);
  sched.stack_shortage_was_said.store(false, std::memory_order_relaxed);
#ifdef WEFT_DEBUG_CHECKS
  sched.migrate_on_wake = settled.maxprocs > 1;  // whoever caches what belongs to a thread across a wait is caught
#endif
  const std::size_t guards = guard_limit();
  set_fiber_limit(settled.max_fibers == 0 ? guards
                  : guards == 0           ? settled.max_fibers
                                          : std::min(guards, settled.max_fibers));
  schedtrace_configure(settled.debug);
  begin_inspection(settled);
  sched.coarse_now.store(steady_now(), std::memory_order_relaxed);
  set_width(settled.maxprocs);
  begin_netpoll(settled);
  follow_machine_width(settled.maxprocs_follows_machine);
  begin_signals();

  start_monitor();
  P* p = nullptr;
  {
    spin_guard guard(sched.lock);
    p = take_idle_p();
  }
  keep_stack_for_main(*p, settled.stack_size);
  M* m = make_m();
  if (m == nullptr) throw std::bad_alloc();
  G* main = allocate_g();
  copy_name(main, "main");
  main->entry = main_body;
  static_assert(sizeof(main_call) <= G::inline_closure_size);
  main->closure = ::new (main->inline_closure) main_call{f, settled.shutdown_grace.count()};
  main->spawn_site = __builtin_return_address(0);
  if (settled.pin_main) {
    main->pinned = m;
    main->pins = pin_base;
    m->pinned_g = main;
    spin_guard guard(sched.lock);
    sched.pinned_threads = 1;
  }
  own(m, p);
  note_busy();
  // At once, and not when main first waits: what its own thread would have to run if there were none at that moment
  // might never give it back.
  if (settled.pin_main) start_machine(nullptr, false);
  m->is_caller = true;
  m->pending = main;
  attach_thread(m);
  start_gate.open();
  schedule_loop(m);
  m->p = nullptr;
  m->pinned_g = nullptr;
  m->is_caller = false;
  detach_thread(m);
  pthread_sigmask(SIG_SETMASK, &callers_mask, nullptr);
  await_threads();
  spin_guard guard(sched.lock);
  sched.pinned_threads = 0;
  m->idle_link = sched.spare_ms;
  sched.spare_ms = m;
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
