// SPDX-License-Identifier: Apache-2.0
//
// What the handle of a fiber promises: its result or error goes to exactly one joiner, and no error goes unheard.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until;
using weft_test::until_waiting;

static_assert(!std::is_copy_constructible_v<weft::fiber<int>> && !std::is_copy_assignable_v<weft::fiber<int>>);
static_assert(std::is_nothrow_move_constructible_v<weft::fiber<int>>);
static_assert(std::is_base_of_v<std::runtime_error, weft::fiber_cancelled>);

TEST(fiber, join_gives_the_result) {
  weft::run([] {
    EXPECT_EQ(weft::spawn([] { return 42; }).join(), 42);
    EXPECT_EQ(weft::spawn([] { return std::string(100, 'x'); }).join(), std::string(100, 'x'));
    EXPECT_EQ(*weft::spawn([] { return std::make_unique<int>(7); }).join(), 7);
    weft::fiber<void> nothing = weft::spawn([] {});
    static_assert(std::is_void_v<decltype(nothing.join())>);
    nothing.join();
  });
}

TEST(fiber, join_rethrows_what_escaped) {
  weft::run([] {
    auto fiber = weft::spawn([]() -> int { throw std::out_of_range("in the fiber"); });
    try {
      fiber.join();
      ADD_FAILURE() << "no exception";
    } catch (const std::out_of_range& error) {
      EXPECT_STREQ(error.what(), "in the fiber");
    }
    auto odd = weft::spawn([] { throw 5; });
    EXPECT_THROW(odd.join(), int);
  });
}

TEST(fiber, join_waits_for_the_end) {
  weft::run([] {
    weft::chan<int> c;
    auto fiber = weft::spawn([c] { return *c.recv() + 1; });
    auto joiner = weft::spawn([&] { return fiber.join(); });
    until_waiting(2);
    EXPECT_FALSE(joiner.done());
    c.send(4);
    EXPECT_EQ(joiner.join(), 5);
  });
}

TEST(fiber, a_second_join_is_a_logic_error) {
  weft::run([] {
    auto fiber = weft::spawn([] { return 1; });
    EXPECT_TRUE(fiber.joinable());
    fiber.join();
    EXPECT_FALSE(fiber.joinable());
    EXPECT_THROW(fiber.join(), std::logic_error);
    auto failing = weft::spawn([] { throw 5; });
    EXPECT_THROW(failing.join(), int);
    EXPECT_THROW(failing.join(), std::logic_error);
  });
}

TEST(fiber, an_empty_handle_can_be_neither_joined_nor_detached) {
  weft::run([] {
    weft::fiber<int> empty;
    EXPECT_FALSE(empty.joinable());
    EXPECT_THROW(empty.join(), std::logic_error);
    EXPECT_THROW(empty.detach(), std::logic_error);
    auto full = weft::spawn([] { return 1; });
    auto target = std::move(full);
    EXPECT_FALSE(full.joinable());
    EXPECT_THROW(full.join(), std::logic_error);
    EXPECT_THROW(full.detach(), std::logic_error);
    EXPECT_EQ(target.join(), 1);
    auto detached = weft::spawn([] {});
    detached.detach();
    EXPECT_FALSE(detached.joinable());
    EXPECT_THROW(detached.join(), std::logic_error);
    EXPECT_THROW(detached.detach(), std::logic_error);
  });
}

TEST(fiber, join_for_says_whether_it_has_ended_and_leaves_the_result) {
  weft::run([] {
    weft::chan<void> gate;
    auto fiber = weft::spawn([gate] {
      gate.recv();
      return 9;
    });
    EXPECT_FALSE(fiber.join_for(0s));
    EXPECT_FALSE(fiber.join_for(-1s));
    EXPECT_FALSE(fiber.join_for(1ms));
    gate.close();
    EXPECT_TRUE(fiber.join_for(1h));
    EXPECT_TRUE(fiber.join_for(0s));
    EXPECT_TRUE(fiber.joinable());
    EXPECT_EQ(fiber.join(), 9);
  });
}

