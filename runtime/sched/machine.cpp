// SPDX-License-Identifier: Apache-2.0
// Ms: how threads start, sleep, wake and end, and what an M does when it finds that its P is gone.
//
// Invariants
//  1. A P changes hands only under the scheduler's lock (idle list, `next_p`) or, from a silent M, by the monitor under that M's
//     `lost_lock` (monitor.cpp).
//  2. An M that sleeps holds no P. It is on `idle_ms`, or on `pinned_ms` if a fiber is pinned to it, or it is `polling_m`; whoever
//     wakes it takes it off that place under the lock, so it is woken once, and hands it a P: in `next_p`, or in `due_p` with its
//     pinned fiber.
//  3. Ms are never freed, their threads are: one that has had nothing to do for `idle_thread_timeout` ends, and its M is reused.
//  4. Each thread that ends leaves its handle in `last_ended` and joins the thread whose handle it found there, without a lock; the end
//     of run() waits until none is left, and joins the last. So each is joined once, and all are gone when run() returns.
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cxxabi.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include "runtime/fiber/context.hpp"
#include "runtime/fiber/overflow.hpp"
#include "runtime/sched/futex.hpp"
#include "runtime/sched/machine.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/signal_mask.hpp"

namespace weft::inline v0::rt {

constinit scheduler sched;

// Under this name `current_m` finds it; `used`, since a link-time optimiser does not see that.
[[gnu::used, gnu::visibility("hidden"),
  gnu::tls_model("initial-exec")]] thread_local constinit M* this_m asm("weft_v0_this_m") = nullptr;

namespace {

constexpr nanoseconds_t idle_thread_timeout = 10'000'000'000;
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
    m->idle_link = sched.spare_ms;
    sched.spare_ms = m;
  }
  --sched.threads;
  sched.threads_changed.fetch_add(1, std::memory_order_release);  // pairs with the end of run(), which waits for zero
}

void* thread_main(void* arg) {
  M* m = static_cast<M*>(arg);
  pthread_setname_np(pthread_self(), "weft");  // it would inherit the name of whoever started it, such as the monitor's
  attach_thread(m);
  schedule_loop(m);
  m->p = nullptr;
  detach_thread(m);
  std::optional<pthread_t> before;
  {
    detail::spin_guard guard(sched.lock);
    before = std::exchange(sched.last_ended, pthread_self());
    count_out(m);
  }
  futex_wake(sched.threads_changed);
  if (before) pthread_join(*before, nullptr);
  return nullptr;
}

int spawn_thread(M* m) noexcept { return pthread_create(&m->thread, nullptr, thread_main, m); }

}  // namespace

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

void attach_thread(M* m) noexcept {
  take_machine_mask();
  set_current_m(m);
  m->eh = thread_eh_globals();
  m->tid.store(static_cast<pid_t>(gettid()), std::memory_order_relaxed);
  pthread_getcpuclockid(pthread_self(), &m->cpu_clock);
  describe_thread_stack(m->loop_view);
  give_thread_altstack();
  prctl(PR_SET_TIMERSLACK, 1UL);                    // a sleep of microseconds would otherwise take 50 more
  m->alive.store(true, std::memory_order_release);  // pairs with the monitor's acquire: the clock above is set
}

void detach_thread(M* m) noexcept {
  m->alive.store(false, std::memory_order_release);
  m->stacks.drain();
  drop_thread_altstack();
  set_current_m(nullptr);
}

M* make_m() noexcept {
  {
    detail::spin_guard guard(sched.lock);
    if (M* m = sched.spare_ms) {
      sched.spare_ms = m->idle_link;
      m->section.reset(parkers_must_fence);  // it may stem from an earlier run(), with another answer
      return m;
    }
  }
  M* m = new (std::nothrow) M(parkers_must_fence);
  if (m == nullptr) return nullptr;
  static std::atomic<int> numbers{0};
  m->number = numbers.fetch_add(1, std::memory_order_relaxed);
  m->random = 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(m->number + 1);
  M* head = sched.all_ms.load(std::memory_order_relaxed);
  do {
    m->all_link = head;
  } while (!sched.all_ms.compare_exchange_weak(head, m, std::memory_order_release, std::memory_order_relaxed));
  return m;
}

