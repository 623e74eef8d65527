// SPDX-License-Identifier: Apache-2.0
// The monitor: a thread without a P that takes Ps from Ms which do not use them, and covers what the wake rules leave
// to a tick.
//
//   blocked     no CPU time since the last look and asleep in the kernel: the P goes after 50 µs, if anything waits for it
//   announced   in blocking(f): at the next look
//   burning     CPU time advances, the bracket does not move, no pick was made for 10 ms: the P goes if anything waits for it,
//               however many burn already. They run on as threads, among which the kernel shares the CPUs
//   busy inside the bracket moves but no pick was made for 10 ms: the M is asked to give the P up itself at its next entry.
//               Where that may hold a lock the P is left to the monitor (`surrendered_ps`), which comes back soon for it
//   starved     runnable but off its CPU: left alone, more threads do not help
//
// Protocol of a take (bracket.hpp, steps 4 to 6): lost_lock of each candidate, request, ONE membarrier for all of the
// round, then each is taken if its word did not move. The lost_locks are held across the membarrier: their Ms, should
// they enter just then, wait for it. What is taken is handed on after the locks are free, since this may start a
// thread.
//
// Pace. A timed sleep costs 15 to 25 µs of CPU, whatever is looked at in between, so what counts is how often it gets
// up. It looks every 20 µs for a few rounds after it has taken a P, since those that block often do so together; then
// every 200 µs for a second (attention), since who has blocked or computed for long will again; and every 2 ms while all
// fibers park and pick as they should. If it finds an M in user code while work waits it comes back once after 60 µs, at
// any pace: that one may have blocked just now. `blocking(f)` gets its attention at once. It looks every 10 ms while no
// second fiber exists.
//
// When every P is idle it naps, and sleeps if nothing was picked meanwhile: Ps that are idle for some microseconds at a
// time would pay for its getting up each time. `monitor_sleeps` (store, fence, look at the idle Ps) pairs with `own` (take P off
// the idle list, look at monitor_sleeps): a wake-up that is missed all the same would only delay the monitor until the
// next P is taken, so `own` needs no fence.
#include "runtime/sched/monitor.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "runtime/sched/futex.hpp"
#include "runtime/sched/machine.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/signal_mask.hpp"

namespace weft::inline v0::rt {

namespace {

constexpr nanoseconds_t microsecond = 1'000;
constexpr nanoseconds_t millisecond = 1'000'000;
constexpr nanoseconds_t quickest = 20 * microsecond;
constexpr nanoseconds_t attentive = 200 * microsecond;
constexpr nanoseconds_t slowest_busy = 2 * millisecond;
constexpr nanoseconds_t slowest_alone = 10 * millisecond;
constexpr nanoseconds_t nap = 500 * microsecond;
constexpr nanoseconds_t attention_span = 1000 * millisecond;
constexpr int quick_rounds = 8;
constexpr nanoseconds_t blocked_after = 50 * microsecond;
constexpr nanoseconds_t back_after = 60 * microsecond;
constexpr nanoseconds_t burning_after = 10 * millisecond;
constexpr nanoseconds_t tidy_every = 500 * millisecond;
constexpr nanoseconds_t poll_after = 10 * millisecond;
constexpr unsigned max_candidates = 32;

pthread_t thread;
std::atomic<bool> running{false};
std::atomic<std::uint32_t> stop_word{0};
std::atomic<bool> attention_wanted{false};  // relaxed: a hint, which the next look finds

struct p_notes {
  std::uint32_t tick = 0;
  nanoseconds_t since = 0;
};

struct candidate {
  P* p;
  M* m;
  std::uint64_t section;
  bool burning;
};

nanoseconds_t thread_cpu(const M* m) noexcept {
  timespec t;
  if (clock_gettime(m->cpu_clock, &t) != 0) return -1;  // the thread has ended
  return nanoseconds_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

// Asleep in the kernel, as opposed to runnable and waiting for a CPU.
bool asleep(const M* m) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/stat", m->tid.load(std::memory_order_relaxed));
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;  // not known: the rule for burning threads covers it
  char text[256];
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return false;
  text[n] = '\0';
  const char* after_name = std::strrchr(text, ')');
  return after_name == nullptr || after_name[1] == '\0' || after_name[2] != 'R';
}

class monitor {
 public:
  void run() noexcept {
    block_foreign_signals();
    pthread_setname_np(pthread_self(), "weft-monitor");
    prctl(PR_SET_TIMERSLACK, 1UL);
    now_ = steady_now();
    attend();
    while (stop_word.load(std::memory_order_acquire) == 0) {
      if (all_idle() && !sched.missed_wake.load(std::memory_order_relaxed) && !monitor_wants_ticks()) {
        if (const std::uint32_t picks = all_picks(); picks != picks_at_nap_) {
          picks_at_nap_ = picks;
          futex_wait(stop_word, 0, attends() ? nap : slowest_busy);
          now_ = steady_now();
          continue;
        }
        sleep_deeply();
        delay_ = attentive;
        continue;
      }
      futex_wait(stop_word, 0, comes_back_ ? back_after : delay_);
      now_ = steady_now();
      if (delay_ > attentive && attention_wanted.exchange(false, std::memory_order_relaxed)) attend();
      sched.coarse_now.store(now_, std::memory_order_relaxed);
      look();
      monitor_tick(now_);
    }
  }

