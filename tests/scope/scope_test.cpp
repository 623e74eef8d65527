// SPDX-License-Identifier: Apache-2.0
//
// What runs in a scope ends before it does; its first error reaches whoever joins; a collecting one keeps them all.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until;
using weft_test::until_waiting;

static_assert(!std::is_copy_constructible_v<weft::scope> && !std::is_move_constructible_v<weft::scope>);

std::string message_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "?";
  }
}

TEST(scope, join_waits_for_all_children) {
  weft::run([] {
    weft::chan<void> gate;
    std::atomic<int> ended = 0;
    weft::scope s;
    for (int i = 0; i < 10; ++i) {
      s.go([&, gate] {
        gate.recv();
        ++ended;
      });
    }
    until_waiting(10);
    auto closer = weft::spawn([gate] { gate.close(); });
    s.join();
    EXPECT_EQ(ended, 10);
    closer.join();
  });
}

TEST(scope, without_children_is_joined_at_once) {
  weft::run([] {
    weft::scope s;
    s.join();
    const weft::scope destroyed;
    EXPECT_FALSE(s.cancelled());
  });
}

TEST(scope, the_destructor_joins_without_cancelling) {
  weft::run([] {
    std::atomic<int> ended = 0;
    {
      weft::scope s;
      for (int i = 0; i < 10; ++i) {
        s.go([&] {
          weft::sleep_for(1ms);
          ++ended;
        });
      }
    }
    EXPECT_EQ(ended, 10);
  });
}

TEST(scope, the_destructor_cancels_while_an_exception_unwinds) {
  weft::run([] {
    std::atomic<int> unwound = 0;
    EXPECT_THROW(
        {
          weft::scope s;
          for (int i = 0; i < 3; ++i) {
            s.go([&] {
              const std::shared_ptr<void> last(nullptr, [&](void*) { ++unwound; });
              weft::sleep_for(1h);
            });
          }
          until_waiting(3);
          throw std::out_of_range("unwind");
        },
        std::out_of_range);
    EXPECT_EQ(unwound, 3);
  });
}

TEST(scope, the_first_failure_cancels_the_siblings_and_reaches_join) {
  weft::run([] {
    std::atomic<int> cancelled = 0;
    weft::scope s;
    for (int i = 0; i < 5; ++i) {
      s.go([&] {
        try {
          weft::sleep_for(1h);
        } catch (const weft::cancelled&) {
          ++cancelled;
          throw;
        }
      });
    }
    until_waiting(5);
    s.go([] { throw std::out_of_range("the first"); });
    EXPECT_THROW(s.join(), std::out_of_range);
    EXPECT_EQ(cancelled, 5);
    EXPECT_TRUE(s.cancelled());
  });
}

TEST(scope, the_first_of_several_failures_counts) {
  weft::run([] {
    weft::scope s;
    s.go([] {
      try {
        weft::sleep_for(1h);
      } catch (const weft::cancelled&) {
        throw std::runtime_error("the second");
      }
    });
    until_waiting(1);
    s.go([] { throw std::out_of_range("the first"); });
    EXPECT_THROW(s.join(), std::out_of_range);
  });
}

TEST(scope, spawn_gives_a_handle_of_its_own) {
  weft::run([] {
    weft::scope s;
    auto a = s.spawn([] { return 1; });
    auto b = s.spawn([p = std::make_unique<int>(2)] { return *p; });
    EXPECT_EQ(a.join() + b.join(), 3);
    s.join();
  });
}

TEST(scope, an_error_taken_by_the_handle_is_not_thrown_again) {
  weft::run([] {
    weft::scope s;
    auto child = s.spawn([] { throw std::out_of_range("taken"); });
    EXPECT_THROW(child.join(), std::out_of_range);
    s.join();
  });
}

TEST(scope, awaits_a_child_whose_handle_was_detached) {
  weft::run([] {
    weft::chan<void> gate;
    std::atomic<bool> ended = false;
    weft::scope s;
    s.spawn([&, gate] {
       gate.recv();
       ended = true;
     }).detach();
    until_waiting(1);
    gate.close();
    s.join();
    EXPECT_TRUE(ended);
  });
}

TEST(scope, cancel_ends_the_children_and_join_stays_quiet) {
  weft::run([] {
    std::atomic<int> unwound = 0;
    weft::scope s;
    for (int i = 0; i < 5; ++i) {
      s.go([&] {
        const std::shared_ptr<void> last(nullptr, [&](void*) { ++unwound; });
        weft::sleep_for(1h);
      });
    }
    EXPECT_FALSE(s.cancelled());
    s.cancel();
    EXPECT_TRUE(s.cancelled());
    s.join();
    EXPECT_EQ(unwound, 5);
  });
}

TEST(scope, cancel_does_not_reach_its_owner) {
  weft::run([] {
    weft::scope s;
    s.cancel();
    EXPECT_FALSE(weft::this_fiber::cancelled());
    weft::sleep_for(1us);
    s.join();
  });
}

