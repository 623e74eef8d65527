// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/watch.hpp"

#include <algorithm>
#include <unordered_map>

#include "runtime/fiber/stack.hpp"
#include "runtime/sched/all_g.hpp"
#include "runtime/sched/g_pool.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/sched/timers.hpp"
#include "tests/sim/kernel.hpp"

namespace sim {

bounds allowed;
worst_seen worst;

namespace {

using namespace weft::rt;

struct fiber_note {
  std::uint64_t id = 0;
  instant since = -1;        ///< ready, as first seen; -1: it was not
  std::uint64_t ran_id = 0;  ///< of the fiber that was last on a CPU here
};
std::unordered_map<const G*, fiber_note> notes;
std::unordered_map<const M*, const G*> on_thread;
const M* last_m = nullptr;
const G* last_fiber = nullptr;
instant next_look = 0;
instant idle_since = -1;   ///< some P has been idle; -1: none is
instant stack_since = -1;  ///< a stack has been free that a fiber waits for; -1: none is

constexpr instant look_every = 50'000;

template <class T>
T peek(const weft::detail::atomic<T>& word) noexcept {
  return word.load(std::memory_order_relaxed);
}

template <class F>
void for_each_m(F&& f) {
  for (M* m = peek(sched.all_ms); m != nullptr; m = m->all_link) f(*m);
}

template <class F>
void for_each_p(F&& f) {
  const int known = peek(sched.known_procs);
  for (int i = 0; i < known; ++i) f(*peek(sched.all_ps[i]));
}

bool is_ready(const G& g) noexcept {
  if (peek(g.id) == 0 || peek(g.on_cpu)) return false;
  if (wait_word<std_atomics>::is_claimed(g.wait.look())) return true;
  return peek(g.reason) == wait_reason::none && !g.wait.is_open();
}

bool waits_for_a_stack(const G& g) noexcept { return g.stk == nullptr && peek(sched.sizes_without_stack) != 0; }

bool runs() noexcept { return peek(sched.procs) != 0 && !peek(sched.ended); }

void look_at_idle_ps(instant now) noexcept {
  if (sched.idle.idle_ps() == 0)
    idle_since = -1;
  else if (idle_since < 0)
    idle_since = now;
}

void look_at_fibers(instant now) noexcept {
  for_each_g([now](const G& g) {
    fiber_note& n = notes[&g];
    const std::uint64_t id = peek(g.id);
    if (n.id != id || !is_ready(g) || waits_for_a_stack(g)) {
      n.id = id;
      n.since = -1;
      return;
    }
    if (n.since < 0) n.since = now;
    const instant age = now - n.since;
    worst.ready = std::max(worst.ready, age);
    if (age > allowed.ready) fail("a fiber that is ready has no turn");
    if (idle_since < 0) return;
    const instant beside = std::min(age, now - idle_since);
    worst.ready_beside_idle = std::max(worst.ready_beside_idle, beside);
    if (beside > allowed.ready_beside_idle) fail("a fiber that is ready has no turn beside an idle P");
  });
}

void look_at_stacks(instant now) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  const std::size_t usual = stack_class(0);
  std::size_t free = 0;
  if (sched.without_stack[usual].head != nullptr) {
    free = pooled_stacks(usual);
    for_each_p([&](const P& p) { free += p.stacks.size(); });
  }
  if (free == 0)
    stack_since = -1;
  else if (stack_since < 0)
    stack_since = now;
  else if (now - stack_since > allowed.stack)
    fail("a stack is free, and a fiber waits for one");
}

void look_at_timers(instant now) noexcept {
  const instant when = weft::rt::look_at_timers().earliest;
  if (when == never || when > now) return;
  worst.overdue = std::max(worst.overdue, now - when);
  if (now - when > allowed.overdue) fail("a timer is overdue");
}

void look_at_edges(instant now) noexcept {
  const instant oldest = kernel::oldest_edge();
  if (oldest < 0) return;
  if (now - oldest > allowed.edge) fail("a socket that is ready is not looked at");
  if (idle_since < 0) return;
  const instant beside = now - std::max(oldest, idle_since);
  worst.edge_beside_idle = std::max(worst.edge_beside_idle, beside);
  if (beside > allowed.edge_beside_idle) fail("a socket that is ready is not looked at beside an idle P");
}

// The M's fiber is another one than a step ago.
void fiber_has_come(const M& m, const G& g) noexcept {
  for_each_m([&](const M& other) {
    if (&other != &m && peek(other.alive) && other.cur == &g) fail("a fiber is on two threads");
  });
  if (g.wait.is_open()) fail("a fiber runs on whose wait nobody has ended");
  fiber_note& n = notes[&g];
  const std::uint64_t id = peek(g.id);
  if (id != 0 && n.ran_id == id && peek(g.on_cpu)) fail("a fiber runs on that is still on another thread's stack");
  n.ran_id = id;
  n.since = -1;
}

void look_at_current_m() noexcept {
  const M* const m = current_m();
  if (m == nullptr) return;
  if (m == last_m && m->cur == last_fiber) return;
  last_m = m;
  last_fiber = m->cur;
  const G*& before = on_thread[m];
  if (before == m->cur) return;
  before = m->cur;
  if (m->cur != nullptr) fiber_has_come(*m, *m->cur);
}

unsigned length(const M* list) noexcept {
  unsigned n = 0;
  for (; list != nullptr; list = list->idle_link) ++n;
  return n;
}
unsigned length(const P* list) noexcept {
  unsigned n = 0;
  for (; list != nullptr; list = list->idle_link) ++n;
  return n;
}

// Of those that M's hold. An M that has been handed one and is not up yet has it in `next_p`, or in `due_p`.
void look_at_ps() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  for_each_p([](const P& p) WEFT_NO_THREAD_SAFETY_ANALYSIS {
    unsigned places = 0;
    for_each_m([&](const M& m) { places += (m.p == &p) + (m.next_p == &p) + (m.due_p == &p); });
    for (const P* idle = sched.idle_ps; idle != nullptr; idle = idle->idle_link) places += idle == &p;
    for (const P* left = sched.surrendered_ps; left != nullptr; left = left->idle_link) places += left == &p;
    if (places > 1) fail("a P is in two hands");
    if (places == 0 && p.in_service) fail("a P in service is in nobody's hands");
  });
}