 private:
  static bool all_idle() noexcept {
    return sched.idle.idle_ps() >= static_cast<unsigned>(sched.in_service.load(std::memory_order_relaxed));
  }

  static std::uint32_t all_picks() noexcept {
    std::uint32_t sum = 0;
    const int known = sched.known_procs.load(std::memory_order_acquire);
    for (int i = 0; i < known; ++i)
      sum += sched.all_ps[i].load(std::memory_order_acquire)->monitor_tick.load(std::memory_order_relaxed);
    return sum;
  }

  static void sleep_deeply() noexcept {
    sched.monitor_sleeps.store(1, std::memory_order_relaxed);
    std_atomics::fence_seq_cst();
    // Stacks are given back once they have been idle for two looks; after that nothing is left to get up for.
    nanoseconds_t tidy_at = steady_now() + tidy_every;
    for (int nothing_left = 0; sched.monitor_sleeps.load(std::memory_order_relaxed) == 1;) {
      if (!all_idle() || sched.missed_wake.load(std::memory_order_relaxed) || monitor_wants_ticks() ||
          stop_word.load(std::memory_order_acquire) != 0)
        break;
      const nanoseconds_t now = steady_now();
      if (now >= tidy_at) {
        nothing_left = monitor_tidies_up() ? 0 : nothing_left + 1;
        tidy_at = nothing_left < 2 ? now + tidy_every : never;
      }
      futex_wait(sched.monitor_sleeps, 1, std::min(tidy_at != never ? tidy_at - now : never, monitor_may_sleep(now)));
    }
    sched.monitor_sleeps.store(0, std::memory_order_relaxed);
  }

  bool attends() const noexcept { return now_ - last_event_ < attention_span; }
  void attend() noexcept {
    last_event_ = now_;
    delay_ = std::min(delay_, attentive);
    sched.monitor_is_slow.store(false, std::memory_order_relaxed);
  }

  void look() noexcept {
    count_ = 0;
    wants_to_come_back_ = false;
    bool overdue = false;
    const int known = sched.known_procs.load(std::memory_order_acquire);
    for (int i = 0; i < known; ++i) {
      P* p = sched.all_ps[i].load(std::memory_order_acquire);
      look_at(p, notes_[i], overdue);
    }
    const bool taken = take_candidates() != 0;
    const bool handed_on = hand_on_surrendered();
    make_up_for_wakes(overdue);
    poll_for_the_busy();
    pace(taken || handed_on);
  }

  static bool hand_on_surrendered() noexcept {
    bool some = false;
    while (sched.some_are_surrendered.load(std::memory_order_relaxed)) {
      P* p = nullptr;
      {
        detail::spin_guard guard(sched.lock);
        p = take_surrendered_p();
      }
      if (p == nullptr) break;
      pass_on(p);
      some = true;
    }
    return some;
  }

