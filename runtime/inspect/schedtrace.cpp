// SPDX-License-Identifier: Apache-2.0
// The scheduler's state in Go's form. Fields that only Go's collector has (gcwaiting, mallocing, stopwait, ...) are
// left out; the order of the others is Go's. `threads` counts all of the runtime's: the Ms, the caller of run() and the
// monitor. `syscalltick` counts how often the P was taken from an M that blocked or burned.
//
// Called by the monitor alone, between the start and the end of run(), so the settings need no lock. What it prints was
// true at some moment during the call, each figure at its own: nobody is stopped.
#include "runtime/inspect/schedtrace.hpp"

#include <cstdio>
#include <new>
#include <string>

#include "runtime/inspect/fiber_snapshot.hpp"
#include "runtime/inspect/racy_load.hpp"
#include "runtime/sched/all_g.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

namespace {

nanoseconds_t period = 0;  // 0: off. Written before the monitor starts, as the other two.
bool detailed = false;
nanoseconds_t began = 0;
nanoseconds_t next_line = 0;  // the monitor's

std::string number_or_nil(const M* m) { return m != nullptr ? std::to_string(m->number) : "nil"; }
std::string number_or_nil(const P* p) { return p != nullptr ? std::to_string(p->number) : "nil"; }
std::string number_or_nil(const G* g) {
  return g != nullptr ? std::to_string(g->id.load(std::memory_order_relaxed)) : "nil";
}

void add_head(std::string& out, nanoseconds_t now) {
  int threads = 0;
  int idle_threads = 0;
  {
    detail::spin_guard guard(sched.lock);
    threads = sched.threads + 2;
    idle_threads = sched.idle_threads;
  }
  char line[256];
  std::snprintf(
      line, sizeof line,
      "SCHED %lldms: maxprocs=%d idleprocs=%u threads=%d spinningthreads=%u needspinning=0 idlethreads=%d runqueue=%u",
      static_cast<long long>((now - began) / 1'000'000), sched.procs.load(std::memory_order_relaxed),
      sched.idle.idle_ps(), threads, sched.idle.searchers(), idle_threads, sched.global_size());
  out += line;
}

template <class F>
void for_each_p_in_use(F&& f) {
  const int procs = sched.procs.load(std::memory_order_acquire);
  for (int i = 0; i < procs; ++i) f(*sched.all_ps[i].load(std::memory_order_acquire));
}

void add_brief(std::string& out) {
  out += " [";
  for_each_p_in_use([&](const P& p) { out += ' ' + std::to_string(p.queue.size()); });
  out += " ] schedticks=[";
  for_each_p_in_use([&](const P& p) { out += ' ' + std::to_string(p.picks.load(std::memory_order_relaxed)); });
  out += " ]\n";
}

void add_details(std::string& out) {
  out += sched.monitor_sleeps.load(std::memory_order_relaxed) != 0 ? " sysmonwait=true\n" : " sysmonwait=false\n";
  for_each_p_in_use([&](const P& p) {
    const M* m = p.m.load(std::memory_order_relaxed);
    out += "  P" + std::to_string(p.number) + ": status=" + (m != nullptr ? "1" : "0") +
           " schedtick=" + std::to_string(p.picks.load(std::memory_order_relaxed)) +
           " syscalltick=" + std::to_string(p.handoffs.get()) + " m=" + number_or_nil(m) +
           " runqsize=" + std::to_string(p.queue.size()) + " gfreecnt=" + std::to_string(racy_load(p.free_count)) +
           '\n';
  });
  for (const M* m = sched.all_ms.load(std::memory_order_acquire); m != nullptr; m = m->all_link) {
    if (!m->alive.load(std::memory_order_acquire)) continue;
    out += "  M" + std::to_string(m->number) + ": p=" + number_or_nil(racy_load(m->p)) +
           " curg=" + number_or_nil(racy_load(m->cur)) + " spinning=" + (racy_load(m->searching) ? "true" : "false") +
           " blocked=" + (m->blocking_now.load(std::memory_order_relaxed) ? "true" : "false") +
           " lockedg=" + number_or_nil(racy_load(m->pinned_g)) + '\n';
  }
}

// Go's numbers: 1 runnable, 2 running, 4 waiting.
std::string status_of(const fiber_snapshot& fiber) {
  switch (fiber.state) {
    case fiber_state::running:
      return "2()";
    case fiber_state::waiting:
      return std::string("4(") + to_string(fiber.reason) + ")";
    case fiber_state::runnable:
    case fiber_state::unstarted:
      break;
  }
  return "1()";
}

const M* runner_of(const G& g) noexcept {
  const M* m = sched.all_ms.load(std::memory_order_acquire);
  while (m != nullptr && !(m->alive.load(std::memory_order_acquire) && racy_load(m->cur) == &g)) m = m->all_link;
  return m;
}

void add_fibers(std::string& out) {
  fiber_snapshot fiber;
  for_each_g([&](const G& g) {
    if (!look_at_fiber(g, fiber)) return;
    out += "  G" + std::to_string(fiber.id) + ": status=" + status_of(fiber) + " m=" + number_or_nil(runner_of(g)) +
           " lockedm=" + number_or_nil(racy_load(g.pinned)) + '\n';
  });
}

}  // namespace

void schedtrace_configure(const debug_settings& how) noexcept {
  period = nanoseconds_t{how.schedtrace_ms} * 1'000'000;
  detailed = how.scheddetail != 0;
  began = steady_now();
  next_line = began + period;
}

bool schedtrace_is_on() noexcept { return period != 0; }

void schedtrace_tick(nanoseconds_t now) noexcept {
  if (period == 0 || now < next_line) return;
  next_line = now + period;
  try {
    std::string out;
    add_head(out, now);
    if (detailed) {
      add_details(out);
      add_fibers(out);
    } else {
      add_brief(out);
    }
    std::fwrite(out.data(), 1, out.size(), stderr);
  } catch (const std::bad_alloc&) {
    std::fputs("SCHED: no memory for a line of trace\n", stderr);
  }
}

}  // namespace weft::rt
