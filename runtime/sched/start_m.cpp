// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/start_m.hpp"

#include <cxxabi.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include <weft/detail/atomic.hpp>

#include "runtime/base/os.hpp"
#include "runtime/fiber/overflow.hpp"
#include "runtime/sched/context.hpp"
#include "runtime/sched/find_work.hpp"
#include "runtime/sched/futex.hpp"
#include "runtime/sched/idle_p.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/pending_work.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/signal_mask.hpp"

namespace weft::rt {

namespace {

constexpr nanoseconds_t ask_again_after = 1'000'000;  ///< for a thread that the system has refused

// The address of libstdc++'s per-thread exception state, kept in the M: the function is declared const, so a compiler
// may keep an old thread's answer across a switch.
[[gnu::noinline]] eh_globals* thread_eh_globals() noexcept {
  auto* state = reinterpret_cast<eh_globals*>(abi::__cxa_get_globals());
  asm volatile("" : "+r"(state)::"memory");
  return state;
}

// A thread ends, or did not come to be. The caller then wakes `threads_changed`.
void count_out(M* m) noexcept WEFT_REQUIRES(sched.lock) {
  if (m != nullptr) {
    has_come(m);
    if (std::exchange(m->leaves, false)) --sched.leaving_threads;
    m->idle_link = sched.spare_ms;
    sched.spare_ms = m;
  }
  --sched.threads;
  sched.threads_changed.fetch_add(1, std::memory_order_release);  // pairs with the end of run(), which waits for zero
}

void* thread_main(void* arg) {
  M* m = static_cast<M*>(arg);
  os::name_thread("weft");  // it would inherit the name of whoever started it, such as the monitor's
  attach_thread(m);
  schedule_loop(m);
  m->p = nullptr;
  detach_thread(m);
  std::optional<os::thread> before;
  {
    detail::spin_guard guard(sched.lock);
    before = std::exchange(sched.last_ended, os::this_thread());
    count_out(m);
  }
  futex_wake(sched.threads_changed);
  if (before) os::join_thread(*before);
  return nullptr;
}

int spawn_thread(M* m) noexcept { return os::start_thread(m->thread, thread_main, m); }

}  // namespace

void attach_thread(M* m) noexcept {
  take_machine_mask();
  set_current_m(m);
  m->eh = thread_eh_globals();
  m->tid.store(os::this_thread_id(), std::memory_order_relaxed);
  m->cpu_clock = os::this_thread_cpu_clock();
  m->slice_over.store(false, std::memory_order_relaxed);
  m->look_wanted.store(false, std::memory_order_relaxed);
  m->former_slice.store(0, std::memory_order_relaxed);  // of the thread that it had before
  describe_thread_stack(m->loop_view);
  give_thread_altstack();
  os::sleep_exactly_from_now_on();
  m->alive.store(true, std::memory_order_release);  // pairs with the monitor's acquire: the clock above is set
}

void detach_thread(M* m) noexcept {
  m->alive.store(false, std::memory_order_release);
  drop_thread_altstack();
  set_current_m(nullptr);
}

static M* take_spare_m() noexcept {
  detail::spin_guard guard(sched.lock);
  M* m = sched.spare_ms;
  if (m != nullptr) sched.spare_ms = m->idle_link;
  return m;
}

M* make_m() noexcept {
  if (M* m = take_spare_m()) {
    detail::spin_guard guard(m->retake_lock);  // the monitor may have found it at a P that it did not start with
    m->section.reset(parkers_must_fence);      // it may stem from an earlier run(), with another answer
    return m;
  }
  M* m = new (std::nothrow) M(parkers_must_fence);
  if (m == nullptr) return nullptr;
  static detail::atomic<int> numbers{0};
  m->number = numbers.fetch_add(1, std::memory_order_relaxed);
  m->random = 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(m->number + 1);
  M* head = sched.all_ms.load(std::memory_order_relaxed);
  do {
    m->all_link = head;
  } while (!sched.all_ms.compare_exchange_weak(head, m, std::memory_order_release, std::memory_order_relaxed));
  return m;
}

// Into a buffer and out in one write: this may be a fiber's stack, and stdio would put another 8 KiB there.
// Not for a thread that was only to sleep in the poller, to look for work in vain, or to lie idle.
void say_threads_are_short(int running, int error) noexcept {
  if (!work_anywhere() || sched.shortage_was_said.exchange(true, std::memory_order_relaxed)) return;
  char text[320];
  char room[96];
  const int size =
      error == 0
          ? std::snprintf(text, sizeof text,
                          "weft: options::max_threads = %d is reached: fibers that are ready wait until one of these "
                          "threads comes free; raise it, or let fewer fibers block or compute at a time\n",
                          running)
          : std::snprintf(text, sizeof text,
                          "weft: cannot start a thread beside the %d there are (%s): fibers that are ready wait until "
                          "one comes free; raise the limit on threads (ulimit -u, the cgroup's pids.max), or set "
                          "options::max_threads\n",
                          running + 1, strerror_r(error, room, sizeof room));  // with the caller's
  if (size > 0 && write(STDERR_FILENO, text, std::min(static_cast<std::size_t>(size), sizeof text - 1)) < 0) return;
}

// The caller owns `p`, if there is one, and a searcher's count if `searching`.
bool start_machine(P* p, bool searching) noexcept {
  const nanoseconds_t not_before = sched.no_thread_before.load(std::memory_order_relaxed);
  if (not_before != 0 && steady_now() < not_before) return false;
  int running = 0, coming = 0;
  bool allowed = false;
  {
    detail::spin_guard guard(sched.lock);
    if (sched.ended.load(std::memory_order_relaxed)) return false;
    running = sched.threads;
    coming = sched.coming_threads.load(std::memory_order_relaxed);
    allowed = running < sched.max_threads;
    if (allowed) ++sched.threads;
  }
  if (!allowed) {
    if (p != nullptr && coming == 0) say_threads_are_short(running, 0);
    return false;
  }
  int error = ENOMEM;
  M* m = make_m();
  if (m != nullptr) {
    if (p == nullptr) {
      detail::spin_guard guard(sched.lock);
      m->is_coming = true;
      sched.coming_threads.store(sched.coming_threads.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    m->p = p;
    m->searching = searching;
    m->next_p = nullptr;
    m->wake_word.store(0, std::memory_order_relaxed);
    if (p != nullptr) p->m.store(m, std::memory_order_release);
    note_busy();
    error = spawn_thread(m);
    if (error == 0) {
      if (not_before != 0) {
        sched.no_thread_before.store(0, std::memory_order_relaxed);
        sched.refused_since.store(0, std::memory_order_relaxed);
      }
      return true;
    }
    m->p = nullptr;
    m->searching = false;
    if (p != nullptr) p->m.store(nullptr, std::memory_order_relaxed);
  }
  const nanoseconds_t now = steady_now();
  sched.no_thread_before.store(now + ask_again_after, std::memory_order_relaxed);
  if (sched.refused_since.load(std::memory_order_relaxed) == 0)
    sched.refused_since.store(now, std::memory_order_relaxed);
  if (p != nullptr) say_threads_are_short(running, error);
  {
    detail::spin_guard guard(sched.lock);
    count_out(m);
  }
  futex_wake(sched.threads_changed);
  return false;
}

void want_threads(int count) noexcept {
  int idle = 0;
  {
    detail::spin_guard guard(sched.lock);
    idle = sched.idle_threads + sched.coming_threads.load(std::memory_order_relaxed);
  }
  const int missing = std::clamp(2 * count - idle, 0, count);  // what is idle now goes with this round
  if (missing > sched.threads_wanted.load(std::memory_order_relaxed))
    sched.threads_wanted.store(missing, std::memory_order_relaxed);
}

}  // namespace weft::rt