TEST(fiber, join_for_leaves_the_error_too) {
  weft::run([] {
    auto fiber = weft::spawn([] { throw std::out_of_range("kept"); });
    EXPECT_TRUE(fiber.join_for(1h));
    EXPECT_THROW(fiber.join(), std::out_of_range);
  });
}

TEST(fiber, done_tells_without_waiting) {
  weft::run([] {
    weft::chan<void> gate;
    auto fiber = weft::spawn([gate] { gate.recv(); });
    EXPECT_FALSE(fiber.done());
    gate.close();
    until([&] { return fiber.done(); });
    fiber.join();
  });
}

TEST(fiber, cancel_ends_its_wait_and_join_says_so) {
  weft::run([] {
    auto fiber = weft::spawn([c = weft::chan<int>()] { return c.recv(); });
    until_waiting(1);
    fiber.cancel();
    EXPECT_THROW(fiber.join(), weft::fiber_cancelled);
  });
}

TEST(fiber, cancel_before_its_first_wait_ends_it_there) {
  weft::run([] {
    auto fiber = weft::spawn([] { weft::sleep_for(1h); });
    fiber.cancel();
    fiber.cancel();
    EXPECT_THROW(fiber.join(), weft::fiber_cancelled);
  });
}

TEST(fiber, cancel_after_its_end_leaves_the_result) {
  weft::run([] {
    auto fiber = weft::spawn([] { return 3; });
    EXPECT_TRUE(fiber.join_for(1h));
    fiber.cancel();
    EXPECT_EQ(fiber.join(), 3);
  });
}

TEST(fiber, one_that_outlives_its_cancellation_still_gives_its_result) {
  weft::run([] {
    auto fiber = weft::spawn([] {
      try {
        weft::sleep_for(1h);
      } catch (const weft::cancelled&) {
        return 4;
      }
      return 5;
    });
    until_waiting(1);
    fiber.cancel();
    EXPECT_EQ(fiber.join(), 4);
  });
}

TEST(fiber, the_destructor_cancels_and_joins) {
  weft::run([] {
    std::atomic<bool> ended = false;
    {
      auto fiber = weft::spawn([&] {
        const std::shared_ptr<void> last(nullptr, [&](void*) { ended = true; });
        weft::sleep_for(1h);
      });
      until_waiting(1);
    }
    EXPECT_TRUE(ended);
  });
}

TEST(fiber, assignment_cancels_and_joins_the_former_one) {
  weft::run([] {
    std::atomic<bool> ended = false;
    auto fiber = weft::spawn([&] {
      const std::shared_ptr<void> last(nullptr, [&](void*) { ended = true; });
      weft::sleep_for(1h);
      return 1;
    });
    fiber = weft::spawn([] { return 2; });
    EXPECT_TRUE(ended);
    EXPECT_EQ(fiber.join(), 2);
  });
}

TEST(fiber, detach_lets_it_go_on) {
  weft::run([] {
    weft::chan<int> c;
    {
      auto fiber = weft::spawn([c] {
        c.send(1);
        c.send(2);
        return std::string("nobody wants this");
      });
      fiber.detach();
    }
    EXPECT_EQ(c.recv(), 1);
    EXPECT_EQ(c.recv(), 2);
  });
}

TEST(fiber, the_result_of_one_that_nobody_joined_is_destroyed) {
  weft::run([] {
    auto token = std::make_shared<int>(0);
    {
      auto fiber = weft::spawn([token] { return token; });
      EXPECT_TRUE(fiber.join_for(1h));
    }
    until([&] { return token.use_count() == 1; });
    weft::spawn([token] { return token; }).detach();
    until([&] { return token.use_count() == 1; });
  });
}