  // Beside an idle P: what the wake rules leave to a tick, and the wakes for which no thread was to be had. If there is
  // still none, the next mark is set by this wake. Where nobody sleeps in the poller one is wanted for that alone.
  void make_up_for_wakes(bool overdue) noexcept {
    if (sched.idle.idle_ps() == 0) return;
    if (overdue)
      attend();
    else if (!sched.missed_wake.load(std::memory_order_relaxed))
      return;
    bool nobody_polls = false;
    {
      detail::spin_guard guard(sched.lock);
      forget_missed_wake();
      nobody_polls = !sched.poller_taken;
    }
    std_atomics::fence_seq_cst();
    if (overdue || nobody_polls || work_anywhere()) wake_if_wanted();
  }

  void pace(bool something_happened) noexcept {
    if (something_happened) {
      attend();
      quiet_rounds_ = 0;
      delay_ = quickest;
    } else if (++quiet_rounds_ >= quick_rounds) {
      const nanoseconds_t slowest = present_fibers() <= 1 ? slowest_alone : attends() ? attentive : slowest_busy;
      delay_ = std::min(delay_ * 2, slowest);
    }
    comes_back_ = wants_to_come_back_ && delay_ > back_after;
    // Stored before it sleeps on: who announces a blocking call in between wakes nobody, and waits for this look's end.
    const bool slow = delay_ > attentive;
    if (slow != sched.monitor_is_slow.load(std::memory_order_relaxed))
      sched.monitor_is_slow.store(slow, std::memory_order_relaxed);
  }

  void look_at(P* p, p_notes& notes, bool& overdue) noexcept {
    const std::uint32_t tick = p->monitor_tick.load(std::memory_order_relaxed);
    if (tick != notes.tick) {
      notes.tick = tick;
      notes.since = now_;
    }
    const bool stuck = now_ - notes.since >= quickest;
    if (stuck && (!p->queue.empty() || p->timers.next_when() <= now_)) overdue = true;
    M* m = p->m.load(std::memory_order_acquire);
    if (m == nullptr || !m->alive.load(std::memory_order_acquire)) return;
    const std::uint64_t section = m->section.look();
    if (section != m->seen_section) {
      m->seen_section = section;
      m->seen_since = now_;
      m->seen_cpu = -1;
      if (bracket<std_atomics>::outside(section) && (!p->queue.empty() || sched.global_size() != 0)) {
        if (!comes_back_) wants_to_come_back_ = true;
        m->seen_cpu = thread_cpu(m);  // so that the next look already knows whether it has moved
        m->blocked_since = now_;
      }
      if (now_ - notes.since >= burning_after && work_waits_for(p)) ask_for_p(m);
      return;
    }
    if (!bracket<std_atomics>::outside(section) || !work_waits_for(p)) return;
    const bool announced = m->blocking_now.load(std::memory_order_relaxed);
    if (!announced) {
      const nanoseconds_t silent = now_ - m->seen_since;
      const nanoseconds_t cpu = thread_cpu(m);
      const bool moved = m->seen_cpu < 0 || cpu > m->seen_cpu + 2 * microsecond;
      if (moved) {
        if (m->seen_cpu < 0 || silent < burning_after) {
          // Seen for the second time, and on its CPU for less than half of the time between: it has blocked by now.
          if (m->seen_cpu >= 0 && m->blocked_since == m->seen_since && 2 * (cpu - m->seen_cpu) < silent)
            wants_to_come_back_ = true;
          m->seen_cpu = cpu;
          m->blocked_since = now_;
          return;
        }
        m->seen_cpu = cpu;
        if (now_ - notes.since >= burning_after && !threads_are_out()) add(p, m, section, true);
        return;
      }
      if (now_ - m->blocked_since < blocked_after || !asleep(m)) return;
    }
    if (!threads_are_out()) add(p, m, section, false);
  }

  void add(P* p, M* m, std::uint64_t section, bool burning) noexcept {
    // An M that changes its P while we look shows up at both; its lost_lock is to be taken once.
    for (unsigned i = 0; i < count_; ++i)
      if (candidates_[i].m == m) return;
    if (count_ < max_candidates) candidates_[count_++] = {p, m, section, burning};
  }