// Into a buffer and out in one write: this may be a fiber's stack, and stdio would put another 8 KiB there.
void say_threads_are_short(int running, int error) noexcept {
  if (sched.shortage_was_said.exchange(true, std::memory_order_relaxed)) return;
  char text[320];
  char room[96];
  const int size =
      error == 0
          ? std::snprintf(text, sizeof text,
                          "weft: options::max_threads = %d is reached: fibers that are ready wait until one of these "
                          "threads comes free; raise it, or let fewer fibers block their thread at a time\n",
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
  int running = 0;
  bool allowed = false;
  {
    detail::spin_guard guard(sched.lock);
    if (sched.ended.load(std::memory_order_relaxed)) return false;
    running = sched.threads;
    allowed = running < sched.max_threads;
    if (allowed) ++sched.threads;
  }
  if (!allowed) {
    say_threads_are_short(running, 0);
    return false;
  }
  int error = ENOMEM;
  M* m = make_m();
  if (m != nullptr) {
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
  }
  const nanoseconds_t now = steady_now();
  sched.no_thread_before.store(now + ask_again_after, std::memory_order_relaxed);
  if (sched.refused_since.load(std::memory_order_relaxed) == 0)
    sched.refused_since.store(now, std::memory_order_relaxed);
  say_threads_are_short(running, error);
  {
    detail::spin_guard guard(sched.lock);
    count_out(m);
  }
  futex_wake(sched.threads_changed);
  return false;
}

/// An M that was taken off its place under the lock, and is to be woken after it.
struct sleeper {
  M* m = nullptr;
  bool polls = false;
};

// Under the lock: a sleeping M to give `p` to, taken off its place. The one in the poller only if there is no other: it
// would have to be broken out of a system call.
static sleeper take_sleeper(P* p, bool searching) noexcept WEFT_REQUIRES(sched.lock) {
  sleeper found{sched.idle_ms, false};
  if (found.m != nullptr) {
    sched.idle_ms = found.m->idle_link;
    --sched.idle_threads;
  } else if (sched.polling_m != nullptr) {
    found = {std::exchange(sched.polling_m, nullptr), true};
  } else {
    return found;
  }
  found.m->next_p = p;
  found.m->searching = searching;
  return found;
}

// No other thread can be had: an M that waits for its pinned fiber helps out.
static sleeper take_pinned_sleeper(P* p, bool searching) noexcept WEFT_REQUIRES(sched.lock) {
  M* m = sched.pinned_ms;
  if (m == nullptr) return {};
  sched.pinned_ms = m->idle_link;
  m->next_p = p;
  m->searching = searching;
  return {m, false};
}

static void get_up(const sleeper& who) noexcept {
  if (who.polls) {
    wake_poller();
  } else {
    who.m->wake_word.store(1, std::memory_order_release);  // pairs with the acquire of those that sleep on it
    futex_wake(who.m->wake_word);
  }
}

static bool give_to(sleeper (*take)(P*, bool) noexcept, P* p, bool searching) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  sched.lock.lock();
  const sleeper found = take(p, searching);
  sched.lock.unlock();
  if (found.m == nullptr) return false;
  get_up(found);
  return true;
}

P* take_idle_p() noexcept WEFT_REQUIRES(sched.lock) {
  P* p = sched.idle_ps;
  if (p == nullptr) return nullptr;
  sched.idle_ps = p->idle_link;
  p->idle_link = nullptr;
  sched.idle.take_p();
  return p;
}

void wake_one() noexcept {
  P* p = nullptr;
  {
    detail::spin_guard guard(sched.lock);
    p = take_idle_p();
    if (p == nullptr) {
      sched.idle.wake_failed();
      return;
    }
  }
  if (!give_to(take_sleeper, p, true) && !start_machine(p, true)) shelve_p(p, true);
}

