// SPDX-License-Identifier: Apache-2.0
// One thread blocks or computes for long with what waits at its P, no other is to be had, and one takes turns all the
// time: what waits is that one's. And fibers that have all threads, since they block in one call after the other and never wait.
#include <algorithm>

#include <weft/weft.hpp>

#include "runtime/sched/scheduler.hpp"
#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

constexpr instant long_time = 300 * ms;

struct shape {
  void (*hold_a_thread)();
  bool beside_yielders = false;
  bool starts_are_refused = false;  ///< or max_threads is reached
};

void blocks() { block(long_time); }
void blocks_as_announced() {
  weft::blocking([] { block(long_time); });
}
void computes() { compute(long_time); }
void computes_and_enters() {
  weft::timer t(1h);
  for (const instant end = now() + long_time; now() < end;) {
    t.reset(1h);
    compute(5 * us);
  }
}
void computes_and_wakes() {
  const weft::chan<int> c;
  weft::go([c] {
    for (int v : c) (void)v;
  });
  for (const instant end = now() + long_time; now() < end;) {
    (void)c.try_send(1);
    compute(5 * us);
  }
  c.close();
}

void no_thread_beside(const shape& how) {
  weft::run({.maxprocs = 2, .max_threads = how.starts_are_refused ? 100 : 1}, [&] {
    bool over = false;
    lateness sleeps, turns, others;
    weft::scope s;
    for (int i = 0; i < 4; ++i) {  // in both heaps
      s.go([&] {
        while (!over) sleeps.sleep(ms);
      });
    }
    for (int i = 0; how.beside_yielders && i < 4; ++i) {
      s.go([&] {
        lateness own;
        while (!over) {
          weft::yield();
          compute(10 * us);
          own.turn();
        }
        turns.add(own.worst());
      });
    }
    s.go([&] {
      weft::sleep_for(5ms);
      if (how.starts_are_refused) set_thread_starts(thread_starts::refused);
      how.hold_a_thread();
      over = true;
    });
    for (const instant end = now() + long_time + 50 * ms; !over && now() < end;) {
      compute(20 * us);
      weft::yield();
      others.turn();
    }
    over = true;
    s.join();
    set_thread_starts(thread_starts::as_planned);
    // Where both Ps were held up, by the one CPU or for one slice of 10 ms each, nothing can go on.
    if (!current_plan().in_time() || others.worst() > 60 * ms) return;
    sleeps.expect_at_most(60 * ms, "a sleep is late while another takes turns");
    turns.expect_at_most(60 * ms, "a yield is late while another takes turns");
  });
}

void timers_at_the_limit() { no_thread_beside({blocks}); }
void timers_at_the_limit_beside_an_announced_call() { no_thread_beside({blocks_as_announced}); }
void ring_at_the_limit() { no_thread_beside({blocks, true}); }
void ring_at_the_limit_beside_a_burner() { no_thread_beside({computes, true}); }
void ring_at_the_limit_beside_one_that_enters() { no_thread_beside({computes_and_enters, true}); }
void ring_at_the_limit_beside_one_that_wakes() { no_thread_beside({computes_and_wakes, true}); }
void timers_and_no_thread() { no_thread_beside({blocks, false, true}); }
void ring_and_no_thread() { no_thread_beside({blocks, true, true}); }

struct calls {
  instant length;
  bool starts_are_refused = false;  ///< or max_threads is reached
};

void calls_in_a_row(const calls& how) {
  const int threads = up_to(3);
  const int procs = maybe(2) ? 1 : up_to(4);
  weft::run({.maxprocs = procs, .max_threads = how.starts_are_refused ? 100 : threads}, [&] {
    bool over = false;
    lateness sleeps, turns;
    weft::scope s;
    if (how.starts_are_refused) set_thread_starts(thread_starts::refused);
    for (int i = 0; i < 8; ++i) {
      s.go([&] {
        while (!over) weft::blocking([&] { block(how.length + choose(static_cast<std::uint32_t>(2 * how.length))); });
      });
    }
    s.go([&] {
      while (!over) {
        weft::yield();
        turns.turn();
      }
    });
    for (int i = 0; i < 20; ++i) sleeps.sleep(ms);
    over = true;
    set_thread_starts(thread_starts::as_planned);
    s.join();
    if (!current_plan().in_time()) return;
    const instant a_round = 8 * 3 * how.length;
    sleeps.expect_at_most(40 * ms + a_round, "a sleep is late beside calls that have all threads");
    turns.expect_at_most(40 * ms + 2 * a_round, "a yield is late beside calls that have all threads");
  });
}

void short_calls_at_the_limit() { calls_in_a_row({100 * us}); }
void short_calls_and_no_thread() { calls_in_a_row({100 * us, true}); }
void long_calls_at_the_limit() { calls_in_a_row({3 * ms}); }
void long_calls_and_no_thread() { calls_in_a_row({3 * ms, true}); }

// One P that is never idle: what was noted while threads were short is forgotten once they are to be had.
void short_calls_after_a_shortage() {
  weft::run({.maxprocs = 1}, [&] {
    bool over = false;
    weft::scope s;
    set_thread_starts(thread_starts::refused);
    const int loops = up_to(3);
    for (int i = 0; i < loops; ++i) {
      s.go([&] {
        while (!over) {
          weft::blocking([] { compute(2 * us); });
          if (maybe(8)) weft::yield();
        }
      });
    }
    s.go([&] {
      for (int i = 0; i < 4; ++i) {
        weft::blocking([] { block(3 * ms); });
        weft::yield();
      }
    });
    for (int i = 0; i < 10; ++i) weft::sleep_for(1ms);
    set_thread_starts(thread_starts::as_planned);
    for (int i = 0; i < 60; ++i) weft::sleep_for(1ms);
    int stands = 0;
    for (int i = 0; i < 40; ++i) {
      weft::sleep_for(1ms);
      stands += weft::rt::sched.missed_wake.load(std::memory_order_relaxed) ? 1 : 0;
    }
    over = true;
    s.join();
    expect(stands < 35 || !current_plan().in_time(), "threads still count as short long after they were");
  });
}

constexpr bounds none = {.ready = 1'000 * ms, .ready_beside_idle = 1'000 * ms, .overdue = 1'000 * ms};

constexpr program all[] = {
    {"timers_at_the_limit", timers_at_the_limit, none},
    {"timers_at_the_limit_beside_an_announced_call", timers_at_the_limit_beside_an_announced_call, none},
    {"ring_at_the_limit", ring_at_the_limit, none},
    {"ring_at_the_limit_beside_a_burner", ring_at_the_limit_beside_a_burner, none},
    {"ring_at_the_limit_beside_one_that_enters", ring_at_the_limit_beside_one_that_enters, none},
    {"ring_at_the_limit_beside_one_that_wakes", ring_at_the_limit_beside_one_that_wakes, none},
    {"timers_and_no_thread", timers_and_no_thread, none},
    {"ring_and_no_thread", ring_and_no_thread, none},
    {"short_calls_at_the_limit", short_calls_at_the_limit, none},
    {"short_calls_and_no_thread", short_calls_and_no_thread, none},
    {"long_calls_at_the_limit", long_calls_at_the_limit, none},
    {"long_calls_and_no_thread", long_calls_and_no_thread, none},
    {"short_calls_after_a_shortage", short_calls_after_a_shortage, none},
};

}  // namespace

constinit const std::span<const program> programs_of_thread_limit = all;

}  // namespace sim
