// SPDX-License-Identifier: Apache-2.0
// Who has turns, and how soon, where these are long or short, and one waits for another's.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

// The same two all the time, by `runnext`, beside two others: each pair has its share, however long its turns are.
void unequal_pairs() {
  weft::run({.maxprocs = 1}, [] {
    bool stop = false;
    instant spent = 0;
    weft::scope s;
    for (const instant turn : {300 * us, instant{0}}) {
      const weft::chan<int> there, back;
      s.go([&, there, back, turn] {
        while (!stop) {
          compute(turn);
          spent += turn;
          there.send(1);
          back.recv();
        }
        there.close();
      });
      s.go([&, there, back, turn] {
        while (there.recv()) {
          compute(turn);
          spent += turn;
          back.send(1);
        }
      });
    }
    weft::sleep_for(30ms);  // until the monitor looks seldom
    const instant begin = now(), before = spent;
    weft::sleep_for(50ms);
    const instant long_ones = spent - before, short_ones = now() - begin - long_ones;
    stop = true;
    s.join();
    if (!current_plan().in_time()) return;
    expect(long_ones <= 2 * short_ones, "the pair with short turns has less than half of the other's time");
    expect(short_ones <= 2 * long_ones, "the pair with long turns has less than half of the other's time");
  });
}

// Those that a plain thread wakes, so many that the global queue is never empty. Each pick is time to look around.
void beside_many_in_the_global_queue() {
  weft::run({.maxprocs = 1}, [] {
    constexpr int many = 300;
    bool stop = false;
    std::vector<weft::chan<int>> doors(many);
    std::vector<int> turns(many);
    lateness gap[2], ticks;
    weft::scope s;
    for (std::size_t i = 0; i < many; ++i)
      s.go([&, i] {
        while (doors[i].recv()) {
          ++turns[i];
          compute(500 * us);
        }
      });
    for (lateness& each : gap)
      s.go([&] {
        while (!stop) {
          weft::yield();
          compute(50 * us);
          each.turn();
        }
      });
    foreign_thread plain([&] {
      while (!stop) {
        for (const weft::chan<int>& c : doors) (void)c.try_send(1);
        block(5 * ms);
      }
      for (const weft::chan<int>& c : doors) c.close();
    });
    for (int i = 0; i < 100; ++i) ticks.sleep(4 * ms);
    stop = true;
    weft::blocking([&] { plain.join(); });
    s.join();
    // A batch of the global queue, 128 of them, goes ahead where those that yield have had their turns.
    ticks.expect_at_most(ms, "a ticker beside the global queue is late");
    for (const lateness& each : gap) each.expect_at_most(110 * ms, "a yielding fiber beside the global queue is late");
    if (current_plan().in_time())
      for (const int n : turns) expect(n > 0, "one of the global queue has had no turn");
  });
}

