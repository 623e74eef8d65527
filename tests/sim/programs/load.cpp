// SPDX-License-Identifier: Apache-2.0
// What real load has shown: those that never wait, and those that wait for a moment only.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <weft/weft.hpp>

#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

enum class hog : std::uint8_t {
  pure,
  mutex,
  chan,
  try_chan,
  select,
  select_default,
  semaphore,
  wait_group,
  cancelled,
  sleep_zero,
  timer,
  blocking,
  go,
  yield,
};

// `started`: of hog::go, which are not over. Those that have lost their P start fibers faster than a P runs them, and
// with a hundred thousand of them the watch takes minutes.
void hog_turn(hog what, weft::mutex& m, weft::chan<int>& c, weft::semaphore& sem, weft::wait_group& wg, int& started) {
  switch (what) {
    case hog::pure:
      compute(50 * us);
      break;
    case hog::mutex:
      m.lock();
      m.unlock();
      break;
    case hog::chan:
      c.send(1);
      c.recv();
      break;
    case hog::try_chan:
      (void)c.try_send(1);
      (void)c.try_recv();
      break;
    case hog::select:
      weft::select(weft::on_send(c, 1), weft::on_recv(c, [](std::optional<int>) {}));
      break;
    case hog::select_default:
      weft::select(weft::on_recv(c, [](std::optional<int>) {}), weft::on_default());
      break;
    case hog::semaphore:
      sem.acquire();
      sem.release();
      break;
    case hog::wait_group:
      wg.add(1);
      wg.done();
      wg.wait();
      break;
    case hog::cancelled:
      (void)weft::this_fiber::cancelled();
      break;
    case hog::sleep_zero:
      weft::sleep_for(0s);
      break;
    case hog::timer: {
      weft::timer t(1h);
      t.stop();
      break;
    }
    case hog::blocking:
      weft::blocking([] {});
      break;
    case hog::go:
      if (started >= 2'000) break;
      ++started;
      weft::go([&started] { --started; });
      break;
    case hog::yield:
      weft::yield();
      break;
  }
  compute(2 * us);
}

// As many as P, 2 P or 4 P of them, and one that sleeps.
void hogs_of(hog what) {
  const int procs = up_to(2), many = procs * (1 << choose(3));
  int started = 0;
  weft::run({.maxprocs = procs}, [what, many, &started] {
    bool stop = false;
    lateness late;
    weft::scope s;
    for (int i = 0; i < many; ++i)
      s.go([&, what] {
        weft::mutex m;
        weft::chan<int> c(1);
        weft::semaphore sem(1);
        weft::wait_group wg;
        while (!stop) hog_turn(what, m, c, sem, wg, started);
      });
    for (int i = 0; i < 3; ++i) late.sleep(5 * ms);
    stop = true;
    s.join();
    late.expect_at_most(what == hog::yield ? 2 * a_slice_and(500 * us) : turns_of(many),
                        "a sleeper beside hogs is late");
  });
}

void hogs_pure() { hogs_of(hog::pure); }
void hogs_mutex() { hogs_of(hog::mutex); }
void hogs_chan() { hogs_of(hog::chan); }
void hogs_try() { hogs_of(hog::try_chan); }
void hogs_select() { hogs_of(hog::select); }
void hogs_default() { hogs_of(hog::select_default); }
void hogs_sem() { hogs_of(hog::semaphore); }
void hogs_wg() { hogs_of(hog::wait_group); }
void hogs_now() { hogs_of(hog::cancelled); }
void hogs_sleep0() { hogs_of(hog::sleep_zero); }
void hogs_timer() { hogs_of(hog::timer); }
void hogs_blocking() { hogs_of(hog::blocking); }
void hogs_go() { hogs_of(hog::go); }
void hogs_yield() { hogs_of(hog::yield); }

// They compute 50 µs at a time, plainly or in blocking(f); a ticker beside them.
void burners() {
  weft::run({.maxprocs = up_to(2)}, [] {
    bool stop = false;
    lateness late;
    const int many = up_to(8);
    const bool announced = maybe(2);
    weft::scope s;
    for (int i = 0; i < many; ++i)
      s.go([&] {
        while (!stop) {
          if (announced)
            weft::blocking([] { compute(50 * us); });
          else
            compute(50 * us);
          compute(5 * us);
        }
      });
    for (int i = 0; i < 10; ++i) late.sleep(ms);
    stop = true;
    s.join();
    late.expect_at_most(turns_of(many), "a ticker beside burners is late");
  });
}

// Threads that have had their share of the CPUs, and then none for long, hold every P.
void beside_those_without_a_cpu() {
  const int procs = up_to(2), many = procs * (1 + static_cast<int>(choose(2)));
  weft::run({.maxprocs = procs}, [many] {
    bool stop = false;
    lateness late;
    weft::scope s;
    for (int i = 0; i < many; ++i)
      s.go([&stop] {
        while (!stop) {
          compute(500 * us);
          wait_for_a_cpu(200 * ms);
        }
      });
    for (int i = 0; i < 3; ++i) late.sleep(5 * ms);
    stop = true;
    s.join();
    late.expect_at_most(turns_of(many), "a sleeper beside threads without a CPU is late");
  });
}

// Those that block 30 µs at a time with some µs of CPU between.
void short_blocking_calls() {
  weft::run({.maxprocs = up_to(2)}, [] {
    bool stop = false;
    lateness late;
    const int many = 2 + static_cast<int>(choose(8));
    const bool announced = maybe(2);
    weft::scope s;
    for (int i = 0; i < many; ++i)
      s.go([&] {
        while (!stop) {
          if (announced)
            weft::blocking([] { block(30 * us); });
          else
            block(30 * us);
          compute(5 * us);
        }
      });
    for (int i = 0; i < 20; ++i) late.sleep(ms);
    stop = true;
    s.join();
    late.expect_at_most(a_slice_and(500 * us), "a ticker beside short blocking calls is late");
  });
}

// A cold burst of announced calls, more than there are threads.
void burst_of_blocking_calls() {
  weft::run({.maxprocs = up_to(2)}, [] {
    bool stop = false;
    lateness late;
    weft::scope ticker;
    ticker.go([&] {
      while (!stop) late.sleep(ms);
    });
    weft::sleep_for(3ms);
    {
      weft::scope s;
      for (int i = 0; i < 100; ++i) s.go([] { weft::blocking([] { block(60 * ms); }); });
      s.join();
    }
    stop = true;
    ticker.join();
    late.expect_at_most(ms, "a ticker beside a burst of blocking calls is late");
  });
}

// Two are due at a time, behind many that have not begun and will each hold a P until the monitor has seen that.
void sleepers_beside_a_burst_that_blocks() {
  const int procs = up_to(2);
  weft::run({.maxprocs = procs}, [&] {
    bool stop = false;
    lateness late;
    weft::scope s;
    for (int i = 0; i < 2; ++i) {
      s.go([&] {
        while (!stop) late.sleep(ms - now() % ms);
      });
    }
    weft::sleep_for(3ms);
    for (int i = 0; i < 120 * procs; ++i) {
      s.go([&] {
        while (!stop) block(3 * ms);
      });
    }
    weft::sleep_for(60ms);
    stop = true;
    s.join();
    if (current_plan().in_time()) late.expect_at_most(5'500 * us, "sleepers beside a burst that blocks are late");
  });
}

// They are due in numbers, for some microseconds each, beside turns of milliseconds: each has a turn in a round of these.
void many_sleepers_beside_long_turns() {
  constexpr int sleepers = 40;
  weft::run({.maxprocs = 1}, [&] {
    bool stop = false;
    lateness late;
    weft::scope s;
    for (int i = 0; i < 4; ++i) {
      s.go([&] {
        while (!stop) {
          compute(3 * ms);
          weft::yield();
        }
      });
    }
    for (int i = 0; i < sleepers; ++i) {
      s.go([&] {
        for (int k = 0; k < 5; ++k) {
          late.sleep(ms);
          compute(5 * us);
        }
      });
    }
    weft::sleep_for(100ms);
    stop = true;
    s.join();
    if (current_plan().in_time())
      late.expect_at_most(2 * a_slice_and(4 * 3 * ms), "many that sleep beside long turns are late");
  });
}

// One that computes on after it has ended a slice without its P: the next one is a burner, too.
void mark_of_a_burner_stays() {
  weft::run({.maxprocs = up_to(2)}, [] {
    bool stop = false;
    lateness gap[2];
    weft::scope s;
    for (lateness& each : gap)
      s.go([&] {
        while (!stop) {
          weft::yield();
          compute(5 * us);
          each.turn();
        }
      });
    const unsigned how = choose(3);
    for (int i = 0; i < 3; ++i) {
      weft::spawn([how] {
        compute(100 * ms);
        if (how == 1) weft::yield();
        if (how == 2) weft::sleep_for(1ms);
      }).join();
    }
    stop = true;
    s.join();
    for (const lateness& each : gap) each.expect_at_most(20 * ms, "a yielding fiber beside a burner is late");
  });
}

// A fiber that enters the runtime all the time without parking or waking anybody.
void entries_keep_the_p() {
  const int procs = up_to(2);
  weft::run({.maxprocs = procs}, [procs] {
    bool stop = false;
    std::vector<lateness> gap(static_cast<std::size_t>(procs));
    weft::scope s;
    for (lateness& each : gap)
      s.go([&] {
        while (!stop) {
          weft::yield();
          compute(5 * us);
          each.turn();
        }
      });
    weft::sleep_for(2ms);
    const unsigned how = choose(3);
    weft::spawn([how] {
      const instant end = now() + 120 * ms;
      weft::timer t(1h);
      weft::chan<int> c(4);
      while (now() < end) {
        if (how == 0) t.reset(1h);
        if (how == 1) {
          (void)c.try_send(1);
          (void)c.try_recv();
        }
        if (how == 2) weft::with_timeout(1h, [] {});
        compute(5 * us);
      }
    }).join();
    stop = true;
    s.join();
    for (const lateness& each : gap) each.expect_at_most(22 * ms, "a yielding fiber beside entries is late");
  });
}

// Those that yield each so often; a sleep of 1 ms beside them.
void sleeper_beside_slices() {
  weft::run({.maxprocs = 1}, [] {
    bool stop = false;
    lateness late;
    weft::scope s;
    for (int i = 0; i < 2; ++i)
      s.go([&] {
        while (!stop) {
          compute(ms);
          weft::yield();
        }
      });
    for (int i = 0; i < 3; ++i) late.sleep(ms);
    stop = true;
    s.join();
    late.expect_at_most(a_slice_and(1'500 * us), "a sleeper beside slices is late");
  });
}

// Four that yield beside those that come back from blocking(f) without a P.
void urgent_fibers_starve_others() {
  weft::run({.maxprocs = up_to(2)}, [] {
    bool stop = false;
    lateness gap[4];
    int turns = 0;
    const bool yields = maybe(2);
    weft::scope s;
    for (lateness& each : gap)
      s.go([&] {
        while (!stop) {
          weft::yield();
          compute(us);
          ++turns;
          each.turn();
        }
      });
    for (int i = 0; i < 10; ++i)
      s.go([&] {
        while (!stop) {
          weft::blocking([] { block(200 * us); });
          if (yields)
            weft::yield();
          else
            weft::sleep_for(1us);
        }
      });
    weft::sleep_for(40ms);
    stop = true;
    s.join();
    for (const lateness& each : gap)
      each.expect_at_most(a_slice_and(500 * us), "a yielding fiber beside blocking ones is late");
    if (current_plan().in_time()) expect(turns > 500, "those that yield have a fair share");
  });
}

// The waker computes on; other Ps are idle.
void wake_and_compute_on() {
  weft::run({.maxprocs = 4}, [] {
    weft::chan<instant> c;
    instant worst_delay = 0;
    weft::scope s;
    s.go([&] {
      while (const auto sent = c.recv()) worst_delay = std::max(worst_delay, now() - *sent);
    });
    for (int i = 0; i < 4; ++i) {
      weft::sleep_for(ns(ms));
      c.send(now());
      compute(50 * ms);
    }
    c.close();
    s.join();
    expect_within(worst_delay, 5 * current_plan().slice + 2 * ms, "a woken fiber beside idle Ps is late");
  });
}

// They lie in the ring, apart from each other, when its turns become long.
void sleepers_when_turns_become_long() {
  weft::run({.maxprocs = 1}, [&] {
    bool stop = false, record = false;
    instant turn = 20 * us;
    lateness late;
    weft::scope s;
    for (int i = 0; i < 30; ++i)
      s.go([&] {
        while (!stop) {
          compute(turn);
          weft::yield();
        }
      });
    for (int i = 0; i < 8; ++i)
      s.go([&] {
        while (!stop) {
          const instant d = 150 * us + static_cast<instant>(choose(250'000));
          const instant before = now();
          weft::sleep_for(ns(d));
          if (record) late.add(now() - before - d);
          compute(3 * us);
        }
      });
    weft::sleep_for(30ms);
    turn = 5 * ms;
    const instant b = now();
    while (now() - b < 500 * ms) weft::sleep_for(20ms);
    record = true;
    const instant c = now();
    while (now() - c < 500 * ms) weft::sleep_for(20ms);
    stop = true;
    s.join();
    if (current_plan().in_time())
      late.expect_at_most(50 * ms, "sleepers are late half a second after turns became long");
  });
}

// The same where turns stay as they are, and the ring becomes long.
void sleepers_when_the_ring_becomes_long() {
  weft::run({.maxprocs = 1}, [&] {
    bool stop = false, record = false;
    lateness late;
    weft::scope s;
    const auto yielders = [&](int n) {
      for (int i = 0; i < n; ++i)
        s.go([&] {
          while (!stop) {
            compute(300 * us);
            weft::yield();
          }
        });
    };
    yielders(6);
    for (int i = 0; i < 6; ++i)
      s.go([&] {
        while (!stop) {
          const instant d = 500 * us + static_cast<instant>(choose(1'000'000));
          const instant before = now();
          weft::sleep_for(ns(d));
          if (record) late.add(now() - before - d);
          compute(3 * us);
        }
      });
    weft::sleep_for(30ms);
    yielders(200);
    const instant b = now();
    while (now() - b < 1000 * ms) weft::sleep_for(20ms);
    record = true;
    const instant c = now();
    while (now() - c < 1000 * ms) weft::sleep_for(20ms);
    stop = true;
    s.join();
    if (current_plan().in_time()) late.expect_at_most(40 * ms, "sleepers are late a second after the ring became long");
  });
}

// As many_sleepers_beside_long_turns, and some that come back from blocking(f) and compute as long.
void many_sleepers_beside_urgent_turns() {
  weft::run({.maxprocs = 1}, [&] {
    bool stop = false;
    lateness late;
    weft::scope s;
    for (int i = 0; i < 4; ++i)
      s.go([&] {
        while (!stop) {
          compute(3 * ms);
          weft::yield();
        }
      });
    for (int i = 0; i < 6; ++i)
      s.go([&] {
        while (!stop) {
          weft::blocking([] { block(2 * ms); });
          weft::yield();
          compute(3 * ms);
        }
      });
    for (int i = 0; i < 40; ++i)
      s.go([&] {
        for (int k = 0; k < 5; ++k) {
          late.sleep(ms);
          compute(5 * us);
        }
      });
    weft::sleep_for(200ms);
    stop = true;
    s.join();
    if (current_plan().in_time())
      late.expect_at_most(2 * a_slice_and(4 * 3 * ms + 6 * 3 * ms), "many that sleep beside urgent turns are late");
  });
}

// More than the ring has room for are due at a time, beside more than it could hold.
void herd_beside_many_yielders() {
  weft::run({.maxprocs = 1}, [&] {
    bool stop = false;
    lateness late;
    weft::scope s;
    for (int i = 0; i < 1500; ++i)
      s.go([&] {
        while (!stop) {
          compute(10 * us);
          weft::yield();
        }
      });
    for (int i = 0; i < 300; ++i)
      s.go([&] {
        while (!stop) {
          late.sleep(10 * ms - now() % (10 * ms));
        }
      });
    weft::sleep_for(100ms);
    stop = true;
    s.join();
    if (current_plan().in_time()) late.expect_at_most(a_slice_and(30 * ms), "a herd beside many yielders is late");
  });
}

// Those that none computes beside: a few turns, and a thread's slice.
constexpr bounds beside_short_turns = {.ready = 4 * ms, .ready_beside_idle = 3 * ms, .overdue = 2 * ms};

constexpr program all[] = {
    {"hogs_pure", hogs_pure, load},
    {"hogs_mutex", hogs_mutex, load},
    {"hogs_chan", hogs_chan, load},
    {"hogs_try", hogs_try, load},
    {"hogs_select", hogs_select, load},
    {"hogs_default", hogs_default, load},
    {"hogs_sem", hogs_sem, load},
    {"hogs_wg", hogs_wg, load},
    {"hogs_now", hogs_now, load},
    {"hogs_sleep0", hogs_sleep0, load},
    {"hogs_timer", hogs_timer, load},
    {"hogs_blocking", hogs_blocking, load},
    {"hogs_go", hogs_go, load},
    {"hogs_yield", hogs_yield, load},
    {"burners", burners, load},
    {"beside_those_without_a_cpu", beside_those_without_a_cpu, load},
    {"short_blocking_calls", short_blocking_calls, beside_short_turns},
    {"burst_of_blocking_calls", burst_of_blocking_calls, {.ready = 7 * ms, .ready_beside_idle = 3 * ms, .overdue = ms}},
    {"sleepers_beside_a_burst_that_blocks",
     sleepers_beside_a_burst_that_blocks,
     {.ready = 200 * ms, .ready_beside_idle = 8 * ms, .overdue = 20 * ms}},
    {"many_sleepers_beside_long_turns",
     many_sleepers_beside_long_turns,
     {.ready = 100 * ms, .ready_beside_idle = 8 * ms, .overdue = 20 * ms}},
    {"mark_of_a_burner_stays", mark_of_a_burner_stays, load},
    {"entries_keep_the_p", entries_keep_the_p, load},
    {"sleeper_beside_slices", sleeper_beside_slices, {.ready = 2 * ms, .ready_beside_idle = ms, .overdue = 4'500 * us}},
    {"urgent_fibers_starve_others", urgent_fibers_starve_others, beside_short_turns},
    {"sleepers_when_turns_become_long",
     sleepers_when_turns_become_long,
     {.ready = 300 * ms, .ready_beside_idle = 3 * ms, .overdue = 30 * ms}},
    {"sleepers_when_the_ring_becomes_long",
     sleepers_when_the_ring_becomes_long,
     {.ready = 300 * ms, .ready_beside_idle = 3 * ms, .overdue = 30 * ms}},
    {"many_sleepers_beside_urgent_turns",
     many_sleepers_beside_urgent_turns,
     {.ready = 300 * ms, .ready_beside_idle = 3 * ms, .overdue = 30 * ms}},
    {"herd_beside_many_yielders",
     herd_beside_many_yielders,
     {.ready = 300 * ms, .ready_beside_idle = 3 * ms, .overdue = 30 * ms}},
    {"wake_and_compute_on", wake_and_compute_on, {.ready = 18 * ms, .ready_beside_idle = 18 * ms, .overdue = ms}},
};

}  // namespace

constinit const std::span<const program> programs_of_load = all;

}  // namespace sim
