// SPDX-License-Identifier: Apache-2.0
//
// Fibers by the hundred thousand, in trees of handles and of scopes, with failures and cancellations drawn at random.
// What is accounted for: every body that was begun has ended, every closure was destroyed once, every sum is the
// tree's.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/stress.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::choices;
using weft_test::parcel;
using weft_test::scaled;

class spawn_stress : public weft_test::stress {};

std::atomic<long> begun{0}, ended{0};

struct presence {
  presence() { begun.fetch_add(1, std::memory_order_relaxed); }
  ~presence() { ended.fetch_add(1, std::memory_order_relaxed); }
  presence(const presence&) = delete;
  presence& operator=(const presence&) = delete;
};

// A fiber that was joined is counted until it is off its stack, a moment later.
void until_alone() {
  while (weft::num_fibers() != 1) weft::yield();
}

void reset_counts() {
  begun = 0;
  ended = 0;
}

long tree_of_handles(int depth) {
  const presence here;
  if (depth == 0) return 1;
  auto left = weft::spawn(tree_of_handles, depth - 1);
  auto right = weft::spawn([depth, held = parcel(0)] { return tree_of_handles(depth - 1); });
  return 1 + left.join() + right.join();
}

TEST_F(spawn_stress, a_tree_of_handles_adds_up) {
  constexpr int depth = weft_test::slowdown > 1 ? 10 : 15;
  for (int round = 0; round < 4; ++round) {
    reset_counts();
    weft::run([] {
      EXPECT_EQ(tree_of_handles(depth), (2l << depth) - 1);
      until_alone();
    });
    EXPECT_EQ(begun.load(), (2l << depth) - 1);
    EXPECT_EQ(ended.load(), begun.load());
    EXPECT_EQ(parcel::held.load(), 0);
  }
}

