// SPDX-License-Identifier: Apache-2.0
// Wakes that nothing makes up for soon. The monitor looks at everything now and then, and so covers what a wake has
// missed; but it looks seldom once nothing has happened for a second, and whoever computes on for long enough then
// shows who relied on it.
#include <algorithm>
#include <vector>

#include <weft/weft.hpp>

#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

constexpr instant seldom = 2 * ms;  ///< the monitor's pace then

// By its priority a thread may have to wait for the slices of all others, and where they take turns seldom it waits for
// each of these: nothing is said of such seeds.
void expect_soon(instant late, instant bound, const char* what) {
  const plan& p = current_plan();
  if (p.in_time() && !p.pct && p.one_in <= 64) expect_within(late, bound, what);
}

// Those that wait for an event come into the ring, where each searcher finds them.
void woken_as_others_give_up() {
  weft::run({.maxprocs = 2 + static_cast<int>(choose(3))}, [] {
    weft::sleep_for(1100ms);
    instant late = 0;
    for (int i = 0; i < 20; ++i) {
      instant begin = 0;
      weft::event e;
      weft::scope s;
      for (int k = 0; k < 2; ++k)
        s.go([&] {
          e.wait();
          late = std::max(late, now() - begin);
        });
      weft::sleep_for(50us);
      s.go([] {});
      compute(static_cast<instant>(choose(15'000)));
      begin = now();
      e.set();
      compute(2 * seldom);
      s.join();
    }
    expect_soon(late, 600 * us, "a woken fiber beside one that computes is late");
  });
}

// Several are woken at once, and each searcher finds but some.
void several_are_woken() {
  weft::run({.maxprocs = 4}, [] {
    weft::sleep_for(1100ms);
    instant late = 0;
    for (int i = 0; i < 8; ++i) {
      instant begin = 0;
      weft::event e;
      weft::scope s;
      for (int k = 0; k < 3; ++k)
        s.go([&] {
          e.wait();
          late = std::max(late, now() - begin);
          compute(seldom);
        });
      weft::sleep_for(50us);
      begin = now();
      e.set();
      compute(2 * seldom);
      s.join();
    }
    expect_soon(late, 600 * us, "one of several woken fibers is late");
  });
}

// Those that take turns by yields on one P, as nobody was told of the second.
void left_over_by_yields() {
  weft::run({.maxprocs = 2 + static_cast<int>(choose(3))}, [] {
    weft::sleep_for(1100ms);
    instant late = 0;
    for (int i = 0; i < 4; ++i) {
      weft::event begin;
      bool beside = false;
      const task* other = nullptr;
      weft::scope s;
      s.go([&] {
        begin.wait();
        while (!beside) {
          other = self();
          compute(4 * us);
          weft::yield();
        }
      });
      weft::sleep_for(50us);
      const instant began = now();
      begin.set();
      do {
        weft::yield();
        compute(4 * us);
      } while ((other == nullptr || other == self()) && now() - began < 20 * ms);
      late = std::max(late, now() - began);
      beside = true;
      s.join();
    }
    expect_soon(late, 600 * us, "two that yield share a P beside an idle one");
  });
}

// One that yields in a loop until all the others have had their turn, which lie in the global queue.
void yields_beside_the_global_queue() {
  weft::run({.maxprocs = 1}, [] {
    constexpr int many = 40;
    weft::event begin;
    int ran = 0, yields = 0;
    weft::scope s;
    for (int i = 0; i < many; ++i)
      s.go([&] {
        begin.wait();
        ++ran;
      });
    weft::yield();
    foreign_thread plain([&] { begin.set(); });
    weft::blocking([&] { plain.join(); });
    for (; ran < many; ++yields) weft::yield();
    // Where one of them had lost its P as it began to wait it is urgent, and these have a share of time.
    if (current_plan().in_time())
      expect(yields < 10 * many, "one that yields is not passed by those in the global queue");
    s.join();
  });
}

// A plain thread wakes a fiber, and there is always another that has come back from blocking(f).
void woken_beside_urgent_fibers() {
  weft::run({.maxprocs = 3}, [] {
    bool stop = false;
    instant late = 0;
    weft::chan<instant> c(1);
    weft::scope s;
    for (int i = 0; i < 40; ++i)
      s.go([&] {
        while (!stop) {
          weft::blocking([] { block(100 * us); });
          weft::yield();
          compute(60 * us);
        }
      });
    foreign_thread plain([&] {
      for (int i = 0; i < 5; ++i) {
        block(4 * ms);
        c.send(now());
      }
      c.close();
    });
    while (const auto sent = c.recv()) late = std::max(late, now() - *sent);
    stop = true;
    s.join();
    weft::blocking([&] { plain.join(); });
    expect_within(late, a_slice_and(500 * us), "a fiber that a plain thread woke is late");
  });
}

// It computes on after each wake, and is known for it: its next wake tells somebody. Those that yield keep the monitor
// up, which looks seldom by then. One wake may be late: what it woke may have gone another way than by a thief.
void wakes_and_computes_on_again() {
  weft::run({.maxprocs = 3}, [] {
    bool stop = false;
    weft::chan<instant> c;
    instant late = 0, latest = 0;
    int received = 0;
    weft::scope s;
    s.go([&] {
      while (!stop) {
        compute(100 * us);
        weft::yield();
      }
    });
    s.go([&] {
      while (const auto sent = c.recv()) {
        if (++received == 1) continue;
        late = std::max(late, std::min(latest, now() - *sent));
        latest = std::max(latest, now() - *sent);
      }
    });
    for (int i = 0; i < 8; ++i) {
      weft::sleep_for(200ms);
      c.send(now());
      compute(2 * seldom);
    }
    c.close();
    stop = true;
    s.join();
    expect_soon(late, 1'200 * us, "a fiber that was woken by one which computes on is late");
  });
}

// By their priorities: the one that computes keeps the CPU for a slice.
constexpr bounds beside_slices = {.ready = 30 * ms, .ready_beside_idle = 12 * ms};

// Both keep their threads, and the one that was woken for the second had slept in the poller: who fires the timer?
void timers_beside_those_that_compute() {
  weft::run({.maxprocs = 3 + static_cast<int>(choose(2))}, [] {
    weft::sleep_for(1100ms);
    instant late = 0;
    for (int i = 0; i < 8; ++i) {
      const instant time = 100 * us + static_cast<instant>(choose(400'000));
      weft::scope s;
      s.go([&] {
        const instant before = now();
        weft::sleep_for(ns(time));
        late = std::max(late, now() - before - time);
      });
      weft::sleep_for(50us);
      s.go([] { compute(2 * seldom); });
      compute(2 * seldom);
      s.join();
    }
    expect_soon(late, 1'200 * us, "a timer beside an idle P is late");
  });
}

// What a plain thread does while the only P is laid aside, as its fiber blocks alone.
template <class Wake>
void as_a_p_is_laid_aside(Wake wake) {
  weft::run({.maxprocs = 1}, [&] {
    for (int round = 0; round < 10; ++round) {
      instant begin = 0, late = 0;
      foreign_thread plain([&] {
        block(10 * ms + static_cast<instant>(choose(20'000'000)));
        wake(begin, late);
      });
      block(50 * ms);
      weft::blocking([&] { plain.join(); });
      if (current_plan().in_time()) expect_within(late, a_slice_and(20 * ms), "a wake beside one that blocks is late");
    }
  });
}

void woken_as_a_p_is_laid_aside() {
  as_a_p_is_laid_aside([](instant& begin, instant& late) {
    begin = now();
    auto woken = weft::spawn([&] { late = now() - begin; });
    woken.join();
  });
}

void timer_as_a_p_is_laid_aside() {
  as_a_p_is_laid_aside([](instant& begin, instant& late) {
    begin = now();
    (void)weft::after(1ms).recv();
    late = now() - begin;
  });
}

// In the heap of the P that is laid aside, and earlier than whoever sleeps in the poller has been told.
void timer_beside_one_that_blocks() {
  weft::run({.maxprocs = 2}, [] {
    weft::timer t(1h);
    instant began = 0, late = 0;
    weft::scope s;
    s.go([&] {
      (void)t.chan().recv();
      late = now() - began - 30 * ms;
    });
    weft::sleep_for(20ms);
    began = now();
    t.reset(30ms);
    block(90 * ms);
    s.join();
    if (current_plan().in_time()) expect_within(late, a_slice_and(20 * ms), "a timer beside one that blocks is late");
  });
}

constexpr program all[] = {
    {"woken_as_others_give_up", woken_as_others_give_up, beside_slices},
    {"several_are_woken", several_are_woken, beside_slices},
    {"wakes_and_computes_on_again", wakes_and_computes_on_again, beside_slices},
    {"left_over_by_yields", left_over_by_yields},
    {"timers_beside_those_that_compute", timers_beside_those_that_compute, beside_slices},
    {"yields_beside_the_global_queue", yields_beside_the_global_queue},
    {"woken_beside_urgent_fibers", woken_beside_urgent_fibers, load},
    {"woken_as_a_p_is_laid_aside", woken_as_a_p_is_laid_aside, load},
    {"timer_as_a_p_is_laid_aside", timer_as_a_p_is_laid_aside, load},
    {"timer_beside_one_that_blocks", timer_beside_one_that_blocks, load},
};

}  // namespace

constinit const std::span<const program> programs_of_wakes = all;

}  // namespace sim
