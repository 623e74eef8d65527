// SPDX-License-Identifier: Apache-2.0
//
// A sleep is never too short, ends for every duration that can be written down, and holds up nobody else.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/undisturbed.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::undisturbed;
using weft_test::until_waiting;

static_assert(weft::clock::is_steady);

TEST(sleep, is_never_too_short) {
  weft::run([] {
    for (const std::chrono::nanoseconds d : {1ns, 1000ns, 500000ns, 999999ns, 1100000ns, 5000000ns}) {
      const auto before = weft::clock::now();
      weft::sleep_for(d);
      EXPECT_GE(weft::clock::now() - before, d);
      const auto deadline = weft::clock::now() + d;
      weft::sleep_until(deadline);
      EXPECT_GE(weft::clock::now(), deadline);
    }
  });
}

TEST(sleep, of_no_length_returns) {
  weft::run([] {
    weft::sleep_for(0s);
    weft::sleep_for(-1h);
    weft::sleep_for(std::chrono::nanoseconds::min());
    weft::sleep_for(std::chrono::hours::min());
    weft::sleep_until(weft::clock::now() - 1s);
    weft::sleep_until(weft::clock::time_point::min());
    weft::sleep_until(weft::clock::time_point{});
  });
}

TEST(sleep, takes_every_kind_of_duration) {
  weft::run([] {
    const auto before = weft::clock::now();
    weft::sleep_for(std::chrono::duration<double>(0.002));
    weft::sleep_for(std::chrono::duration<int, std::milli>(1));
    weft::sleep_for(std::chrono::duration<float, std::micro>(500.5F));
    EXPECT_GE(weft::clock::now() - before, 3500us);
  });
}

TEST(sleep, of_practically_for_ever_does_not_wrap) {
  weft::run([] {
    std::vector<weft::fiber<void>> sleepers;
    sleepers.push_back(weft::spawn([] { weft::sleep_for(std::chrono::nanoseconds::max()); }));
    sleepers.push_back(weft::spawn([] { weft::sleep_for(std::chrono::hours::max()); }));
    sleepers.push_back(weft::spawn([] { weft::sleep_for(std::chrono::duration<double>(1e300)); }));
    sleepers.push_back(weft::spawn([] { weft::sleep_until(weft::clock::time_point::max()); }));
    until_waiting(sleepers.size());
    weft::sleep_for(1ms);
    for (auto& sleeper : sleepers) {
      EXPECT_FALSE(sleeper.done());
      sleeper.cancel();
      EXPECT_THROW(sleeper.join(), weft::fiber_cancelled);
    }
  });
}

TEST(sleep, ends_in_the_order_of_the_deadlines) {
  weft::run({.maxprocs = 1}, [] {
    const auto order = undisturbed([] {
      std::array<int, 4> awake{};
      std::atomic<unsigned> count = 0;
      const auto base = weft::clock::now();
      weft::scope s;
      for (const int ms : {60, 20, 80, 40}) {
        s.go([&, ms] {
          weft::sleep_until(base + std::chrono::milliseconds(ms));
          awake[count++] = ms;
        });
      }
      s.join();
      return awake;
    });
    EXPECT_EQ(order, (std::array{20, 40, 60, 80}));
  });
}

TEST(sleep, holds_up_nobody_else) {
  weft::run({.maxprocs = 1}, [] {
    auto sleeper = weft::spawn([] { weft::sleep_for(1h); });
    until_waiting(1);
    weft::chan<int> c;
    auto echo = weft::spawn([c] {
      for (int i = 0; i < 100; ++i) c.send(i);
    });
    for (int i = 0; i < 100; ++i) EXPECT_EQ(c.recv(), i);
    echo.join();
    EXPECT_FALSE(sleeper.done());
    sleeper.cancel();
    EXPECT_THROW(sleeper.join(), weft::fiber_cancelled);
  });
}

TEST(sleep, ends_for_each_of_many) {
  weft::run({.maxprocs = 4}, [] {
    std::atomic<int> woken = 0;
    weft::scope s;
    for (int i = 0; i < 2000; ++i) {
      s.go([&, i] {
        const auto deadline = weft::clock::now() + std::chrono::microseconds(i % 7 * 400);
        weft::sleep_until(deadline);
        EXPECT_GE(weft::clock::now(), deadline);
        ++woken;
      });
    }
    s.join();
    EXPECT_EQ(woken, 2000);
  });
}

TEST(sleep, a_cancelled_sleeper_leaves_the_others_asleep) {
  weft::run([] {
    std::vector<weft::fiber<void>> sleepers;
    for (int i = 0; i < 100; ++i) {
      sleepers.push_back(weft::spawn([i] { weft::sleep_for(1h + std::chrono::minutes(i * 37 % 100)); }));
    }
    until_waiting(100);
    for (std::size_t i = 0; i < 100; i += 2) sleepers[i].cancel();
    for (std::size_t i = 0; i < 100; i += 2) EXPECT_THROW(sleepers[i].join(), weft::fiber_cancelled);
    for (std::size_t i = 1; i < 100; i += 2) EXPECT_FALSE(sleepers[i].done());
  });
}

TEST(sleep, works_on_a_plain_thread) {
  weft::run([] {
    std::thread thread([] {
      const auto before = weft::clock::now();
      weft::sleep_for(2ms);
      EXPECT_GE(weft::clock::now() - before, 2ms);
    });
    weft::blocking([&] { thread.join(); });
  });
}

}  // namespace