void shelve_p(P* p, bool searching) noexcept {
  sleeper found;
  {
    detail::spin_guard guard(sched.lock);
    // An M may have lain down since the caller looked: it has not seen the work, and would not see the flag either.
    found = take_sleeper(p, searching);
    if (found.m == nullptr) found = take_pinned_sleeper(p, searching);
    if (found.m == nullptr) {
      put_idle_p(p, searching);
      sched.missed_wake.store(true, std::memory_order_relaxed);
    }
  }
  if (found.m != nullptr) {
    get_up(found);
  } else {
    nudge_sleeper();
    note_busy();  // the monitor tries again
  }
}

bool forget_missed_wake() noexcept WEFT_REQUIRES(sched.lock) {
  if (!sched.missed_wake.load(std::memory_order_relaxed)) return false;
  sched.missed_wake.store(false, std::memory_order_relaxed);
  return true;
}

static bool take_off(M*& list, M* m) noexcept WEFT_REQUIRES(sched.lock) {
  for (M** at = &list; *at != nullptr; at = &(*at)->idle_link) {
    if (*at != m) continue;
    *at = m->idle_link;
    return true;
  }
  return false;
}

// Takes a sleeper that nobody has woken off the list; false: somebody has, or it is wanted beside a pinned main.
static bool leave_bed(M* m) noexcept {
  detail::spin_guard guard(sched.lock);
  if (sched.main_is_pinned && sched.threads == 1) return false;
  if (!take_off(sched.idle_ms, m)) return false;
  --sched.idle_threads;
  return true;
}

bool hand_off_to_unpinned(P* p) noexcept {
  p->m.store(nullptr, std::memory_order_relaxed);  // else the monitor sees it at the giver until the taker is up
  return give_to(take_sleeper, p, false) || start_machine(p, false);
}

bool hand_off(P* p) noexcept { return hand_off_to_unpinned(p) || give_to(take_pinned_sleeper, p, false); }

void put_idle_p(P* p, bool searching) noexcept WEFT_REQUIRES(sched.lock) {
  p->m.store(nullptr, std::memory_order_relaxed);
  if (p->number >=
      sched.procs.load(std::memory_order_relaxed)) {  // retired by set_maxprocs: whoever held it was the last
    if (p->in_service) sched.in_service.fetch_sub(1, std::memory_order_relaxed);
    p->in_service = false;
    if (searching) sched.idle.wake_failed();
    return;
  }
  if (!p->in_service) sched.in_service.fetch_add(1, std::memory_order_relaxed);
  p->in_service = true;
  p->idle_link = sched.idle_ps;
  sched.idle_ps = p;
  sched.idle.give_up_p(searching);
}

void own(M* m, P* p) noexcept {
  m->p = p;
  p->m.store(m, std::memory_order_release);  // release: thieves and the monitor look into the M
}

void note_busy() noexcept {
  std_atomics::
      fence_seq_cst();  // pairs with the fence in monitor::sleep_deeply: it sees the P taken, or we see it asleep
  if (sched.monitor_sleeps.load(std::memory_order_relaxed) == 0) return;
  sched.coarse_now.store(steady_now(),
                         std::memory_order_relaxed);  // it stood still meanwhile, and whoever parks next notes it
  wake_monitor();
}

