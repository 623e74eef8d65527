// SPDX-License-Identifier: Apache-2.0
// One thread blocks or computes for long with what waits at its P, no other is to be had, and one takes turns all the
// time: what waits is that one's. And fibers that have all threads, since they block in short calls and never wait.
#include <algorithm>

#include <weft/weft.hpp>

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

void short_calls(bool starts_are_refused) {
  const int threads = up_to(3);
  weft::run({.maxprocs = maybe(2) ? 1 : up_to(4), .max_threads = starts_are_refused ? 100 : threads}, [&] {
    bool over = false;
    lateness sleeps, turns;
    weft::scope s;
    if (starts_are_refused) set_thread_starts(thread_starts::refused);
    for (int i = 0; i < 8; ++i) {
      s.go([&] {
        while (!over) weft::blocking([] { block(100 * us + choose(200) * us); });
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
    sleeps.expect_at_most(60 * ms, "a sleep is late beside short calls that have all threads");
    turns.expect_at_most(60 * ms, "a yield is late beside short calls that have all threads");
  });
}

void short_calls_at_the_limit() { short_calls(false); }
void short_calls_and_no_thread() { short_calls(true); }

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
};

}  // namespace

constinit const std::span<const program> programs_of_thread_limit = all;

}  // namespace sim
