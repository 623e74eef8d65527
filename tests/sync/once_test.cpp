// SPDX-License-Identifier: Apache-2.0
//
// call_once calls until a call has returned, and lets nobody through before; once_value remembers what came of it.

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using weft::call_once;
using weft::once_flag;
using weft::once_value;
using weft_test::until_waiting;

static_assert(!std::is_copy_constructible_v<once_flag> && !std::is_move_constructible_v<once_flag>);

constinit once_flag static_flag;

TEST(call_once, calls_once) {
  weft::run([] {
    int calls = 0;
    for (int i = 0; i < 3; ++i) call_once(static_flag, [&] { ++calls; });
    EXPECT_EQ(calls, 1);
  });
}

TEST(call_once, passes_arguments_on) {
  once_flag flag;
  std::string got;
  call_once(
      flag, [&](std::unique_ptr<int> a, const std::string& b) { got = b + std::to_string(*a); },
      std::make_unique<int>(4), "a");
  EXPECT_EQ(got, "a4");
  struct counter {
    int count = 0;
    void add(int n) { count += n; }
  } c;
  once_flag another;
  call_once(another, &counter::add, c, 2);
  call_once(another, &counter::add, &c, 2);
  EXPECT_EQ(c.count, 2);
}

TEST(call_once, whoever_comes_meanwhile_waits_until_it_has_returned) {
  weft::run({.maxprocs = 4}, [] {
    once_flag flag;
    weft::event go_on;
    int plain = 0;
    std::atomic<int> calls = 0;
    weft::scope fibers;
    for (int i = 0; i < 5; ++i) {
      fibers.go([&] {
        call_once(flag, [&] {
          ++calls;
          go_on.wait();
          plain = 1;
        });
        EXPECT_EQ(plain, 1);
      });
    }
    until_waiting(5);
    go_on.set();
    fibers.join();
    EXPECT_EQ(calls, 1);
  });
}

TEST(call_once, a_call_that_throws_does_not_count) {
  weft::run([] {
    once_flag flag;
    int calls = 0;
    const auto fail = [&] {
      ++calls;
      throw std::runtime_error("no");
    };
    EXPECT_THROW(call_once(flag, fail), std::runtime_error);
    EXPECT_THROW(call_once(flag, fail), std::runtime_error);
    call_once(flag, [&] { ++calls; });
    call_once(flag, fail);
    EXPECT_EQ(calls, 3);
  });
}

TEST(call_once, when_a_call_fails_those_who_wait_try_one_after_the_other) {
  weft::run({.maxprocs = 4}, [] {
    once_flag flag;
    weft::event go_on;
    std::atomic<int> calls = 0, inside = 0, failed = 0;
    weft::scope fibers;
    for (int i = 0; i < 6; ++i) {
      fibers.go([&] {
        try {
          call_once(flag, [&] {
            EXPECT_EQ(++inside, 1);
            go_on.wait();
            --inside;
            if (++calls < 4) throw std::runtime_error("not yet");
          });
        } catch (const std::runtime_error&) {
          ++failed;
        }
      });
    }
    until_waiting(6);
    go_on.set();
    fibers.join();
    EXPECT_EQ(calls, 4);
    EXPECT_EQ(failed, 3);
  });
}

TEST(call_once, a_call_that_is_cancelled_does_not_count_and_the_next_one_tries) {
  weft::run([] {
    once_flag flag;
    std::atomic<bool> called = false;
    auto first = weft::spawn([&] {
      call_once(flag, [] {
        weft::event never_set;
        never_set.wait();
      });
    });
    until_waiting(1);
    auto second = weft::spawn([&] { call_once(flag, [&] { called = true; }); });
    until_waiting(2);
    second.cancel();  // it waits on: not cancellable
    weft::yield();
    EXPECT_FALSE(second.done());
    first.cancel();
    EXPECT_THROW(first.join(), weft::fiber_cancelled);
    second.join();
    EXPECT_TRUE(called);
  });
}

TEST(call_once, joins_fibers_and_plain_threads) {
  weft::run({.maxprocs = 2}, [] {
    for (int round = 0; round < 50; ++round) {
      once_flag flag;
      std::atomic<int> calls = 0;
      const auto use = [&] {
        call_once(flag, [&] { ++calls; });
        EXPECT_EQ(calls, 1);
      };
      std::thread thread(use);
      weft::scope fibers;
      for (int i = 0; i < 4; ++i) fibers.go(use);
      fibers.join();
      weft::blocking([&] { thread.join(); });
    }
  });
}

TEST(once_value, computes_once_and_remembers) {
  weft::run({.maxprocs = 4}, [] {
    std::atomic<int> calls = 0;
    auto value = once_value([&] {
      ++calls;
      weft::yield();
      return std::make_unique<int>(7);
    });
    static_assert(std::is_same_v<decltype(value()), const std::unique_ptr<int>&>);
    EXPECT_EQ(calls, 0) << "not before it is asked for";
    weft::scope fibers;
    for (int i = 0; i < 8; ++i) fibers.go([value] { EXPECT_EQ(*value(), 7); });
    fibers.join();
    EXPECT_EQ(value().get(), value().get());
    EXPECT_EQ(calls, 1);
  });
}

TEST(once_value, remembers_the_exception_too) {
  weft::run([] {
    int calls = 0;
    auto value = once_value([&]() -> int {
      ++calls;
      throw std::runtime_error("attempt " + std::to_string(calls));
    });
    for (int i = 0; i < 3; ++i) {
      try {
        value();
        FAIL() << "it failed once";
      } catch (const std::runtime_error& e) {
        EXPECT_STREQ(e.what(), "attempt 1");
      }
    }
    EXPECT_EQ(calls, 1);
  });
}

TEST(once_value, does_not_remember_that_it_was_cancelled) {
  weft::run([] {
    std::atomic<int> calls = 0;
    auto value = once_value([&] {
      if (++calls == 1) weft::event().wait();
      return 5;
    });
    auto first = weft::spawn([&] { return value(); });
    until_waiting(1);
    first.cancel();
    EXPECT_THROW(first.join(), weft::fiber_cancelled);
    EXPECT_EQ(value(), 5);
    EXPECT_EQ(calls, 2);
  });
}

TEST(once_value, of_nothing_or_of_a_reference) {
  int calls = 0;
  const auto nothing = once_value([&] { ++calls; });
  static_assert(std::is_void_v<decltype(nothing())>);
  nothing();
  nothing();
  EXPECT_EQ(calls, 1);
  int target = 3;
  const auto reference = once_value([&]() -> int& { return target; });
  reference() = 4;
  EXPECT_EQ(target, 4);
  EXPECT_EQ(&reference(), &target);
}

TEST(once_value, takes_a_callable_that_can_only_be_moved_and_can_be_stored_in_a_function) {
  std::function<const int&()> stored = once_value([p = std::make_unique<int>(9)] { return *p; });
  const auto copy = stored;
  EXPECT_EQ(copy(), 9);
  EXPECT_EQ(&copy(), &stored());
}

}  // namespace