  // Then a P is left where it is: nobody could go on with it.
  bool threads_are_out() const noexcept {
    int threads = 0;
    {
      detail::spin_guard guard(sched.lock);
      if (sched.idle_threads > 0 || sched.polling_m != nullptr || sched.pinned_ms != nullptr) return false;
      threads = sched.threads;
    }
    if (threads < sched.max_threads) return now_ < sched.no_thread_before.load(std::memory_order_relaxed);
    say_threads_are_short(threads, 0);
    return true;
  }

  void ask_for_p(M* m) noexcept {
    if (threads_are_out()) return;
    wants_to_come_back_ = true;  // for what it surrenders
    m->slice_over.store(true, std::memory_order_relaxed);
    detail::spin_guard guard(m->lost_lock);
    m->section.request();
  }

  unsigned take_candidates() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    if (count_ == 0) return 0;
    for (unsigned i = 0; i < count_; ++i) {
      candidates_[i].m->lost_lock.lock();
      candidates_[i].m->section.request();
    }
    fence_all_threads();
    unsigned taken = 0;
    for (unsigned i = 0; i < count_; ++i) {
      const candidate& c = candidates_[i];
      const bool take = c.m->section.unchanged(c.section) && c.m->p == c.p;
      if (take) {
        c.m->p = nullptr;
        c.p->m.store(nullptr, std::memory_order_relaxed);
        c.p->handoffs.add();
      } else {
        c.m->section.withdraw();
      }
      c.m->lost_lock.unlock();
      if (take) candidates_[taken++] = c;
    }
    for (unsigned i = 0; i < taken; ++i) {
      // Before the P is anybody's, while the fiber is still at it.
      note_handoff(*candidates_[i].m, candidates_[i].burning, now_ - candidates_[i].m->seen_since);
      pass_on(candidates_[i].p);
    }
    return taken;
  }

  // While every P is busy nobody sleeps in the poller, and a P whose fibers run long looks there seldom.
  void poll_for_the_busy() noexcept {
    poller* net = sched.net.load(std::memory_order_acquire);
    if (net == nullptr || !net->has_waiters() || sched.timers.somebody_sleeps()) return;
    if (now_ - last_poll_ < poll_after) return;
    last_poll_ = now_;
    g_list ready;
    net->poll(0, ready);
    if (ready.head != nullptr) wake_all(ready);
  }

  nanoseconds_t now_ = 0;
  nanoseconds_t delay_ = attentive;
  nanoseconds_t last_poll_ = 0;
  nanoseconds_t last_event_ = 0;
  int quiet_rounds_ = 0;
  bool wants_to_come_back_ = false;  // this look has found an M that may have blocked just now
  bool comes_back_ = false;          // so the next one is for that, and comes sooner
  std::uint32_t picks_at_nap_ = 0;
  unsigned count_ = 0;
  candidate candidates_[max_candidates];
  p_notes notes_[scheduler::max_procs];
};

}  // namespace

void ask_for_attention() noexcept {
  sched.monitor_is_slow.store(false, std::memory_order_relaxed);  // others need not ask
  attention_wanted.store(true, std::memory_order_relaxed);
  futex_wake(stop_word);  // a wake-up that is missed costs one long look
}

void wake_monitor() noexcept {
  sched.monitor_sleeps.store(0, std::memory_order_relaxed);
  futex_wake(sched.monitor_sleeps);
}

void start_monitor() {
  stop_word.store(0, std::memory_order_relaxed);
  const int error = pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        static monitor the_monitor;
        the_monitor.run();
        return nullptr;
      },
      nullptr);
  if (error != 0) throw std::system_error(error, std::generic_category(), "weft: cannot start the monitor thread");
  running.store(true, std::memory_order_relaxed);
}

void stop_monitor() noexcept {
  if (!running.exchange(false, std::memory_order_relaxed)) return;
  stop_word.store(1, std::memory_order_release);
  futex_wake(stop_word);
  wake_monitor();
  pthread_join(thread, nullptr);
}

}  // namespace weft::inline v0::rt
