// SPDX-License-Identifier: Apache-2.0
// One OS thread plays all threads of a program: each is a context with a stack of its own, and `decide` says at each
// step which of them goes on.
//
// Invariants
//  1. Nothing here reads the real clock, an address or anything else that differs from one process to the next: the
//     plan alone decides, so a seed is a run.
//  2. `world::watching` is set while something looks at the runtime through its own functions: their accesses are no
//     steps then.
//  3. What belongs to a thread is exchanged at each switch: errno, libstdc++'s exception state, the slots of the seam.
//
// Time. A step costs 10 to 30 ns. `compute` moves the clock by its share of the CPUs. If nobody can run, the clock
// jumps to the next moment at which somebody can.
#include "tests/sim/simulation.hpp"

#include <cxxabi.h>
#include <sys/mman.h>
#include <unistd.h>
#include <boost/context/detail/fcontext.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <weft/debug.hpp>

#include "runtime/inspect/symbols.hpp"
#include "tests/sim/kernel.hpp"
#include "tests/sim/kernel/disk.hpp"
#include "tests/sim/watch.hpp"

namespace sim {

namespace ctx = boost::context::detail;

namespace {

constexpr unsigned slots = 3;
constexpr unsigned most_tasks = 512;
constexpr std::size_t stack_size = std::size_t{1} << 20;
constexpr instant time_zero = 1'000'000'000;
constexpr instant lost_for = 20'000'000;
constexpr instant late_by_at_most = 100'000'000;
constexpr instant no_memory_for_at_most = 300'000;

/// As the Itanium C++ ABI, 2.2.2, has it.
struct exception_state {
  void* caught;
  unsigned uncaught;
};
exception_state& exceptions_of_thread() noexcept {
  return *reinterpret_cast<exception_state*>(abi::__cxa_get_globals());
}

struct key_value {
  void (*destroy)(void*);
  void* value;
};

}  // namespace

struct task {
  enum class is : std::uint8_t { ready, asleep, ended };
  int id = 0;
  const char* name = "main";
  is state = is::ready;
  bool naps = false;  ///< asleep in a loop that waits for another thread
  ctx::fcontext_t context = nullptr;
  void* (*body)(void*) = nullptr;
  void* arg = nullptr;
  const void* word = nullptr;  ///< the futex that it sleeps on
  instant wake_at = -1;        ///< asleep: when at the latest; -1: not by time
  instant not_before = 0;      ///< ready, but without a CPU until then
  instant cpu = 0;
  instant slice_began = 0;  ///< the CPU time when its time slice did
  std::uint64_t priority = 0;
  std::uint64_t wake_ups = 0;
  std::uint64_t steps = 0;
  unsigned pauses = 0;
  void* slots[sim::slots]{};
  std::vector<key_value> keys;
  exception_state exceptions{};
  int error = 0;
};

namespace {

enum class why : std::uint8_t {
  step,     ///< an access to shared memory
  waits,    ///< a turn of a loop that waits for another thread
  compute,  ///< user code
};

/// A switch from one thread to another, and the return addresses of the one that was left.
struct decision {
  std::uint64_t step;
  instant time;
  int from, to;
  const void* place[8];
};
constexpr unsigned kept_decisions = 256;

struct outside_call {
  void (*f)(void*);
  void* arg;
};

struct world {
  plan how;
  std::uint64_t random = 1;
  task* tasks[most_tasks];
  unsigned count = 0;
  task* current = nullptr;
  instant now = time_zero;
  instant next_event = 0;  ///< no sleeper, and nobody without a CPU, is due before
  bool changed = true;     ///< somebody has become ready since the last choice
  std::uint64_t steps = 0;
  std::uint64_t changes[16];
  std::uint64_t lowest = 1'000'000'000;
  bool runs = false;
  bool failing = false;
  bool watching = false;
  std::uint64_t waits_in_a_dump = 0;
  instant memory_at = 0;  ///< there is none before
  memory_is memory = memory_is::as_planned;
  thread_starts starts = thread_starts::as_planned;
  instant refusal_takes = 0;
  decision decisions[kept_decisions];
  std::uint64_t decided = 0;
  std::multimap<instant, outside_call> outside;
  const char* program = "";
  unsigned to_print = 0;
  outcome* out = nullptr;
};
world w;

std::uint32_t below(std::uint32_t n) noexcept { return static_cast<std::uint32_t>((next_number(w.random) >> 33) % n); }
bool one_in(unsigned n) noexcept { return n != 0 && below(n) == 0; }

bool switches() noexcept { return w.runs && !w.watching; }

bool may_run(const task* t) noexcept { return t->state == task::is::ready && t->not_before <= w.now; }

void due_at(instant when) noexcept { w.next_event = std::min(w.next_event, when); }

void make_ready(task* t) noexcept {
  t->state = task::is::ready;
  t->word = nullptr;
  ++t->wake_ups;
  w.changed = true;
}

template <class F>
void for_each_task(F&& f) {
  for (unsigned i = 0; i < w.count; ++i) f(w.tasks[i]);
}

template <class F>
void unwatched(F look) noexcept {
  w.watching = true;
  look();
  w.watching = false;
}

void wake_due() noexcept {
  if (w.now < w.next_event) return;
  w.changed = true;
  while (!w.outside.empty() && w.outside.begin()->first <= w.now) {
    const outside_call next = w.outside.begin()->second;
    w.outside.erase(w.outside.begin());
    unwatched([&] { next.f(next.arg); });
  }
  w.next_event = w.outside.empty() ? INT64_MAX : w.outside.begin()->first;
  for_each_task([](task* t) {
    if (t->state == task::is::asleep && t->wake_at >= 0) {
      if (t->wake_at <= w.now)
        make_ready(t);
      else
        due_at(t->wake_at);
    }
    if (t->state == task::is::ready && t->not_before > w.now) due_at(t->not_before);
  });
}

// On to the next moment at which somebody can run; false: there is none.
bool advance() noexcept {
  if (w.next_event == INT64_MAX) return false;
  w.now = std::max(w.now, w.next_event);
  return true;
}

// Of this thread's frames, by the chain of frame pointers.
void note_decision(const task* to) noexcept {
  decision& d = w.decisions[w.decided++ % kept_decisions];
  d = {w.steps, w.now, w.current->id, to->id, {}};
#if defined(__x86_64__) || defined(__aarch64__)
  auto* frame = static_cast<void* const*>(__builtin_frame_address(0));
  for (const void*& place : d.place) {
    place = frame[1];
    auto* const outer = static_cast<void* const*>(frame[0]);
    if (outer <= frame || reinterpret_cast<std::uintptr_t>(outer) % 8 != 0 || outer - frame > 4096) return;
    frame = outer;
  }
#endif
}

// Not inlined: what belongs to a thread changes across it.
[[gnu::noinline]] void switch_to(task* to) noexcept {
  task* from = w.current;
  if (from == to) return;
  note_decision(to);
  from->exceptions = exceptions_of_thread();
  from->error = errno;
  w.current = to;
  exceptions_of_thread() = to->exceptions;
  errno = to->error;
  const auto back = ctx::jump_fcontext(to->context, from);
  static_cast<task*>(back.data)->context = back.fctx;
}

bool somebody_waits_awake() noexcept {
  bool some = false;
  for_each_task([&](const task* t) { some = some || t->state == task::is::ready || t->naps; });
  return some;
}

void fall_behind(task* t) noexcept {
  t->priority = --w.lowest;
  w.changed = true;
}

task* pick(why reason) noexcept {
  for (;;) {
    wake_due();
    task* const me = w.current;
    const bool goes_on = may_run(me);
    if (w.how.pct) {
      if (goes_on && !w.changed) return me;
    } else if (goes_on && reason == why::step && !one_in(w.how.one_in)) {
      return me;
    }
    task* ready[most_tasks];
    unsigned n = 0;
    for_each_task([&](task* t) {
      if (may_run(t)) ready[n++] = t;
    });
    if (n == 0) {
      if (!somebody_waits_awake()) unwatched([] { watch_all_asleep(); });
      if (!advance()) fail("every thread sleeps, and none has a time-out");
      continue;
    }
    if (!w.how.pct) return ready[below(n)];
    w.changed = false;
    return *std::max_element(ready, ready + n, [](const task* a, const task* b) { return a->priority < b->priority; });
  }
}

// As any kernel, this one is fair in the end.
void end_slice(task* me) noexcept {
  if (me->cpu - me->slice_began < w.how.slice) return;
  me->slice_began = me->cpu;
  if (w.how.pct) fall_behind(me);
}

void decide(why reason) noexcept {
  task* const me = w.current;
  ++w.steps;
  ++me->steps;
  if (reason != why::compute) {
    const instant cost = 10 + below(20);
    w.now += cost;
    me->cpu += cost;
  }
  unwatched([] { watch_step(); });
  if (w.now - time_zero > w.how.most_time) fail("the program does not end: out of virtual time");
  if (w.steps > w.how.most_steps) fail("the program does not end: out of steps");
  if (one_in(w.how.lose_cpu_one_in)) {
    me->not_before = w.now + lost_for;
    due_at(me->not_before);
  }
  if (w.how.pct) {
    if (reason == why::waits) fall_behind(me);
    for (unsigned i = 0; i < w.how.change_points; ++i)
      if (w.changes[i] == w.steps) fall_behind(me);
  }
  end_slice(me);
  switch_to(pick(reason));
}

void fall_asleep(const void* word, instant wake_at) noexcept {
  task* const me = w.current;
  me->state = task::is::asleep;
  me->word = word;
  me->wake_at = wake_at;
  if (wake_at >= 0) due_at(wake_at);
  switch_to(pick(why::step));
}

void end_task(task* me) noexcept {
  while (!me->keys.empty()) {
    const key_value key = me->keys.front();
    me->keys.erase(me->keys.begin());
    key.destroy(key.value);
  }
  me->state = task::is::ended;
  for_each_task([me](task* t) {
    if (t->state == task::is::asleep && t->word == &me->state) make_ready(t);
  });
}

[[noreturn]] void entry(ctx::transfer_t from) noexcept {
  static_cast<task*>(from.data)->context = from.fctx;
  w.current->body(w.current->arg);
  end_task(w.current);
  switch_to(pick(why::step));
  std::abort();
}

task* make(const char* name, void* (*body)(void*), void* arg) {
  if (w.count == most_tasks) fail("too many threads for the simulator");
  void* const memory =
      mmap(nullptr, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  auto* t = new task;
  t->id = static_cast<int>(w.count) + 1;
  t->name = name;
  t->body = body;
  t->arg = arg;
  t->priority = 2'000'000'000 + below(1'000'000);
  t->context = ctx::make_fcontext(static_cast<char*>(memory) + stack_size, stack_size, entry);
  w.tasks[w.count++] = t;
  w.changed = true;
  return t;
}

// The innermost function of the runtime or the program that the thread was in, and its caller.
void print_place(const decision& d) {
  unsigned named = 0;
  for (const void* place : d.place) {
    if (place == nullptr || named == 2) return;
    const std::string name = weft::rt::name_return_address(reinterpret_cast<std::uintptr_t>(place)).place;
    if (name.starts_with("sim::") && !name.starts_with("sim::compute") && !name.starts_with("sim::block")) continue;
    if (name.find("spin_lock") != std::string::npos || name.find("spin_guard") != std::string::npos) continue;
    std::fprintf(stderr, named == 0 ? " in %s" : " < %s", name.substr(0, name.find(" (")).c_str());
    ++named;
  }
}

void print_decisions() {
  const std::uint64_t n = std::min<std::uint64_t>({w.decided, w.to_print, kept_decisions});
  if (n == 0) return;
  std::fprintf(stderr, "the last %llu switches:\n", static_cast<unsigned long long>(n));
  for (std::uint64_t i = w.decided - n; i < w.decided; ++i) {
    const decision& d = w.decisions[i % kept_decisions];
    std::fprintf(stderr, "  step %llu, %.3f us: %d -> %d", static_cast<unsigned long long>(d.step),
                 static_cast<double>(d.time - time_zero) * 1e-3, d.from, d.to);
    print_place(d);
    std::fputc('\n', stderr);
  }
}

void print_threads() {
  for_each_task([](const task* t) {
    const char* const state = t->state == task::is::ended    ? "ended"
                              : t->state == task::is::asleep ? "asleep"
                              : t->not_before > w.now        ? "without a CPU"
                                                             : "ready";
    std::fprintf(stderr, "  thread %d %s: %s%s, %.3f ms of CPU\n", t->id, t->name, state, t == w.current ? ", now" : "",
                 static_cast<double>(t->cpu) * 1e-6);
  });
}

}  // namespace

void step() noexcept {
  if (switches()) decide(why::step);
}
void spin() noexcept {
  if (switches()) return decide(why::waits);
  // The dump wants a lock that a thread holds which will never go on.
  if (w.failing && ++w.waits_in_a_dump > 100'000) {
    std::fputs("(the dump ends here: a lock is held)\n", stderr);
    std::fflush(nullptr);
    _exit(1);
  }
}

// Mostly a turn of a short loop, which must not cost a turn of everybody's.
void pause() noexcept {
  constexpr unsigned some = 128;
  if (switches() && ++w.current->pauses % some != 0) return decide(why::step);
  spin();
}

instant now() noexcept { return w.now; }
std::uint32_t choose(std::uint32_t n) noexcept { return below(n); }
const plan& current_plan() noexcept { return w.how; }
std::uint64_t steps_of_thread() noexcept { return w.current->steps; }

void wait(const void* word, bool (*still)(const void*, std::uint32_t), std::uint32_t expected,
          instant timeout) noexcept {
  if (!switches()) return;
  decide(why::step);
  if (!still(word, expected)) return;
  instant until = timeout >= 0 ? w.now + timeout : -1;
  if (one_in(w.how.wake_for_nothing_one_in)) {
    const instant early = w.now + below(50'000);
    if (until < 0 || early < until) until = early;
  }
  fall_asleep(word, until);
}

void wake(const void* word) noexcept {
  if (!switches()) return;
  decide(why::step);
  wake_now(word, false);
}

void wake_now(const void* word, bool all) noexcept {
  for (unsigned i = 0; i < w.count; ++i) {
    task* const t = w.tasks[i];
    if (t->state != task::is::asleep || t->word != word) continue;
    make_ready(t);
    if (!all) return;
  }
}

void at(instant when, void (*f)(void*), void* arg) {
  w.outside.emplace(when, outside_call{f, arg});
  due_at(when);
}

void block(instant time) noexcept {
  if (switches()) fall_asleep(nullptr, w.now + time);
}
void nap(instant time) noexcept {
  if (!switches()) return spin();
  task* const me = w.current;
  me->naps = true;
  block(time);
  me->naps = false;
}

void compute(instant time) noexcept {
  if (!switches()) return;
  constexpr instant piece = 2'000;
  task* const me = w.current;
  while (time > 0) {
    const instant some = std::min(time, piece);
    unsigned ready = 0;
    for_each_task([&](const task* t) { ready += may_run(t) ? 1 : 0; });
    w.now += some / std::clamp(ready, 1u, w.how.cpus);
    me->cpu += some;
    time -= some;
    decide(why::compute);
  }
}

void wait_for_a_cpu(instant time) noexcept {
  if (!switches()) return;
  task* const me = w.current;
  me->not_before = w.now + time;
  due_at(me->not_before);
  switch_to(pick(why::step));
}

int start(task*& out, void* (*body)(void*), void* arg) noexcept {
  step();
  // run() itself reports that it cannot start its monitor, which is its first thread: nothing to explore there.
  bool starts_monitor = w.current == w.tasks[0] && w.current->slots[0] == nullptr;
  for_each_task([&](const task* t) {
    const bool is_of_a_run = std::strncmp(t->name, "weft", 4) == 0 && std::strcmp(t->name, "weft-file") != 0;
    if (t->state != task::is::ended && is_of_a_run) starts_monitor = false;
  });
  if (!starts_monitor && w.starts == thread_starts::refused) {
    nap(w.refusal_takes);  // in the middle of a wake, whose count of a searcher it holds
    return EAGAIN;
  }
  if (!starts_monitor && one_in(w.how.no_thread_one_in)) return EAGAIN;
  out = make("weft", body, arg);
  if (!starts_monitor && one_in(w.how.slow_thread_one_in)) {
    out->not_before = w.now + below(late_by_at_most);
    due_at(out->not_before);
  }
  return 0;
}
void set_thread_starts(thread_starts how, instant how_slow) noexcept {
  w.starts = how;
  w.refusal_takes = how_slow;
}

void join(task* t) noexcept {
  while (t->state != task::is::ended)
    wait(
        &t->state, [](const void* s, std::uint32_t) { return *static_cast<const task::is*>(s) != task::is::ended; }, 0,
        -1);
}

task* self() noexcept { return w.current; }
int id_of(const task* t) noexcept { return t->id; }
void name_self(const char* name) noexcept { w.current->name = name; }
instant cpu_of(const task* t) noexcept { return t == nullptr || t->state == task::is::ended ? -1 : t->cpu; }
bool is_asleep(int id) noexcept {
  step();
  return id > 0 && w.tasks[id - 1]->state == task::is::asleep;
}
std::uint64_t wake_ups_of(const char* name) noexcept {
  std::uint64_t sum = 0;
  for_each_task([&](const task* t) { sum += std::strcmp(t->name, name) == 0 ? t->wake_ups : 0; });
  return sum;
}
unsigned other_threads() noexcept {
  unsigned n = 0;
  for_each_task([&](const task* t) { n += t->id != 1 && t->state != task::is::ended ? 1 : 0; });
  return n;
}

bool membarrier() noexcept {
  step();
  return !w.how.no_membarrier;
}

// run() itself reports that there is no stack for main: nothing to explore there by chance.
bool memory(std::size_t size) noexcept {
  step();
  if (w.memory == memory_is::used_up) return false;
  if (w.memory == memory_is::scarce) return size < std::size_t{32} << 20;
  if (!some_fiber_lives()) return true;
  if (w.now < w.memory_at) return false;
  if (!one_in(w.how.no_memory_one_in)) return true;
  w.memory_at = w.now + below(no_memory_for_at_most);
  return false;
}

void set_memory(memory_is how) noexcept { w.memory = how; }

void*& slot(slot_of which) noexcept {
  static void* outside[slots]{};
  return (w.current != nullptr ? w.current->slots : outside)[static_cast<unsigned>(which)];
}
void at_thread_end(void (*destroy)(void*), void* value) noexcept { w.current->keys.push_back({destroy, value}); }

foreign_thread::foreign_thread(std::function<void()> f) {
  auto* kept = new std::function<void()>(std::move(f));
  step();
  t_ = make(
      "plain",
      [](void* arg) -> void* {
        (*static_cast<std::function<void()>*>(arg))();
        return nullptr;
      },
      kept);
}
void foreign_thread::join() { sim::join(t_); }

void fail(const char* what) noexcept {
  w.watching = false;
  w.runs = false;
  if (w.failing) _exit(1);
  w.failing = true;
  std::snprintf(w.out->failure, sizeof w.out->failure, "%s", what);
  w.out->steps = w.steps;
  w.out->time = w.now - time_zero;
  std::fprintf(stderr, "%s, %.6f s, step %llu: %s\n", w.program, static_cast<double>(w.now - time_zero) * 1e-9,
               static_cast<unsigned long long>(w.steps), what);
  print(stderr, w.how);
  kernel::print_troubles(stderr);
  kernel::print_disk_troubles(stderr);
  std::fprintf(stderr, "again: sim --replay %llu %s\n", static_cast<unsigned long long>(w.how.seed), w.program);
  print_threads();
  print_decisions();
  std::fflush(nullptr);
  weft::debug::dump_fibers(stderr);
  std::fflush(nullptr);
  _exit(1);
}

void expect_within(instant late, instant bound, const char* what) noexcept {
  if (late <= bound + w.how.slack()) return;
  char text[160];
  std::snprintf(text, sizeof text, "%s: %.3f ms, and not at most %.3f", what, static_cast<double>(late) * 1e-6,
                static_cast<double>(bound + w.how.slack()) * 1e-6);
  fail(text);
}

void run_here(const plan& how, const char* name, void (*program)(), unsigned decisions, outcome& out) noexcept {
  static task outside;
  w.how = how;
  w.program = name;
  w.to_print = decisions;
  w.out = &out;
  w.random = sequence_of(how.seed, 2);
  // Early and late ones as likely: nobody knows how long the program will be.
  for (unsigned i = 0; i < how.change_points; ++i) w.changes[i] = below(64u << below(12));
  w.current = &outside;
  task* const main = make(
      "main",
      [](void* arg) -> void* {
        reinterpret_cast<void (*)()>(arg)();
        unwatched([] { watch_end(); });
        w.runs = false;
        switch_to(&outside);
        return nullptr;
      },
      reinterpret_cast<void*>(program));
  w.runs = true;
  switch_to(main);
  out.steps = w.steps;
  out.time = w.now - time_zero;
  out.worst = worst;
  out.worst.edge = kernel::latest_edge();
}

}  // namespace sim

// The public headers ask the standard library for the time.
namespace std::chrono {
inline namespace _V2 {
steady_clock::time_point steady_clock::now() noexcept {
  sim::step();
  return time_point(nanoseconds(sim::now()));
}
}  // namespace _V2
}  // namespace std::chrono