TEST_F(spawn_stress, detached_fibers_all_run) {
  const int count = scaled(400'000);
  std::atomic<long> ran{0};
  weft::run([&] {
    weft::wait_group all;
    for (int i = 0; i < count; ++i) {
      all.add();
      weft::go([&, held = parcel(0)] {
        ran.fetch_add(1, std::memory_order_relaxed);
        all.done();
      });
    }
    all.wait();
  });
  EXPECT_EQ(ran.load(), count);
  EXPECT_EQ(parcel::held.load(), 0);
}

TEST_F(spawn_stress, plain_threads_and_fibers_start_fibers) {
  const int each = scaled(40'000);
  std::atomic<long> ran{0};
  weft::run([&] {
    weft::wait_group all;
    auto start = [&] {
      for (int i = 0; i < each; ++i) {
        all.add();
        if (i % 3 == 0) {
          auto f = weft::spawn([&] { return ran.fetch_add(1, std::memory_order_relaxed); });
          f.join();
          all.done();
        } else {
          weft::go([&] {
            if (ran.fetch_add(1, std::memory_order_relaxed) % 2 == 0) weft::yield();
            all.done();
          });
        }
      }
      all.done();
    };
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      all.add();
      threads.emplace_back(start);
    }
    for (int t = 0; t < 3; ++t) {
      all.add();
      weft::go(start);
    }
    all.wait();
    weft::blocking([&] {
      for (std::thread& t : threads) t.join();
    });
  });
  EXPECT_EQ(ran.load(), 6l * each);
}

struct random_failure : std::runtime_error {
  using runtime_error::runtime_error;
};

// A node has some children in a scope of its own; some nodes fail, some cancel their scope, some fibers are left to the
// destructor.
void scope_node(std::uint64_t number, int depth) {
  const presence here;
  choices draw(number);
  if (draw.one_in(4)) weft::yield();
  if (draw.one_in(40)) throw random_failure("drawn");
  if (depth == 0) {
    if (draw.one_in(3)) weft::sleep_for(draw.up_to(50us));
    return;
  }
  weft::scope s;
  weft::chan<void> never;
  const unsigned children = 1 + draw.below(4);
  for (unsigned i = 0; i < children; ++i)
    s.go([number, i, depth, held = parcel(0)] { scope_node(number * 7 + i + 1, depth - 1); });
  if (draw.one_in(6)) {
    s.go([never] {
      const presence waits;
      never.recv();
    });
    if (draw.one_in(2)) weft::yield();
    s.cancel();
  }
  if (draw.one_in(30)) throw random_failure("with children");
  s.join();
}

TEST_F(spawn_stress, a_tree_of_scopes_with_failures_and_cancels_leaves_nobody) {
  const int rounds = scaled(4000);
  long failures = 0, successes = 0;
  reset_counts();
  weft::run([&] {
    for (int round = 0; round < rounds; ++round) {
      try {
        scope_node(static_cast<std::uint64_t>(round) * 1'000'003, 5);
        ++successes;
      } catch (const random_failure&) {
        ++failures;
      }
      ASSERT_EQ(begun.load(), ended.load()) << "round " << round;
      ASSERT_EQ(parcel::held.load(), 0) << "round " << round;
    }
    until_alone();
  });
  EXPECT_EQ(failures + successes, rounds);
}

TEST_F(spawn_stress, collecting_scopes_count_every_failure) {
  const int rounds = scaled(600);
  weft::run([&] {
    for (int round = 0; round < rounds; ++round) {
      choices draw(static_cast<std::uint64_t>(round));
      const std::size_t limit = draw.below(8);
      std::atomic<std::size_t> heard{0}, thrown{0}, running{0};
      std::atomic<bool> too_many{false};
      {
        weft::scope s(weft::collect, {.limit = limit, .on_error = [&](std::exception_ptr) { heard.fetch_add(1); }});
        for (unsigned i = 0; i < 200; ++i) {
          const bool fails = draw.one_in(3), waits = draw.one_in(2);
          s.go([&, fails, waits] {
            if (running.fetch_add(1) >= limit && limit != 0) too_many = true;
            if (waits) weft::yield();
            running.fetch_sub(1);
            if (!fails) return;
            thrown.fetch_add(1);
            throw random_failure("drawn");
          });
        }
        s.join();
        EXPECT_EQ(s.error_count(), thrown.load());
        EXPECT_FALSE(too_many.load());
      }
      ASSERT_EQ(heard.load(), thrown.load());
    }
  });
}

TEST_F(spawn_stress, handles_that_are_dropped_cancel_and_await_their_fibers) {
  const int rounds = scaled(10'000);
  reset_counts();
  weft::run([&] {
    weft::chan<void> never;
    for (int round = 0; round < rounds; ++round) {
      choices draw(static_cast<std::uint64_t>(round));
      std::vector<weft::fiber<void>> fibers;
      for (int i = 0; i < 8; ++i) {
        const unsigned kind = draw.below(4);
        fibers.push_back(weft::spawn([kind, never, held = parcel(0)] {
          const presence here;
          if (kind == 0) return;
          if (kind == 1) weft::yield();
          if (kind == 2) weft::sleep_for(1h);
          if (kind == 3) never.recv();
        }));
        if (draw.one_in(3)) weft::yield();
      }
      if (draw.one_in(2)) fibers[draw.below(8)].cancel();
      if (draw.one_in(2)) (void)fibers[draw.below(8)].join_for(draw.up_to(20us));
    }
  });
  EXPECT_EQ(begun.load(), ended.load());
  EXPECT_EQ(parcel::held.load(), 0);
}

// A million is a matter of memory (some 5 GB of stacks): WEFT_TEST_FIBERS=1000000 asks for it.
TEST_F(spawn_stress, very_many_fibers_wait_at_once) {
  const char* asked = std::getenv("WEFT_TEST_FIBERS");
  const long count = asked != nullptr ? std::atol(asked) : scaled(20'000);
  std::atomic<long> woken{0};
  weft::run([&] {
    weft::chan<void> gate;
    weft::wait_group all;
    for (long i = 0; i < count; ++i) {
      all.add();
      weft::go([&, gate] {
        gate.recv();
        woken.fetch_add(1, std::memory_order_relaxed);
        all.done();
      });
    }
    EXPECT_EQ(weft::num_fibers(), static_cast<std::size_t>(count) + 1);
    weft_test::until_waiting(static_cast<std::size_t>(count));
    gate.close();
    all.wait();
  });
  EXPECT_EQ(woken.load(), count);
}

}  // namespace
