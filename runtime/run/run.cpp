// SPDX-License-Identifier: Apache-2.0
// The beginning and the end of a runtime.
//
// The end, in this order, on the main fiber:
//   1  f has returned (or thrown). The gate closes: no plain thread starts a fiber any more.
//   2  Every other fiber is cancelled, and every one that is born from here on. They unwind; the deadlock report stays armed.
//   3  Plain threads that wait in weft get std::system_error (operation_canceled), and so do those that begin a cancellable wait
//      from here on, until 6.
//   4  Main waits until it is the only fiber. After each `shutdown_grace` the ones that are left are named on stderr.
//   5  `ended`: the Ms leave their loops and their threads end; the calling thread comes back from its own.
//   6  run() returns what f left behind.
// What statics may use afterwards (channels, mutexes, wait_groups between plain threads) needs no runtime.
#include <weft/runtime.hpp>

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <new>
#include <optional>
#include <stdexcept>
#include <utility>

#include "netpoll/backend.hpp"
#include "runtime/config/cpu_width.hpp"
#include "runtime/config/options.hpp"
#include "runtime/fiber/context.hpp"
#include "runtime/fiber/overflow.hpp"
#include "runtime/fiber/stack.hpp"
#include "runtime/inspect/deadlock.hpp"
#include "runtime/inspect/dump.hpp"
#include "runtime/inspect/inspection.hpp"
#include "runtime/inspect/schedtrace.hpp"
#include "runtime/run/fork.hpp"
#include "runtime/run/gate.hpp"
#include "runtime/run/width.hpp"
#include "runtime/sched/blocking.hpp"
#include "runtime/sched/find_work.hpp"
#include "runtime/sched/futex.hpp"
#include "runtime/sched/machine.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/monitor.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/signal_mask.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/wait/outcome.hpp"

namespace weft::inline v0 {

namespace rt {

namespace {

constinit std::atomic<bool> taken{false};
constinit detail::spin_lock last_lock;  // guards `last_waits`
constinit detail::wait_list last_waits;

std::atomic<bool> follow_machine{false};
nanoseconds_t next_width_check = 0;
nanoseconds_t next_trim = 0;
constexpr nanoseconds_t trim_every = 250'000'000;

// Opened once and read again each second: on the monitor's thread only.
cpu_width_watch& width_watch() {
  static cpu_width_watch watch;
  return watch;
}

struct main_call {
  detail::callable_ref f;
  nanoseconds_t grace;
};

void await_the_others(nanoseconds_t grace) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  for (;;) {
    last_lock.lock();
    if (present_fibers() == 1) {
      last_lock.unlock();
      return;
    }
    waiter<env> w;
    const wait_outcome how = wait_in_queue<env>(last_lock, last_waits, w,
                                                {wait_reason::shutdown, false, saturating_add(steady_now(), grace)});
    if (how == wait_outcome::timed_out && present_fibers() > 1) {
      std::fprintf(stderr, "weft: %lld fibers have not ended since main did:\n",
                   static_cast<long long>(present_fibers() - 1));
      dump_everything(stderr);
    }
  }
}

// A wait that is armed before the fence is claimed here, one that is armed after it sees the flag: it stays up until
// run() returns.
void end_plain_waits() noexcept {
  plain_waits.fetch_add(1, std::memory_order_relaxed);
  fence_all_threads();
  for_each_thread_g(
      [](G& g, void*) {
        const auto seen = g.wait.look();
        if (g.thread.plain_waits.load(std::memory_order_relaxed) == wait_of_a_fiber) return;  // the one that was seen
        if (!g.wait.claim_if_cancellable(seen)) return;
        g.cause = wait_cause::cancelled;
        wake(&g);
      },
      nullptr);
}

// A plain thread that was woken a moment ago, with the last value of a fiber, has not had the CPU yet, and mostly begins
// its next wait at once: that one belongs to this run, too. So the flag stays up until each has left the wait that it
// was in. Bounded, as a debugger may have stopped it.
void await_woken_threads() noexcept {
  constexpr nanoseconds_t patience = 100'000'000;
  const nanoseconds_t until = steady_now() + patience;
  for (;;) {
    bool some_are_leaving = false;
    for_each_thread_g(
        [](G& g, void* some) {
          if (wait_word<std_atomics>::is_claimed(g.wait.look())) *static_cast<bool*>(some) = true;
        },
        &some_are_leaving);
    if (!some_are_leaving || steady_now() >= until) return;
    sched_yield();
  }
}

void main_body(void* closure) {
  const main_call& call = *static_cast<main_call*>(closure);
  call.f();
  start_gate.close();
  sched.closing.store(true, std::memory_order_seq_cst);
  cancel_everybody(current_g());
  end_plain_waits();
  await_the_others(call.grace);
  end_machines();
}

void await_threads() noexcept {
  for (;;) {
    const std::uint32_t seen = sched.threads_changed.load(std::memory_order_acquire);
    std::optional<pthread_t> last;
    bool all_ended = false;
    {
      detail::spin_guard guard(sched.lock);
      all_ended = sched.threads == 0;
      if (all_ended) last = std::exchange(sched.last_ended, std::nullopt);
    }
    if (last) pthread_join(*last, nullptr);
    if (all_ended) return;
    futex_wait(sched.threads_changed, seen);
  }
}

/// Undoes what `run_main` has set up, whatever it got to.
struct reset_at_the_end {
  ~reset_at_the_end() {
    stop_monitor();
    end_inspection();
    while (sched.foreign_wakers.load(std::memory_order_acquire) != 0)
      sched_yield();  // pairs with the release in ready.cpp
    // Timers that the program still holds: none of them fires in the next run.
    for (int i = 0; i < sched.known_procs.load(std::memory_order_relaxed); ++i)
      sched.all_ps[i].load(std::memory_order_relaxed)->timers.clear();
    {
      detail::spin_guard guard(sched.lock);
      while (P* p = take_idle_p()) p->in_service = false;
      sched.in_service.store(0, std::memory_order_relaxed);
      forget_missed_wake();
      const int known = sched.known_procs.load(std::memory_order_relaxed);
      for (int i = 0; i < known; ++i) {
        P* p = sched.all_ps[i].load(std::memory_order_relaxed);
        p->in_service = false;
        p->m.store(nullptr, std::memory_order_relaxed);
      }
      sched.idle_ms = nullptr;
      sched.polling_m = nullptr;
      sched.poller_taken = false;
      while (take_surrendered_p() != nullptr) {
      }
    }
    await_woken_threads();
    if (plain_waits_are_over(plain_waits.load(std::memory_order_relaxed)))
      plain_waits.fetch_add(1, std::memory_order_relaxed);
    sched.procs.store(0, std::memory_order_release);
    sched.closing.store(false, std::memory_order_release);  // with `procs`: who sees the end sees what came before it
    sched.ended.store(false, std::memory_order_relaxed);
    taken.store(false, std::memory_order_release);
  }
};

}  // namespace

void width_is_set_by_hand() noexcept { follow_machine.store(false, std::memory_order_relaxed); }

bool monitor_wants_ticks() noexcept { return schedtrace_is_on() || inspection_is_due(); }
nanoseconds_t monitor_may_sleep(nanoseconds_t now) noexcept { return look_for_deadlock(now); }

bool monitor_tidies_up() noexcept { return trim_stacks() != 0; }

void monitor_tick(nanoseconds_t now) noexcept {
  schedtrace_tick(now);
  inspection_tick(now);
  if (now >= next_trim) {
    next_trim = now + trim_every;
    trim_stacks();
  }
  if (!follow_machine.load(std::memory_order_relaxed) || now < next_width_check) return;
  next_width_check = now + 1'000'000'000;
  const int width = width_watch().width();
  if (width != sched.procs.load(std::memory_order_relaxed) && follow_machine.load(std::memory_order_relaxed))
    change_width(width);
}

// The bracket is the caller's; two that go at the same moment: the fence makes at least one of them see that both are gone.
void fiber_gone(M* m) noexcept {
  std_atomics::fence_seq_cst();
  if (present_fibers() != 1) return;
  g_list woken;
  {
    detail::spin_guard guard(last_lock);
    if (waiter<env>* w = wait_queue<env>(last_waits).pop_claimed()) {
      w->result = wait_result::ok;
      woken.push_back(w->g);
    }
  }
  ready_from_loop(m, woken);
}

}  // namespace rt

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
  sched.no_thread_before.store(0, std::memory_order_relaxed);
  sched.refused_since.store(0, std::memory_order_relaxed);