// Of all plain threads, once no runtime runs: what waits now must have begun after the end, or not be cancellable.
void look_at_plain_waits() noexcept {
  for_each_thread_g(
      [](G& g, void*) {
        constexpr std::uint64_t open_and_cancellable = 5;  // wait_word.hpp
        if (peek(g.reason) == wait_reason::none || (g.wait.look() & 7) != open_and_cancellable) return;
        const std::uint32_t began = peek(g.thread.plain_waits);
        if (began != wait_of_a_fiber && began != peek(plain_waits))
          fail("run() has returned, and a plain thread still waits that did so before");
      },
      nullptr);
}

}  // namespace

void watch_step() noexcept {
  look_at_current_m();
  if (sim::now() < next_look || !runs()) return;
  next_look = sim::now() + look_every;
  look_at_idle_ps(sim::now());
  look_at_fibers(sim::now());
  look_at_stacks(sim::now());
  look_at_timers(sim::now());
  look_at_edges(sim::now());
}

void watch_all_asleep() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  if (peek(sched.procs) == 0) look_at_plain_waits();
  if (!runs()) return;
  if (sched.idle.searchers() != 0) fail("every thread sleeps, and one counts as a searcher");
  if (length(sched.idle_ps) != sched.idle.idle_ps()) fail("the count of idle Ps is wrong");
  if (static_cast<int>(length(sched.idle_ms)) != sched.idle_threads) fail("the count of idle threads is wrong");
  int alive = 0;
  for_each_m([&](const M& m) { alive += peek(m.alive) && !m.is_caller ? 1 : 0; });
  if (alive != sched.threads) fail("the count of threads is wrong");
  if (length(sched.idle_ps) != 0 && sched.global.size() != 0 && !peek(sched.missed_wake))
    fail("every thread sleeps, a P is idle, and a fiber waits in the global queue");
  std::int64_t fibers = 0;
  for_each_g([&](const G& g) { fibers += peek(g.id) != 0 ? 1 : 0; });
  if (fibers != present_fibers()) fail("the count of fibers is wrong");
  look_at_ps();
}

bool some_fiber_lives() noexcept { return peek(sched.procs) != 0 && present_fibers() != 0; }

bool somebody_lies_in_the_poller() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS { return sched.polling_m != nullptr; }

void watch_end() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  if (peek(sched.procs) != 0) return fail("the program is over, and a runtime still runs");
  if (sched.threads != 0) fail("run() has returned, and threads are left");
  if (peek(sched.in_service) != 0 || sched.idle.idle_ps() != 0) fail("run() has returned, and Ps are in service");
  if (sched.idle.searchers() != 0) fail("run() has returned, and somebody counts as a searcher");
  if (sched.global.size() != 0) fail("run() has returned, and fibers wait in the global queue");
  if (peek(sched.missed_wake)) fail("run() has returned, and a wake is noted as missed");
  if (present_fibers() != 0 || live_fibers() != 0) fail("run() has returned, and fibers are counted");
  if (peek(sched.foreign_wakers) != 0) fail("run() has returned, and plain threads still make fibers runnable");
  for_each_g([](const G& g) {
    if (peek(g.id) != 0) fail("run() has returned, and a fiber is left");
  });
  for_each_m([](const M& m) {
    if (peek(m.alive)) fail("run() has returned, and an M is alive");
  });
  if (other_threads() != 0) fail("the program is over, and a thread is left");
}

}  // namespace sim