TEST(scope, a_child_of_a_cancelled_scope_starts_cancelled) {
  weft::run([] {
    weft::scope s;
    s.cancel();
    std::atomic<bool> went_on = false;
    s.go([&] {
      weft::yield();
      went_on = true;
    });
    s.join();
    EXPECT_FALSE(went_on);
  });
}

TEST(scope, may_be_cancelled_by_a_child) {
  weft::run([] {
    weft::scope s;
    s.go([] { weft::sleep_for(1h); });
    s.go([&] { s.cancel(); });
    s.join();
    EXPECT_TRUE(s.cancelled());
  });
}

TEST(scope, children_may_add_children) {
  weft::run({.maxprocs = 4}, [] {
    weft::scope s;
    std::atomic<int> ended = 0;
    for (int i = 0; i < 10; ++i) {
      s.go([&] {
        for (int j = 0; j < 10; ++j) s.go([&] { ++ended; });
      });
    }
    s.join();
    EXPECT_EQ(ended, 100);
  });
}

TEST(scope, its_parent_is_the_one_it_stands_in) {
  weft::run([] {
    std::atomic<int> unwound = 0;
    weft::scope outer;
    outer.go([&] {
      weft::scope inner;
      for (int i = 0; i < 3; ++i) {
        inner.go([&] {
          const std::shared_ptr<void> last(nullptr, [&](void*) { ++unwound; });
          weft::sleep_for(1h);
        });
      }
      inner.join();
    });
    until_waiting(4);
    outer.cancel();
    outer.join();
    EXPECT_EQ(unwound, 3);
  });
}

TEST(scope, an_inner_failure_leaves_the_outer_alone_if_it_is_caught) {
  weft::run([] {
    weft::scope outer;
    outer.go([] {
      weft::scope inner;
      inner.go([] { throw std::out_of_range("inner"); });
      EXPECT_THROW(inner.join(), std::out_of_range);
    });
    outer.join();
    EXPECT_FALSE(outer.cancelled());
  });
}

TEST(scope, go_and_spawn_outside_of_it_do_not_inherit) {
  weft::run([] {
    weft::chan<int> to_detached;
    weft::chan<int> from_detached;
    weft::chan<int> to_spawned;
    weft::fiber<int> spawned;
    {
      weft::scope s;
      s.go([&] {
        weft::go([=] { from_detached.send(*to_detached.recv()); });
        spawned = weft::spawn([=] { return *to_spawned.recv(); });
      });
      s.join();
      s.cancel();
    }
    EXPECT_FALSE(spawned.done());
    to_detached.send(1);
    EXPECT_EQ(from_detached.recv(), 1);
    to_spawned.send(2);
    EXPECT_EQ(spawned.join(), 2);
  });
}

TEST(scope, a_cancelled_join_throws_and_its_children_go_with_it) {
  weft::run([] {
    std::atomic<bool> unwound = false;
    auto owner = weft::spawn([&] {
      weft::scope s;
      s.go([&] {
        const std::shared_ptr<void> last(nullptr, [&](void*) { unwound = true; });
        weft::sleep_for(1h);
      });
      s.join();
    });
    until_waiting(2);
    owner.cancel();
    EXPECT_THROW(owner.join(), weft::fiber_cancelled);
    EXPECT_TRUE(unwound);
  });
}

TEST(scope, with_a_limit_runs_no_more_at_a_time) {
  weft::run({.maxprocs = 4}, [] {
    weft::scope s({.limit = 3});
    std::atomic<int> now = 0;
    std::atomic<int> most = 0;
    std::atomic<int> ended = 0;
    for (int i = 0; i < 200; ++i) {
      s.go([&] {
        const int mine = ++now;
        int former = most;
        while (former < mine && !most.compare_exchange_weak(former, mine)) {
        }
        weft::yield();
        --now;
        ++ended;
      });
    }
    s.join();
    EXPECT_EQ(ended, 200);
    EXPECT_LE(most, 3);
  });
}

TEST(scope, go_waits_at_the_limit) {
  weft::run([] {
    weft::chan<void> gate;
    weft::scope s({.limit = 2});
    std::atomic<int> started = 0;
    auto starter = weft::spawn([&, gate] {
      for (int i = 0; i < 3; ++i) {
        s.go([gate] { gate.recv(); });
        ++started;
      }
    });
    until_waiting(3);
    EXPECT_EQ(started, 2);
    gate.send();
    starter.join();
    EXPECT_EQ(started, 3);
    gate.close();
    s.join();
  });
}

