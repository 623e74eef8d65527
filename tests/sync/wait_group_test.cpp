// SPDX-License-Identifier: Apache-2.0
//
// A wait_group lets its waiters go when its count comes to zero, and refuses to go below.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft::wait_group;
using weft_test::until_waiting;

static_assert(!std::is_copy_constructible_v<wait_group> && !std::is_move_constructible_v<wait_group>);

constinit wait_group static_group;

TEST(wait_group, is_ready_at_once_while_its_count_is_zero) {
  weft::run([] {
    wait_group group;
    group.wait();
    EXPECT_TRUE(group.wait_for(0s));
    EXPECT_TRUE(group.wait_for(1h));
    static_group.wait();
  });
}

TEST(wait_group, waits_for_as_many_done_as_were_added) {
  weft::run([] {
    wait_group group;
    group.add(2);
    group.add();
    auto waiter = weft::spawn([&] { group.wait(); });
    until_waiting(1);
    group.done();
    group.done();
    EXPECT_FALSE(group.wait_for(0s));
    EXPECT_FALSE(waiter.done());
    group.done();
    waiter.join();
    EXPECT_TRUE(group.wait_for(0s));
  });
}

TEST(wait_group, lets_all_its_waiters_go) {
  weft::run([] {
    wait_group group;
    group.add();
    std::vector<weft::fiber<void>> waiters;
    for (int i = 0; i < 5; ++i) waiters.push_back(weft::spawn([&] { group.wait(); }));
    until_waiting(5);
    group.done();
    for (auto& waiter : waiters) waiter.join();
  });
}

TEST(wait_group, may_be_used_again) {
  weft::run([] {
    wait_group group;
    for (int round = 0; round < 3; ++round) {
      group.add(2);
      EXPECT_FALSE(group.wait_for(0s));
      group.add(-2);
      group.wait();
    }
  });
}

TEST(wait_group, refuses_a_negative_count_and_keeps_its_own) {
  weft::run([] {
    wait_group group;
    EXPECT_THROW(group.done(), std::logic_error);
    EXPECT_THROW(group.add(-1), std::logic_error);
    EXPECT_TRUE(group.wait_for(0s));
    group.add(2);
    EXPECT_THROW(group.add(-3), std::logic_error);
    EXPECT_FALSE(group.wait_for(0s));
    group.done();
    EXPECT_FALSE(group.wait_for(0s)) << "the count is still what it was before the error";
    group.done();
    group.wait();
  });
}

TEST(wait_group, wait_for_gives_up_and_can_be_repeated) {
  weft::run([] {
    wait_group group;
    group.add();
    EXPECT_FALSE(group.wait_for(1ms));
    EXPECT_FALSE(group.wait_for(-1s));
    auto waiter = weft::spawn([&] { return group.wait_for(1h); });
    until_waiting(1);
    group.done();
    EXPECT_TRUE(waiter.join());
  });
}

TEST(wait_group, go_is_done_when_its_fiber_returns) {
  weft::run([] {
    wait_group group;
    std::atomic<int> ended = 0;
    weft::chan<void> gate;
    for (int i = 0; i < 3; ++i) {
      group.go([&, gate] {
        gate.recv();
        ++ended;
      });
    }
    EXPECT_FALSE(group.wait_for(0s));
    gate.close();
    group.wait();
    EXPECT_EQ(ended, 3);
  });
}

TEST(wait_group, go_takes_a_callable_that_can_only_be_moved_and_destroys_it_before_it_is_done) {
  weft::run({.maxprocs = 4}, [] {
    for (int i = 0; i < 200; ++i) {
      wait_group group;
      auto token = std::make_shared<int>(0);
      group.go([unique = std::make_unique<int>(1), token] { EXPECT_EQ(*unique, 1); });
      group.wait();
      EXPECT_EQ(token.use_count(), 1);
    }
  });
}

TEST(wait_group, may_be_destroyed_by_the_waiter_that_it_let_go) {
  weft::run({.maxprocs = 4}, [] {
    for (int i = 0; i < 2000; ++i) {
      auto group = std::make_unique<wait_group>();
      group->add(2);
      weft::go([g = group.get()] { g->done(); });
      weft::go([g = group.get()] { g->done(); });
      group->wait();
      group.reset();
    }
  });
}

TEST(wait_group, what_was_written_before_done_is_seen_after_wait) {
  weft::run({.maxprocs = 4}, [] {
    for (int round = 0; round < 200; ++round) {
      wait_group group;
      int plain[4] = {};
      for (int& value : plain) group.go([&value] { value = 1; });
      group.wait();
      EXPECT_EQ(plain[0] + plain[1] + plain[2] + plain[3], 4);
    }
  });
}

TEST(wait_group, joins_fibers_and_plain_threads) {
  weft::run([] {
    wait_group started;
    wait_group ended;
    started.add();
    ended.add();
    std::thread thread([&] {
      started.wait();
      ended.done();
    });
    until_waiting(1);
    started.done();
    ended.wait();
    weft::blocking([&] { thread.join(); });
  });
}

}  // namespace