static void surrender(P* p) noexcept {
  p->m.store(nullptr, std::memory_order_relaxed);
  detail::spin_guard guard(sched.lock);
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

void pass_on(P* p) noexcept {
  if (hand_off(p)) return;
  shelve_p(p, false);
  if (work_anywhere()) wake_if_wanted();
}

// A request stands: the monitor has taken the P, is about to, or wants it given to somebody else.
[[gnu::noinline]] void enter_slow(M* m, at_entry how) noexcept {
  {
    detail::spin_guard guard(m->lost_lock);
    m->section.accept();
  }
  const bool slice_is_over = m->slice_over.load(std::memory_order_relaxed);
  m->slice_over.store(false, std::memory_order_relaxed);
  if (m->p != nullptr) {
    if (!slice_is_over) return;
    if (how == at_entry::keep_p || !work_waits_for(m->p)) return;
    P* p = m->p;
    p->handoffs.add();
    m->p = nullptr;
    if (how == at_entry::surrender_p)
      surrender(p);
    else if (!hand_off(p))
      own(m, p);
    return;
  }
  // Gone. Any idle P will do; without one this fiber goes on as a plain thread would, as it does inside blocking(f).
  if (m->in_blocking != 0) return;
  {
    detail::spin_guard guard(sched.lock);
    if (P* p = take_idle_p()) own(m, p);
  }
  if (m->p != nullptr) note_busy();
}

bool sleep_until_given_p(M* m) noexcept {
  {
    detail::spin_guard guard(sched.lock);
    if (sched.ended.load(std::memory_order_relaxed)) return false;
    if (forget_missed_wake()) return true;
    m->next_p = nullptr;
    m->wake_word.store(0, std::memory_order_relaxed);
    m->idle_link = sched.idle_ms;
    sched.idle_ms = m;
    ++sched.idle_threads;
  }
  const nanoseconds_t began = steady_now();
  const nanoseconds_t patience = m->is_caller ? never : idle_thread_timeout;
  while (m->wake_word.load(std::memory_order_acquire) == 0) {  // pairs with the release in get_up
    futex_wait(m->wake_word, 0, patience);
    if (patience != never && steady_now() - began >= patience && leave_bed(m)) return false;
  }
  if (m->next_p == nullptr) return false;  // woken for the end
  own(m, m->next_p);
  m->next_p = nullptr;
  note_busy();
  return true;
}

bool sleep_until_pinned_is_due(M* m) noexcept {
  {
    detail::spin_guard guard(sched.lock);
    if (sched.ended.load(std::memory_order_relaxed)) return false;
    if (m->due.load(std::memory_order_relaxed) != nullptr) return true;
    m->next_p = nullptr;
    m->wake_word.store(0, std::memory_order_relaxed);
    m->idle_link = sched.pinned_ms;
    sched.pinned_ms = m;
  }
  while (m->wake_word.load(std::memory_order_acquire) == 0) futex_wait(m->wake_word, 0);  // pairs with get_up
  if (m->next_p == nullptr) return true;
  own(m, m->next_p);
  m->next_p = nullptr;
  note_busy();
  return true;
}

void help_out(M* m, bool begins) noexcept {
  if (m->helps_out == begins) return;  // written by this thread alone
  detail::spin_guard guard(sched.lock);
  m->helps_out = begins;
}

G* take_due(M* m) noexcept {
  help_out(m, false);
  if (m->due.load(std::memory_order_relaxed) == nullptr) return nullptr;  // a hint: the M looks again before it sleeps
  P* const helped_with = m->p;
  G* g = nullptr;
  {
    detail::spin_guard guard(sched.lock);
    g = m->due.exchange(nullptr, std::memory_order_relaxed);
    if (P* p = std::exchange(m->due_p, nullptr)) own(m, p);
  }
  if (m->p == nullptr) {  // it came without one, and the M has lost its own: whoever picks it again brings one
    push_global(g);
    std_atomics::fence_seq_cst();
    wake_if_wanted();
    return nullptr;
  }
  if (m->p == helped_with) return g;
  note_busy();
  if (helped_with != nullptr) pass_on(helped_with);
  return g;
}

void give_to_pinned(M* m, G* g) noexcept {
  M* target = g->pinned;
  sleeper found{target, false};
  {
    detail::spin_guard guard(sched.lock);
    target->due.store(g, std::memory_order_relaxed);
    if (target->helps_out) return;  // for as long as that fiber runs: the P is not to wait there
    m->p->m.store(nullptr, std::memory_order_relaxed);
    target->due_p = std::exchange(m->p, nullptr);
    found.polls = sched.polling_m == target;
    if (found.polls)
      sched.polling_m = nullptr;
    else if (!take_off(sched.pinned_ms, target))
      return;  // it is up, in its loop, and looks before it sleeps
  }
  get_up(found);
}

void end_machines() noexcept {
  {
    detail::spin_guard guard(sched.lock);
    sched.ended.store(true, std::memory_order_release);
    sched.idle_ms = nullptr;
    sched.idle_threads = 0;
    sched.pinned_ms = nullptr;
  }
  for (M* m = sched.all_ms.load(std::memory_order_acquire); m != nullptr; m = m->all_link) get_up({m, false});
  wake_poller();
}

}  // namespace weft::inline v0::rt