TEST(scope, go_at_the_limit_may_be_cancelled) {
  weft::run([] {
    weft::chan<void> gate;
    weft::scope s({.limit = 1});
    s.go([gate] { gate.recv(); });
    auto starter = weft::spawn([&] { s.go([] { ADD_FAILURE() << "ran"; }); });
    until_waiting(2);
    starter.cancel();
    EXPECT_THROW(starter.join(), weft::fiber_cancelled);
    gate.close();
    s.join();
  });
}

TEST(scope, a_limit_of_zero_is_none) {
  weft::run([] {
    weft::chan<void> gate;
    weft::scope s({.limit = 0});
    for (int i = 0; i < 50; ++i) s.go([gate] { gate.recv(); });
    until_waiting(50);
    gate.close();
    s.join();
  });
}

TEST(scope, takes_a_callable_that_can_only_be_moved) {
  weft::run([] {
    weft::scope s;
    s.go([p = std::make_unique<int>(1)] { EXPECT_EQ(*p, 1); });
    s.join();
  });
}

TEST(scope, may_go_right_after_its_last_child) {
  weft::run({.maxprocs = 4}, [] {
    for (int i = 0; i < 2000; ++i) {
      auto s = std::make_unique<weft::scope>();
      s->go([] {});
      s->go([] {});
      s->join();
      s.reset();
    }
  });
}

TEST(collecting_scope, a_failing_child_leaves_its_siblings_alone) {
  weft::run([] {
    weft::chan<void> gate;
    weft::scope s(weft::collect);
    std::atomic<bool> ended = false;
    s.go([&, gate] {
      gate.recv();
      ended = true;
    });
    s.go([] { throw std::runtime_error("one"); });
    until([&] { return s.error_count() == 1; });
    EXPECT_FALSE(s.cancelled());
    gate.close();
    s.join();
    EXPECT_TRUE(ended);
    ASSERT_EQ(s.errors().size(), 1u);
    EXPECT_EQ(message_of(s.errors()[0]), "one");
  });
}

TEST(collecting_scope, keeps_the_first_64_errors_and_counts_all) {
  weft::run([] {
    weft::scope s(weft::collect);
    for (int i = 0; i < 100; ++i) s.go([] { throw std::runtime_error("again"); });
    s.join();
    EXPECT_EQ(s.errors().size(), 64u);
    EXPECT_EQ(s.error_count(), 100u);
  });
}

TEST(collecting_scope, ends_nothing_if_nobody_joins) {
  weft::run([] {
    {
      weft::scope s(weft::collect);
      s.go([] { throw std::runtime_error("not heard"); });
    }
    weft::yield();
  });
}

TEST(collecting_scope, on_error_hears_of_each_one_at_a_time_in_the_failing_child) {
  weft::run({.maxprocs = 4}, [] {
    std::atomic<int> inside = 0;
    int heard = 0;
    std::vector<bool> mine(50, false);
    {
      std::vector<std::uint64_t> ids(50, 0);
      weft::scope s(weft::collect, {.on_error = [&](std::exception_ptr error) {
                      EXPECT_EQ(inside.fetch_add(1), 0);
                      const auto index = static_cast<std::size_t>(std::stoi(message_of(error)));
                      EXPECT_EQ(ids[index], weft::this_fiber::id());
                      mine[index] = true;
                      ++heard;
                      weft::yield();
                      inside.fetch_sub(1);
                    }});
      for (std::size_t i = 0; i < 50; ++i) {
        s.go([&ids, i] {
          ids[i] = weft::this_fiber::id();
          throw std::runtime_error(std::to_string(i));
        });
      }
      s.join();
      EXPECT_EQ(s.error_count(), 50u);
    }
    EXPECT_EQ(heard, 50);
    EXPECT_EQ(mine, std::vector<bool>(50, true));
  });
}

TEST(collecting_scope, a_cancelled_child_is_no_error) {
  weft::run([] {
    weft::scope s(weft::collect, {.on_error = [](std::exception_ptr) { ADD_FAILURE() << "heard"; }});
    for (int i = 0; i < 3; ++i) s.go([] { weft::sleep_for(1h); });
    s.cancel();
    s.join();
    EXPECT_EQ(s.error_count(), 0u);
    EXPECT_TRUE(s.errors().empty());
  });
}

TEST(collecting_scope, has_a_limit_too) {
  weft::run([] {
    weft::chan<void> gate;
    weft::scope s(weft::collect, {.limit = 1});
    s.go([gate] {
      gate.recv();
      throw std::runtime_error("makes room");
    });
    auto starter = weft::spawn([&] { s.go([] {}); });
    until_waiting(2);
    EXPECT_FALSE(starter.done());
    gate.close();
    starter.join();
    s.join();
    EXPECT_EQ(s.error_count(), 1u);
  });
}

TEST(scope_death, an_error_that_nobody_joined_ends_the_process) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(weft::run([] {
                weft::scope s;
                s.go([] { throw std::runtime_error("not joined"); });
              }),
              testing::ExitedWithCode(2), "not joined");
}

}  // namespace
