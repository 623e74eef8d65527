// SPDX-License-Identifier: Apache-2.0
// The end of a runtime, in this order; 1 to 5 on the main fiber:
//   1  f has returned (or thrown). The gate closes: no plain thread starts a fiber any more.
//   2  Every other fiber is cancelled, and every one that is born from here on. They unwind; the deadlock report stays
//      armed.
//   3  Plain threads that wait in weft get std::system_error (operation_canceled), and so do those that begin a
//      cancellable wait from here on, until 6.
//   4  Main waits until it is the only fiber. After each `shutdown_grace` the ones that are left are named on stderr.
//   5  `ended`: the Ms leave their loops and their threads end; the calling thread comes back from its own.
//   6  run() returns what f left behind.
// What statics may use afterwards (channels, mutexes, wait_groups between plain threads) needs no runtime.
#include "runtime/run/end.hpp"

#include <atomic>
#include <cstdio>
#include <optional>
#include <utility>

#include "runtime/base/os.hpp"
#include "runtime/inspect/dump.hpp"
#include "runtime/sched/futex.hpp"
#include "runtime/sched/g_pool.hpp"
#include "runtime/sched/gate.hpp"
#include "runtime/sched/idle_p.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/stop_m.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/sched/timers.hpp"
#include "runtime/sched/upcalls.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft::rt {

namespace {

constinit detail::spin_lock last_lock;  // guards `last_waits`
constinit detail::wait_list last_waits;

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

// A plain thread that was woken a moment ago, with the last value of a fiber, has not had the CPU yet, and mostly
// begins its next wait at once: that one belongs to this run, too. So the flag stays up until each has left the wait
// that it was in. Bounded, as a debugger may have stopped it.
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
    os::yield_cpu();
  }
}

}  // namespace

void end_fibers(nanoseconds_t grace) noexcept {
  start_gate.close();
  sched.closing.store(true, std::memory_order_seq_cst);
  cancel_everybody(current_g());
  end_plain_waits();
  await_the_others(grace);
  end_machines();
}

void await_threads() noexcept {
  for (;;) {
    const std::uint32_t seen = sched.threads_changed.load(std::memory_order_acquire);
    std::optional<os::thread> last;
    bool all_ended = false;
    {
      detail::spin_guard guard(sched.lock);
      all_ended = sched.threads == 0;
      if (all_ended) last = std::exchange(sched.last_ended, std::nullopt);
    }
    if (last) os::join_thread(*last);
    if (all_ended) return;
    futex_wait(sched.threads_changed, seen);
  }
}

void reset_scheduler() noexcept {
  while (sched.foreign_wakers.load(std::memory_order_acquire) != 0)
    os::yield_cpu();  // pairs with the release in ready.cpp
  // Timers that the program still holds: none of them fires in the next run.
  for_each_heap([](timer_heap& heap) { heap.clear(); });
  {
    detail::spin_guard guard(sched.lock);
    while (P* p = take_idle_p()) p->in_service = false;
    sched.in_service.store(0, std::memory_order_relaxed);
    forget_missed_wake();
    const int known = sched.known_procs.load(std::memory_order_relaxed);
    for (int i = 0; i < known; ++i) {
      P* p = sched.all_ps[i].load(std::memory_order_relaxed);
      p->stacks.drain();
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
}

// The bracket is the caller's; two that go at the same moment: the fence makes at least one of them see that both are
// gone.
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

}  // namespace weft::rt
