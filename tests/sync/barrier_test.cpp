// SPDX-License-Identifier: Apache-2.0
//
// A barrier lets nobody go before all have arrived, runs its completion function in between, and begins anew.

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using weft::barrier;
using weft_test::until_waiting;

static_assert(!std::is_copy_constructible_v<barrier<>> && !std::is_move_constructible_v<barrier<>>);
static_assert(!std::is_copy_constructible_v<barrier<>::arrival_token> &&
              std::is_nothrow_move_constructible_v<barrier<>::arrival_token>);
static_assert(barrier<>::max() > 1'000'000);

constinit barrier<> static_barrier(1);

TEST(barrier, of_one_never_waits) {
  weft::run([] {
    for (int i = 0; i < 3; ++i) static_barrier.arrive_and_wait();
    static_barrier.wait(static_barrier.arrive());
  });
}

TEST(barrier, keeps_all_in_the_same_phase) {
  weft::run({.maxprocs = 4}, [] {
    constexpr int members = 5, phases = 200;
    barrier all(members);
    std::vector<int> plain(members);
    weft::scope fibers;
    for (int m = 0; m < members; ++m) {
      fibers.go([&, m] {
        for (int phase = 1; phase <= phases; ++phase) {
          plain[static_cast<std::size_t>(m)] = phase;
          all.arrive_and_wait();
          for (const int other : plain) EXPECT_EQ(other, phase);
          all.arrive_and_wait();
        }
      });
    }
    fibers.join();
  });
}

TEST(barrier, the_last_to_arrive_runs_the_completion_before_anybody_goes) {
  weft::run({.maxprocs = 4}, [] {
    constexpr int members = 4, phases = 100;
    int completed = 0;  // plain: what the completion wrote is seen after the wait
    const auto complete = [&completed]() noexcept {
      weft::yield();
      ++completed;
    };
    barrier all(members, complete);
    weft::scope fibers;
    for (int m = 0; m < members; ++m) {
      fibers.go([&] {
        for (int phase = 1; phase <= phases; ++phase) {
          all.arrive_and_wait();
          EXPECT_EQ(completed, phase);
          all.arrive_and_wait();
          EXPECT_EQ(completed, ++phase);
        }
      });
    }
    fibers.join();
    EXPECT_EQ(completed, phases);
  });
}

TEST(barrier, arriving_and_waiting_may_be_two_steps) {
  weft::run([] {
    barrier all(3);
    auto token = all.arrive(2);
    auto waiter = weft::spawn([&] { all.wait(std::move(token)); });
    until_waiting(1);
    EXPECT_FALSE(waiter.done());
    auto last = all.arrive();
    waiter.join();
    all.wait(std::move(last));
  });
}

TEST(barrier, a_token_of_a_phase_that_is_over_does_not_wait) {
  weft::run([] {
    barrier all(1);
    auto old = all.arrive();
    for (int i = 0; i < 3; ++i) all.arrive_and_wait();
    all.wait(std::move(old));
  });
}

TEST(barrier, who_drops_out_is_not_expected_any_more) {
  weft::run([] {
    barrier all(3);
    auto one = weft::spawn([&] {
      all.arrive_and_wait();
      all.arrive_and_wait();
    });
    auto another = weft::spawn([&] {
      all.arrive_and_wait();
      all.arrive_and_wait();
    });
    until_waiting(2);
    all.arrive_and_drop();
    one.join();
    another.join();
  });
}

TEST(barrier, the_completion_runs_when_the_last_drops_out) {
  weft::run([] {
    int completed = 0;
    barrier all(1, [&completed]() noexcept { ++completed; });
    all.arrive_and_drop();
    EXPECT_EQ(completed, 1);
    EXPECT_THROW(all.arrive_and_wait(), std::logic_error) << "nobody is expected";
  });
}

TEST(barrier, refuses_numbers_that_make_no_sense) {
  EXPECT_THROW(barrier<>(-1), std::invalid_argument);
  weft::run([] {
    barrier all(2);
    EXPECT_THROW((void)all.arrive(0), std::invalid_argument);
    EXPECT_THROW((void)all.arrive(-1), std::invalid_argument);
    try {
      (void)all.arrive(3);
      FAIL() << "two are expected";
    } catch (const std::logic_error& e) {
      EXPECT_NE(std::string(e.what()).find("3 arrivals where 2"), std::string::npos) << e.what();
    }
    auto token = all.arrive(2);
    all.wait(std::move(token));
  });
}

TEST(barrier, a_cancelled_wait_throws_and_its_arrival_stays) {
  weft::run([] {
    barrier all(2);
    auto one = weft::spawn([&] { all.arrive_and_wait(); });
    until_waiting(1);
    one.cancel();
    EXPECT_THROW(one.join(), weft::fiber_cancelled);
    all.arrive_and_wait();  // the phase ends: he had arrived
    auto waiter = weft::spawn([&] { all.arrive_and_wait(); });
    until_waiting(1);
    EXPECT_FALSE(waiter.done()) << "in the next phase he is expected again";
    all.arrive_and_drop();
    waiter.join();
  });
}

TEST(barrier, waits_throw_at_their_entry_in_a_cancelled_scope) {
  weft::run([] {
    barrier all(1);
    weft::cancel_scope scope;
    scope.cancel();
    EXPECT_FALSE(scope.run([&] { all.arrive_and_wait(); }));
    EXPECT_FALSE(scope.run([&] { all.wait(all.arrive()); }));
    EXPECT_TRUE(scope.run([&] { (void)all.arrive(); }));
  });
}

TEST(barrier, the_completion_is_shielded) {
  weft::run([] {
    bool waited = false;
    const auto complete = [&waited]() noexcept {
      weft::yield();
      waited = true;
    };
    barrier all(1, complete);
    weft::cancel_scope scope;
    scope.cancel();
    EXPECT_TRUE(scope.run([&] { all.arrive_and_drop(); }));
    EXPECT_TRUE(waited);
  });
}

TEST(barrier, joins_fibers_and_plain_threads) {
  weft::run({.maxprocs = 2}, [] {
    int completed = 0;
    const auto complete = [&completed]() noexcept { ++completed; };
    barrier all(3, complete);
    const auto member = [&] {
      for (int i = 0; i < 100; ++i) all.arrive_and_wait();
    };
    std::thread thread(member);
    auto fiber = weft::spawn(member);
    member();
    fiber.join();
    weft::blocking([&] { thread.join(); });
    EXPECT_EQ(completed, 100);
  });
}

}  // namespace