TEST(fiber, a_join_may_be_cancelled_and_leaves_the_fiber_joinable) {
  weft::run([] {
    weft::chan<void> gate;
    auto target = weft::spawn([gate] {
      gate.recv();
      return 6;
    });
    auto joiner = weft::spawn([&] { return target.join(); });
    until_waiting(2);
    joiner.cancel();
    EXPECT_THROW(joiner.join(), weft::fiber_cancelled);
    gate.close();
    EXPECT_TRUE(target.joinable());
    EXPECT_EQ(target.join(), 6);
  });
}

TEST(fiber, an_error_after_the_destructor_cancelled_it_is_dropped) {
  weft::run([] {
    auto fiber = weft::spawn([] {
      try {
        weft::sleep_for(1h);
      } catch (const weft::cancelled&) {
        throw std::runtime_error("too late to matter");
      }
    });
    until_waiting(1);
  });
}

TEST(fiber, an_error_is_dropped_with_a_handle_that_goes_while_an_exception_unwinds) {
  weft::run([] {
    EXPECT_THROW(
        {
          auto fiber = weft::spawn([] { throw std::runtime_error("the lesser error"); });
          until([&] { return fiber.done(); });
          throw std::out_of_range("the greater error");
        },
        std::out_of_range);
  });
}

TEST(fiber, what_it_wrote_is_seen_after_join) {
  weft::run({.maxprocs = 4}, [] {
    for (int i = 0; i < 500; ++i) {
      int plain = 0;
      auto fiber = weft::spawn([&] { plain = 1; });
      fiber.join();
      EXPECT_EQ(plain, 1);
    }
  });
}

TEST(fiber, thousands_give_their_results) {
  weft::run({.maxprocs = 4}, [] {
    std::vector<weft::fiber<int>> fibers;
    for (int i = 0; i < 5000; ++i) fibers.push_back(weft::spawn([i] { return i; }));
    for (int i = 0; i < 5000; ++i) EXPECT_EQ(fibers[static_cast<std::size_t>(i)].join(), i);
  });
}

int depth(int n) {
  return n == 0 ? 0 : 1 + weft::spawn([n] { return depth(n - 1); }).join();
}

TEST(fiber, may_start_and_join_others) {
  weft::run([] { EXPECT_EQ(depth(200), 200); });
}

TEST(fiber, carries_its_exception_state_over_a_wait) {
  weft::run({.maxprocs = 4}, [] {
    weft::scope s;
    for (int f = 0; f < 8; ++f) {
      s.go([f] {
        for (int i = 0; i < 100; ++i) {
          try {
            throw f;
          } catch (const int& outer) {
            weft::yield();
            try {
              throw std::to_string(f);
            } catch (const std::string& inner) {
              weft::sleep_for(1us);
              EXPECT_EQ(inner, std::to_string(outer));
            }
            EXPECT_EQ(outer, f);
          }
        }
      });
    }
    s.join();
  });
}

TEST(fiber, can_be_joined_by_a_plain_thread) {
  weft::run([] {
    auto fiber = weft::spawn([] {
      weft::yield();
      return 12;
    });
    std::thread thread([&] { EXPECT_EQ(fiber.join(), 12); });
    weft::blocking([&] { thread.join(); });
  });
}

TEST(fiber_death, an_error_that_nobody_joined_ends_the_process) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(weft::run([] {
                auto fiber = weft::spawn([] { throw std::runtime_error("never joined"); });
                until([&] { return fiber.done(); });
              }),
              testing::ExitedWithCode(2), "never joined");
}

TEST(fiber_death, an_error_after_detach_ends_the_process) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(weft::run([] {
                weft::chan<void> gate;
                auto fiber = weft::spawn([gate] {
                  gate.recv();
                  throw std::runtime_error("after detach");
                });
                fiber.detach();
                gate.close();
                weft::sleep_for(1h);
              }),
              testing::ExitedWithCode(2), "after detach");
}

TEST(fiber_death, an_error_before_detach_ends_the_process) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(weft::run([] {
                auto fiber = weft::spawn([] { throw std::runtime_error("before detach"); });
                until([&] { return fiber.done(); });
                fiber.detach();
              }),
              testing::ExitedWithCode(2), "before detach");
}

}  // namespace
