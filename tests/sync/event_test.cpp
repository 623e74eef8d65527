// SPDX-License-Identifier: Apache-2.0
//
// An event lets everybody go while it is set, and everybody who waits when it is set.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <type_traits>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft::event;
using weft_test::until_waiting;

static_assert(!std::is_copy_constructible_v<event> && !std::is_move_constructible_v<event>);

constinit event static_event;

TEST(event, is_not_set_at_first_and_set_until_it_is_reset) {
  weft::run([] {
    EXPECT_FALSE(static_event.is_set());
    EXPECT_FALSE(static_event.wait_for(0s));
    static_event.set();
    static_event.set();
    EXPECT_TRUE(static_event.is_set());
    static_event.wait();
    EXPECT_TRUE(static_event.wait_for(-1s));
    EXPECT_TRUE(static_event.wait_for(1h));
    static_event.reset();
    EXPECT_FALSE(static_event.wait_for(1ms));
    static_event.reset();
    EXPECT_FALSE(static_event.is_set());
  });
}

TEST(event, set_lets_all_go_who_wait_also_if_it_is_reset_at_once) {
  weft::run({.maxprocs = 1}, [] {
    event e;
    std::atomic<int> through = 0;
    std::vector<weft::fiber<void>> fibers;
    for (int i = 0; i < 5; ++i) {
      fibers.push_back(weft::spawn([&, i] {
        if (i % 2 == 0)
          e.wait();
        else
          EXPECT_TRUE(e.wait_for(1h));
        ++through;
      }));
    }
    until_waiting(5);
    EXPECT_EQ(through, 0);
    e.set();
    e.reset();
    for (auto& f : fibers) f.join();
    EXPECT_EQ(through, 5);
    EXPECT_FALSE(e.is_set());
  });
}

TEST(event, a_cancelled_wait_throws) {
  weft::run([] {
    event e;
    auto waiter = weft::spawn([&] { e.wait(); });
    auto patient = weft::spawn([&] { return e.wait_for(1h); });
    until_waiting(2);
    waiter.cancel();
    EXPECT_THROW(waiter.join(), weft::fiber_cancelled);
    e.set();
    EXPECT_TRUE(patient.join());
    weft::cancel_scope scope;
    scope.cancel();
    EXPECT_FALSE(scope.run([&] { e.wait(); })) << "though it is set";
    EXPECT_FALSE(scope.run([&] { (void)e.wait_for(0s); }));
    EXPECT_TRUE(scope.run([&] {
      e.reset();
      e.set();
    }));
  });
}

TEST(event, who_was_let_go_does_not_throw) {
  weft::run({.maxprocs = 1}, [] {
    event e;
    bool returned = false;
    auto waiter = weft::spawn([&] {
      e.wait();
      returned = true;
    });
    until_waiting(1);
    e.set();
    waiter.cancel();
    waiter.join();
    EXPECT_TRUE(returned);
  });
}

TEST(event, what_was_written_before_set_is_seen_after_wait) {
  weft::run({.maxprocs = 4}, [] {
    for (int round = 0; round < 200; ++round) {
      event e;
      int plain = 0;
      weft::scope fibers;
      fibers.go([&] {
        plain = 1;
        e.set();
      });
      if (round % 2 == 0) {
        e.wait();
      } else {
        while (!e.is_set()) weft::yield();
      }
      EXPECT_EQ(plain, 1);
      fibers.join();
    }
  });
}

TEST(event, joins_fibers_and_plain_threads) {
  weft::run([] {
    event there, back;
    std::thread thread([&] {
      there.wait();
      EXPECT_FALSE(there.is_set() && back.is_set());
      back.set();
    });
    until_waiting(1);
    there.set();
    back.wait();
    weft::blocking([&] { thread.join(); });
  });
}

}  // namespace