// One is always due when another has had its turn, and goes ahead of the ring: but not for ever.
void sleepers_beside_yielders() {
  weft::run({.maxprocs = 1}, [] {
    bool stop = false;
    lateness gap[2];
    const int many = 2 + static_cast<int>(choose(8));
    const instant time = (many - 2) * 300 * us + 10 * us + static_cast<instant>(choose(280'000));
    weft::scope s;
    for (int i = 0; i < many; ++i)
      s.go([&, time] {
        while (!stop) {
          weft::sleep_for(ns(time));
          compute(300 * us);
        }
      });
    for (lateness& each : gap)
      s.go([&] {
        while (!stop) {
          weft::yield();
          compute(50 * us);
          each.turn();
        }
      });
    weft::sleep_for(50ms);
    stop = true;
    s.join();
    for (const lateness& each : gap) each.expect_at_most(5 * ms, "a yielding fiber beside sleepers is late");
  });
}

// Whoever was due before has its turn before. They sleep for longer than it takes to lie down. Some are passed if the ring
// has become slow with them in it: the average turn may fall below the border for a moment.
void sleepers_in_their_order() {
  weft::run({.maxprocs = 1}, [] {
    bool stop = false;
    int passed = 0;
    const instant turn = maybe(2) ? 200 * us : ms;
    weft::scope others;
    for (int i = 0; i < 6; ++i)
      others.go([&] {
        while (!stop) {
          compute(turn);
          weft::yield();
        }
      });
    weft::sleep_for(10ms);
    auto last = weft::clock::now();
    weft::scope s;
    for (int i = 0; i < 8; ++i)
      s.go([&] {
        for (int k = 0; k < 12; ++k) {
          const auto due = weft::clock::now() + 300us + ns(static_cast<instant>(choose(1'000'000)));
          weft::sleep_until(due);
          if (due < last) ++passed;
          last = due;
        }
      });
    s.join();
    stop = true;
    others.join();
    if (current_plan().in_time())
      expect(passed <= (turn == ms ? 8 : 0), "one that slept was passed by one that was due later");
  });
}

// It goes on at once, by `runnext`, as whoever wakes it parks: only those that do so for long wait for the ring. These
// give way to it after 0.1 ms each time. Now and then they give way sooner: the monitor has asked for a look just as
// they began.
void handed_over_beside_a_ring() {
  weft::run({.maxprocs = 1}, [] {
    bool stop = false;
    int late = 0;
    const auto note = [&late](instant sent) { late += now() - sent > 100 * us ? 1 : 0; };
    weft::chan<instant> there, back;
    weft::scope s;
    s.go([&] {
      while (!stop) {
        compute(ms);
        weft::yield();
      }
    });
    s.go([&] {
      while (const auto sent = there.recv()) {
        note(*sent);
        compute(2 * us);
        back.send(now());
      }
    });
    for (int i = 0; i < 40; ++i) {
      weft::yield();
      for (int k = 0; k < 20; ++k) {
        there.send(now());
        note(*back.recv());
        compute(2 * us);
      }
    }
    there.close();
    stop = true;
    s.join();
    if (current_plan().in_time()) expect(late <= 3, "fibers in runnext are late");
  });
}

// Turns of 0.2 ms, of which the monitor has nothing to do for so long that it looks seldom.
void sleeper_beside_calm_ones() {
  weft::run({.maxprocs = 1}, [] {
    bool stop = false;
    lateness late;
    weft::scope s;
    for (int i = 0; i < 2; ++i)
      s.go([&] {
        while (!stop) {
          compute(200 * us);
          weft::yield();
        }
      });
    weft::sleep_for(200ms);
    for (int i = 0; i < 20; ++i) late.sleep(ms);
    stop = true;
    s.join();
    late.expect_at_most(400 * us, "a sleeper beside those that have long been calm is late");
  });
}

// What a pick costs, in steps, where picks come in bursts and the P is idle in between: none looks around for that.
void bursts_of_picks() {
  weft::run({.maxprocs = 2}, [] {
    bool stop = false;
    weft::scope s;
    s.go([&] {
      while (!stop) compute(50 * us);
    });
    constexpr int turns = 20;
    std::uint64_t least = ~std::uint64_t{0};
    for (int i = 0; i < 30; ++i) {
      weft::sleep_for(2ms);
      weft::chan<int> there, back;
      weft::scope pair;
      pair.go([=] {
        while (there.recv()) back.send(1);
      });
      there.send(1);
      back.recv();
      const std::uint64_t before = steps_of_thread();
      const task* const thread = self();
      for (int k = 0; k < turns; ++k) {
        there.send(1);
        back.recv();
      }
      if (thread == self()) least = std::min(least, steps_of_thread() - before);
      there.close();
      pair.join();
    }
    stop = true;
    s.join();
    if (current_plan().in_time()) expect(least < 3'000, "a pick in a burst takes too many steps");
  });
}

// It sleeps in the kernel for most of the time, and enters the runtime in between without ever giving up its P.
void short_calls_and_entries() {
  weft::run({.maxprocs = 1}, [] {
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
    for (int i = 0; i < 4; ++i) {
      weft::sleep_for(3ms);
      weft::spawn([] {
        weft::timer t(1h);
        const instant end = now() + 30 * ms;
        while (now() < end) {
          block(30 * us);
          t.reset(1h);
          compute(2 * us);
        }
      }).join();
    }
    stop = true;
    s.join();
    for (const lateness& each : gap) each.expect_at_most(6 * ms, "a yielding fiber beside short calls is late");
  });
}

// None of them burns: the P stays where it is, and no thread is started to go on with it.
void turns_of_half_a_slice() {
  weft::run({.maxprocs = 1}, [] {
    bool stop = false;
    weft::scope s;
    for (int i = 0; i < 2; ++i)
      s.go([&] {
        while (!stop) {
          compute(6 * ms);
          weft::yield();
        }
      });
    weft::sleep_for(100ms);
    const unsigned others = other_threads();
    stop = true;
    s.join();
    if (current_plan().in_time()) expect(others == 1, "a P was taken from one that yields in time");
  });
}

// Threads that have nothing to do with the runtime leave it less than half of a CPU.
void burner_among_threads() {
  weft::run({.maxprocs = 1}, [] {
    constexpr int many = 8;
    bool stop = false;
    std::vector<foreign_thread> threads;
    for (int i = 0; i < many; ++i)
      threads.emplace_back([&] {
        while (!stop) compute(50 * us);
      });
    lateness gap;
    weft::scope s;
    s.go([&] {
      while (!stop) {
        weft::yield();
        compute(5 * us);
        gap.turn();
      }
    });
    weft::sleep_for(2ms);
    weft::spawn([] { compute(60 * ms); }).join();
    stop = true;
    s.join();
    weft::blocking([&] {
      for (foreign_thread& t : threads) t.join();
    });
    gap.expect_at_most(10 * ms + 4 * many * current_plan().slice, "a yielding fiber beside threads is late");
  });
}

// Somebody is due at each visit to the loop: one that sleeps for a moment, again and again, and then two by turns.
void somebody_is_always_due() {
  for (const auto& [sleepers, work] : {std::pair{1, instant{0}}, std::pair{2, instant{ms}}}) {
    weft::run({.maxprocs = 1}, [sleepers, work] {
      bool stop = false;
      weft::scope s;
      for (int i = 0; i < sleepers; ++i)
        s.go([&, work] {
          while (!stop) {
            compute(work);
            weft::sleep_for(work == 0 ? 1ns : 100us);
          }
        });
      weft::sleep_for(10ms);
      foreign_thread plain([&] { weft::go([&] { stop = true; }); });
      weft::blocking([&] { plain.join(); });
      s.join();
    });
  }
}

// Things go round, and each turn is long enough for the monitor to ask for a look: the global queue has its turns, too.
void long_stages_beside_the_global_queue() {
  weft::run({.maxprocs = 1}, [] {
    constexpr std::size_t size = 3;
    bool stop = false, closed = false;
    std::vector<weft::chan<int>> in;
    for (std::size_t i = 0; i < size; ++i) in.emplace_back(2);
    weft::scope s;
    for (std::size_t i = 0; i < size; ++i)
      s.go([&, i] {
        while (in[i].recv()) {
          compute(5 * ms);
          if (!stop)
            in[(i + 1) % size].send(1);
          else if (!std::exchange(closed, true))
            for (auto& each : in) each.close();
        }
      });
    in[0].send(1);
    in[1].send(1);
    weft::sleep_for(20ms);
    foreign_thread plain([&] { weft::go([&] { stop = true; }); });
    weft::blocking([&] { plain.join(); });
    s.join();
  });
}

constexpr bounds turns_of_some = {.ready = 8 * ms, .overdue = 6 * ms};
constexpr bounds queue_of_many = {.ready = 340 * ms, .overdue = ms};
constexpr bounds ring_of_many = {.ready = 340 * ms, .overdue = 6 * ms};  // the monitor waits for another's slice
constexpr bounds burner = {.ready = 120 * ms, .ready_beside_idle = 6 * ms, .overdue = 80 * ms};

// It parks without its P, so what its timer makes ready goes to the global queue, and is no turn of the ring's.
void a_ticker_that_blocks_beside_a_long_ring() {
  weft::run({.maxprocs = 1}, [] {
    bool over = false;
    weft::scope s;
    for (int i = 0; i < 80; ++i) {
      s.go([&] {
        while (!over) {
          compute(250 * us);
          weft::yield();
        }
      });
    }
    lateness late;
    s.go([&] {
      for (int i = 0; i < 10; ++i) {
        block(300 * us);
        for (int k = 0; k < 3; ++k) late.sleep(200 * us);
      }
      over = true;
    });
    s.join();
    late.expect_at_most(a_slice_and(4 * ms), "a ticker that has lost its P waits for all of a ring");
  });
}

constexpr program all[] = {
    {"unequal_pairs", unequal_pairs, turns_of_some},
    {"beside_many_in_the_global_queue", beside_many_in_the_global_queue, queue_of_many},
    {"sleepers_beside_yielders", sleepers_beside_yielders, turns_of_some},
    {"sleepers_in_their_order", sleepers_in_their_order, turns_of_some},
    {"handed_over_beside_a_ring", handed_over_beside_a_ring, turns_of_some},
    {"sleeper_beside_calm_ones", sleeper_beside_calm_ones, turns_of_some},
    {"bursts_of_picks", bursts_of_picks, turns_of_some},
    {"a_ticker_that_blocks_beside_a_long_ring", a_ticker_that_blocks_beside_a_long_ring, ring_of_many},
    {"turns_of_half_a_slice", turns_of_half_a_slice, {.ready = 20 * ms, .overdue = 10 * ms}},
    {"short_calls_and_entries", short_calls_and_entries, turns_of_some},
    {"burner_among_threads", burner_among_threads, burner},
    {"somebody_is_always_due", somebody_is_always_due, turns_of_some},
    {"long_stages_beside_the_global_queue",
     long_stages_beside_the_global_queue,
     {.ready = 60 * ms, .overdue = 30 * ms}},
};

}  // namespace

constinit const std::span<const program> programs_of_turns = all;

}  // namespace sim
