// SPDX-License-Identifier: Apache-2.0
//
// A latch opens when its count comes to zero, for all who wait, and stays open.

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using weft::latch;
using weft_test::until_waiting;

static_assert(!std::is_copy_constructible_v<latch> && !std::is_move_constructible_v<latch>);
static_assert(latch::max() > 1'000'000);

constinit latch static_latch(0);

TEST(latch, of_zero_is_open) {
  weft::run([] {
    EXPECT_TRUE(static_latch.try_wait());
    static_latch.wait();
    static_latch.arrive_and_wait(0);
  });
}

TEST(latch, opens_for_all_when_the_count_is_zero) {
  weft::run([] {
    latch l(5);
    std::atomic<int> through = 0;
    std::vector<weft::fiber<void>> fibers;
    for (int i = 0; i < 4; ++i) {
      fibers.push_back(weft::spawn([&] {
        l.wait();
        ++through;
      }));
    }
    until_waiting(4);
    l.count_down();
    l.count_down(3);
    EXPECT_FALSE(l.try_wait());
    weft::yield();
    EXPECT_EQ(through, 0);
    l.count_down();
    for (auto& f : fibers) f.join();
    EXPECT_TRUE(l.try_wait());
    l.wait();
  });
}

TEST(latch, arrive_and_wait_counts_and_waits) {
  weft::run({.maxprocs = 4}, [] {
    latch l(8);
    std::atomic<int> arrived = 0;
    weft::scope fibers;
    for (int i = 0; i < 6; ++i) {
      fibers.go([&] {
        ++arrived;
        l.arrive_and_wait();
        EXPECT_EQ(arrived, 7);
      });
    }
    until_waiting(6);
    ++arrived;
    l.arrive_and_wait(2);
    fibers.join();
  });
}

TEST(latch, refuses_numbers_that_make_no_sense_and_keeps_its_count) {
  EXPECT_THROW(latch(-1), std::invalid_argument);
  weft::run([] {
    latch l(2);
    EXPECT_THROW(l.count_down(-1), std::invalid_argument);
    EXPECT_THROW(l.arrive_and_wait(-1), std::invalid_argument);
    try {
      l.count_down(3);
      FAIL() << "it cannot go below zero";
    } catch (const std::logic_error& e) {
      EXPECT_NE(std::string(e.what()).find("count_down(3) with a count of 2"), std::string::npos) << e.what();
    }
    EXPECT_THROW(l.arrive_and_wait(3), std::logic_error);
    l.count_down(0);
    EXPECT_FALSE(l.try_wait());
    l.count_down(2);
    EXPECT_THROW(l.count_down(), std::logic_error);
    EXPECT_TRUE(l.try_wait());
  });
}

TEST(latch, a_cancelled_wait_throws_and_the_arrival_stays) {
  weft::run([] {
    latch l(2);
    auto waiter = weft::spawn([&] { l.arrive_and_wait(); });
    until_waiting(1);
    waiter.cancel();
    EXPECT_THROW(waiter.join(), weft::fiber_cancelled);
    EXPECT_FALSE(l.try_wait());
    l.count_down();
    l.wait();
  });
}

TEST(latch, waits_throw_at_their_entry_in_a_cancelled_scope) {
  weft::run([] {
    latch open(0), closed(1);
    weft::cancel_scope scope;
    scope.cancel();
    EXPECT_FALSE(scope.run([&] { open.wait(); }));
    EXPECT_FALSE(scope.run([&] { closed.arrive_and_wait(); }));
    EXPECT_FALSE(closed.try_wait()) << "it has not arrived";
    EXPECT_TRUE(scope.run([&] { closed.count_down(); }));
    EXPECT_TRUE(closed.try_wait());
  });
}

TEST(latch, what_was_written_before_a_count_down_is_seen_after_the_wait) {
  weft::run({.maxprocs = 4}, [] {
    for (int round = 0; round < 200; ++round) {
      latch l(4);
      int plain[4] = {};
      weft::scope fibers;
      for (int& value : plain) {
        fibers.go([&] {
          value = 1;
          l.count_down();
        });
      }
      l.wait();
      EXPECT_EQ(plain[0] + plain[1] + plain[2] + plain[3], 4);
      fibers.join();
    }
  });
}

TEST(latch, joins_fibers_and_plain_threads) {
  weft::run([] {
    latch all(3);
    std::thread thread([&] { all.arrive_and_wait(); });
    auto fiber = weft::spawn([&] { all.arrive_and_wait(); });
    until_waiting(2);
    all.arrive_and_wait();
    fiber.join();
    weft::blocking([&] { thread.join(); });
  });
}

}  // namespace