#ifdef WEFT_DEBUG_CHECKS
  sched.migrate_on_wake = settled.maxprocs > 1;  // whoever caches what belongs to a thread across a wait is caught
#endif
  const std::size_t guards = guard_limit();
  sched.fiber_limit = settled.max_fibers == 0 ? guards
                      : guards == 0           ? settled.max_fibers
                                              : std::min(guards, settled.max_fibers);
  schedtrace_configure(settled.debug);
  begin_inspection(settled);
  sched.coarse_now.store(steady_now(), std::memory_order_relaxed);
  set_width(settled.maxprocs);
  begin_netpoll(settled);
  next_width_check = 0;
  follow_machine.store(settled.maxprocs_follows_machine, std::memory_order_relaxed);

  start_monitor();
  M* m = make_m();
  if (m == nullptr) throw std::bad_alloc();
  G* main = allocate_g();
  copy_name(main, "main");
  main->entry = main_body;
  static_assert(sizeof(main_call) <= G::inline_closure_size);
  main->closure = ::new (main->inline_closure) main_call{f, settled.shutdown_grace.count()};
  main->spawn_site = __builtin_return_address(0);
  sched.main_is_pinned = settled.pin_main;
  if (settled.pin_main) {
    main->pinned = m;
    m->locked = main;
  }
  {
    spin_guard guard(sched.lock);
    own(m, take_idle_p());
  }
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
  m->locked = nullptr;
  m->is_caller = false;
  detach_thread(m);
  pthread_sigmask(SIG_SETMASK, &callers_mask, nullptr);
  await_threads();
  spin_guard guard(sched.lock);
  m->idle_link = sched.spare_ms;
  sched.spare_ms = m;
}

void begin_blocking() {
  M* m = current_m();
  if (m == nullptr || m->cur == nullptr) return;
  rt::check_cancelled(m->cur);
  begin_blocking_on(m);
}

void end_blocking() noexcept {
  M* m = current_m();
  if (m == nullptr || m->cur == nullptr) return;
  end_blocking_on(m);
}

}  // namespace detail
}  // namespace weft::inline v0
