// SPDX-License-Identifier: Apache-2.0
//
// A runtime in which nothing runs sleeps, and wakes for what comes from a timer, a fiber or a plain thread.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;

class idle : public testing::Test {
  weft_test::watchdog watchdog_{60s};
};

long switches() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nvcsw;
}

// A tick of a millisecond would be a thousand; the monitor's rounds are ten thousand.
TEST_F(idle, an_idle_second_costs_few_context_switches) {
  weft::run({.maxprocs = 4}, [] {
    std::vector<weft::fiber<void>> parked;
    weft::chan<void> gate;
    for (int i = 0; i < 100; ++i) parked.push_back(weft::spawn([gate] { gate.recv(); }));
    weft_test::until_waiting(100);
    weft::sleep_for(50ms);  // searchers give up
    const long before = switches();
    weft::sleep_for(1s);
    EXPECT_LT(switches() - before, 200);
    gate.close();
    for (auto& f : parked) f.join();
  });
}

TEST_F(idle, what_plain_threads_start_wakes_it_each_time) {
  weft::run({.maxprocs = 4}, [] {
    weft::chan<int> c;
    std::thread thread([c] {
      for (int i = 0; i < 1000; ++i) {
        auto f = weft::spawn([c, i] { c.send(i); });
        f.join();
      }
      c.close();
    });
    int next = 0;
    for (int v : c) EXPECT_EQ(v, next++);
    EXPECT_EQ(next, 1000);
    weft::blocking([&] { thread.join(); });
  });
}

TEST_F(idle, every_timer_wakes_it_whatever_is_started_meanwhile) {
  weft::run({.maxprocs = 4}, [] {
    for (int i = 0; i < 300; ++i) {
      // The later one is what it sleeps for when the earlier one comes, from a thread without a P.
      auto later = weft::spawn([] { weft::sleep_for(2ms); });
      std::thread earlier([] { weft::spawn([] { weft::sleep_for(100us); }).join(); });
      weft::blocking([&] { earlier.join(); });
      later.join();
    }
  });
}

TEST_F(idle, the_width_may_shrink_and_grow_under_sleepers) {
  weft::run({.maxprocs = 8}, [] {
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> asleep{0}, woken{0};
      weft::scope s;
      for (int i = 0; i < 64; ++i) {
        s.go([&, i] {
          asleep.fetch_add(1);
          weft::sleep_for(std::chrono::microseconds(500 + 10 * i));
          woken.fetch_add(1);
        });
      }
      weft_test::until([&] { return asleep.load() == 64; });
      EXPECT_EQ(weft::set_maxprocs(1), 8);
      EXPECT_EQ(weft::maxprocs(), 1);
      weft::sleep_for(300us);
      EXPECT_EQ(weft::set_maxprocs(8), 1);
      s.join();
      ASSERT_EQ(woken.load(), 64);
    }
  });
}

TEST_F(idle, a_wider_runtime_uses_its_width) {
  weft::run({.maxprocs = 1}, [] {
    constexpr int width = 6;
    weft::set_maxprocs(width);
    // Each spins until all have begun: needs so many threads at the same time.
    std::atomic<int> begun{0};
    weft::scope s;
    for (int i = 0; i < width; ++i) {
      s.go([&] {
        begun.fetch_add(1);
        while (begun.load() < width) {
        }
      });
    }
    s.join();
    EXPECT_EQ(begun.load(), width);
  });
}

}  // namespace
