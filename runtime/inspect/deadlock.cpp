// SPDX-License-Identifier: Apache-2.0
// The cheap conditions are looked at whenever everything is idle; those that walk over fibers, threads and /proc only
// once nothing has happened for 10 ms, and then the cheap ones again.
#include "runtime/inspect/deadlock.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "netpoll/signals.hpp"
#include "runtime/base/fatal.hpp"
#include "runtime/inspect/racy_load.hpp"
#include "runtime/sched/all_g.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/sched/timers.hpp"

namespace weft::rt {

namespace {

constexpr nanoseconds_t millisecond = 1'000'000;
constexpr nanoseconds_t confirmed_after = 10 * millisecond;
constexpr nanoseconds_t second_thought_after = 1000 * millisecond;

// The monitor's own, but for `policy`, which is set before it starts.
deadlock_policy policy = deadlock_policy::off;
std::int64_t seen_events = -1;  // -1: it did not look hopeless
nanoseconds_t seen_since = 0;
nanoseconds_t look_again_at = 0;
bool hope_was_mentioned = false;

// Changes with whatever a fiber does.
std::int64_t count_events() noexcept {
  std::int64_t events =
      sched.foreign_started.load(std::memory_order_relaxed) + sched.foreign_ended.load(std::memory_order_relaxed);
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) {
    const P* p = sched.all_ps[i].load(std::memory_order_acquire);
    events += p->parks.get() + p->wakes.get() + p->started.get() + p->ended.get();
  }
  return events;
}

template <class F>
bool all_living_ms(F&& holds) {
  for (const M* m = sched.all_ms.load(std::memory_order_acquire); m != nullptr; m = m->all_link)
    if (m->alive.load(std::memory_order_acquire) && !holds(*m)) return false;
  return true;
}

bool nothing_moves() noexcept {
  const int in_service = sched.in_service.load(std::memory_order_relaxed);
  if (in_service == 0 || sched.idle.idle_ps() < static_cast<unsigned>(in_service)) return false;
  if (sched.global_size() != 0 || sched.idle.searchers() != 0) return false;
  if (sched.coming_threads.load(std::memory_order_relaxed) != 0) return false;  // it would count as somebody else's
  if (sched.foreign_wakers.load(std::memory_order_acquire) != 0 || sched.ended.load(std::memory_order_acquire))
    return false;
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) {
    if (!sched.all_ps[i].load(std::memory_order_acquire)->queue.empty()) return false;
  }
  if (look_at_timers().earliest != never) return false;
  return all_living_ms(
      [](const M& m) { return racy_load(m.cur) == nullptr && m.due.load(std::memory_order_relaxed) == nullptr; });
}

bool may_be_woken_from_outside(const G& g) noexcept {
  const wait_reason why = g.reason.load(std::memory_order_relaxed);
  return why == wait_reason::io_wait || why == wait_reason::signal;
}

bool every_fiber_is_stuck() noexcept {
  bool any = false;
  bool stuck = true;
  for_each_g([&](const G& g) {
    if (!stuck || g.id.load(std::memory_order_acquire) == 0) return;
    any = true;
    const bool waits = !g.on_cpu.load(std::memory_order_acquire) &&
                       g.reason.load(std::memory_order_relaxed) != wait_reason::none &&
                       !wait_word<std_atomics>::is_claimed(g.wait.look());
    stuck = waits && !may_be_woken_from_outside(g);
  });
  return any && stuck;
}

// The first bytes of a file under /proc/self/task, without the line's end; empty if it cannot be read.
std::string_view read_of_task(pid_t thread, const char* file, char (&room)[256]) noexcept {
  std::snprintf(room, sizeof room, "/proc/self/task/%d/%s", static_cast<int>(thread), file);
  const int fd = open(room, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t size = read(fd, room, sizeof room);
  close(fd);
  std::string_view text(room, size > 0 ? static_cast<std::size_t>(size) : 0);
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

bool sleeps_in_kernel(pid_t thread) noexcept {
  char room[256];
  const std::string_view stat = read_of_task(thread, "stat", room);
  const std::size_t name_end = stat.rfind(')');
  return name_end != std::string_view::npos && name_end + 2 < stat.size() && stat[name_end + 2] == 'S';
}

// Threads that serve weft have such names. Those that run fibers are known otherwise, as threads made by fibers inherit
// theirs; so do those that the monitor makes.
bool serves_weft(pid_t thread) noexcept {
  char room[256];
  const std::string_view name = read_of_task(thread, "comm", room);
  return (name.starts_with("weft-") && name != "weft-monitor") || name.starts_with("iou-");
}

struct plain_threads {
  int waiting_for_good = 0;
  bool may_wake = false;
};

plain_threads look_at_plain_threads() noexcept {
  plain_threads found;
  for_each_thread_g(
      [](G& g, void* to) {
        auto& all = *static_cast<plain_threads*>(to);
        if (g.reason.load(std::memory_order_acquire) == wait_reason::none || !g.wait.is_open()) return;
        if (may_be_woken_from_outside(g)) all.may_wake = true;
        if (racy_load(g.thread.deadline) == never) ++all.waiting_for_good;
      },
      &found);
  return found;
}

// -1: cannot be known.
int count_foreign_threads() noexcept {
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(opendir("/proc/self/task"), closedir);
  if (tasks == nullptr) return -1;
  const pid_t self = gettid();
  int foreign = 0;
  while (const dirent* entry = readdir(tasks.get())) {
    const auto thread = static_cast<pid_t>(std::atoi(entry->d_name));
    if (thread == 0 || thread == self) continue;
    const bool runs_fibers =
        !all_living_ms([thread](const M& m) { return m.tid.load(std::memory_order_relaxed) != thread; });
    if (!runs_fibers && !serves_weft(thread)) ++foreign;
  }
  return foreign;
}

// Nothing has happened for a while.
void decide() noexcept {
  if (!every_fiber_is_stuck() || signals_are_awaited()) return;
  const plain_threads plain = look_at_plain_threads();
  if (plain.may_wake) return;
  if (!all_living_ms([](const M& m) { return sleeps_in_kernel(m.tid.load(std::memory_order_relaxed)); })) return;
  const int hope = policy == deadlock_policy::fatal ? 0 : count_foreign_threads() - plain.waiting_for_good;
  if (!nothing_moves() || count_events() != seen_events) return;
  if (hope == 0) fatal("all fibers are asleep - deadlock!");
  if (hope_was_mentioned || hope < 0) return;
  hope_was_mentioned = true;
  std::fprintf(stderr,
               "weft: all fibers are asleep; only a thread that is not weft's could still wake one (there %s %d)\n",
               hope == 1 ? "is" : "are", hope);
}

}  // namespace

void configure_deadlock_report(deadlock_policy how) noexcept {
  policy = how;
  seen_events = -1;
  hope_was_mentioned = false;
}

nanoseconds_t look_for_deadlock(nanoseconds_t now) noexcept {
  if (policy == deadlock_policy::off) return never;
  if (!nothing_moves()) {
    seen_events = -1;
    // Nobody calls for the monitor when such a thread lies down.
    return sched.coming_threads.load(std::memory_order_relaxed) != 0 ? confirmed_after : never;
  }
  if (const std::int64_t events = count_events(); events != seen_events) {
    seen_events = events;
    seen_since = now;
    look_again_at = now + confirmed_after;
  }
  if (look_again_at == never || now < look_again_at) return look_again_at == never ? never : look_again_at - now;
  decide();
  look_again_at = now - seen_since < second_thought_after ? seen_since + second_thought_after : never;
  return look_again_at == never ? never : look_again_at - now;
}

}  // namespace weft::rt
