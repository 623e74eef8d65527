// SPDX-License-Identifier: Apache-2.0
// Timers, and the Ps that they lie in.
#include <chrono>

#include <weft/weft.hpp>

#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

void timers() {
  weft::run({.maxprocs = up_to(3)}, [] {
    weft::scope s;
    for (int i = 0; i < 10; ++i)
      s.go([i] {
        for (int k = 0; k < 10; ++k) {
          weft::sleep_for(std::chrono::microseconds(10 + 37 * i));
          if (maybe(4)) compute(3 * us);
        }
      });
    weft::chan<int> nobody_sends;
    for (int k = 0; k < 5; ++k) expect(!nobody_sends.recv_for(100us).value, "there is nothing to receive");
    s.join();
  });
}

void timers_of_all_kinds() {
  weft::run({.maxprocs = up_to(3)}, [] {
    weft::ticker tick(50us);
    for (int i = 0; i < 3; ++i) expect(tick.chan().recv().has_value(), "a ticker ticks");
    tick.stop();
    int called = 0;
    weft::event done;
    weft::timer call(30us, [&] {
      ++called;
      done.set();
    });
    done.wait();
    weft::timer stopped(1h);
    expect(stopped.stop(), "a timer that has not fired can be stopped");
    stopped.reset(20us);
    expect(stopped.chan().recv().has_value(), "a timer that was set again fires");
    expect(weft::after(20us).recv().has_value(), "after the time it fires");
    expect(called == 1, "a timer calls once");
  });
}

// Plain threads sleep, and start timers, while every P has enough to do.
void timers_of_plain_threads() {
  const int procs = up_to(2);
  const instant turn = choose(3) * 40 * us;
  weft::run({.maxprocs = procs}, [procs, turn] {
    bool stop = false;
    lateness late[2];
    weft::scope s;
    for (int i = 0; i < 2 * procs; ++i)
      s.go([&stop, turn] {
        while (!stop) {
          compute(turn);
          weft::yield();
        }
      });
    foreign_thread sleeper([&late] {
      for (int i = 0; i < 4; ++i) late[0].sleep(ms);
    });
    foreign_thread setter([&late] {
      for (int i = 0; i < 4; ++i) {
        const instant begin = now();
        weft::timer t(ns(700 * us));
        t.chan().recv();
        late[1].add(now() - begin - 700 * us);
      }
    });
    weft::blocking([&] {
      sleeper.join();
      setter.join();
    });
    stop = true;
    s.join();
    for (const lateness& each : late) each.expect_at_most(4 * a_slice_and(ms), "a plain thread's timer is late");
  });
}

// Ps come and go, with timers and fibers in them.
void width_changes() {
  weft::run({.maxprocs = 2}, [] {
    weft::scope s;
    bool stop = false;
    for (int i = 0; i < 4; ++i)
      s.go([&] {
        while (!stop) {
          weft::yield();
          if (maybe(10)) weft::sleep_for(30us);
        }
      });
    for (int i = 0; i < 6; ++i) {
      weft::set_maxprocs(up_to(4));
      weft::sleep_for(100us);
    }
    stop = true;
    s.join();
  });
}

// A timer lies in a P beyond the width, and everybody is busy.
void timers_of_a_retired_p() {
  weft::run({.maxprocs = 4}, [] {
    weft::scope s;
    bool stop = false;
    lateness late[6];
    for (lateness& each : late)
      s.go([&] {
        compute(static_cast<instant>(choose(50)) * us);
        each.sleep(2 * ms);
      });
    weft::sleep_for(ns(200 * us));
    weft::set_maxprocs(1);
    for (int i = 0; i < 2; ++i)
      s.go([&] {
        while (!stop) {
          compute(20 * us);
          weft::yield();
        }
      });
    weft::sleep_for(20ms);
    stop = true;
    s.join();
    for (const lateness& each : late) each.expect_at_most(30 * ms, "a timer of a retired P is late");
  });
}

constexpr program all[] = {
    {"timers", timers},
    {"timers_of_all_kinds", timers_of_all_kinds},
    {"width_changes", width_changes},
    {"timers_of_plain_threads", timers_of_plain_threads},
    {"timers_of_a_retired_p", timers_of_a_retired_p},
};

}  // namespace

constinit const std::span<const program> programs_of_timers = all;

}  // namespace sim
