// SPDX-License-Identifier: Apache-2.0
//
// The heap of timers by itself, with times that the test makes up: against a sequential reference, and the rules that
// its callers lean on.

#include "runtime/sched/timer_heap.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace {

using weft::rt::fired_timers;
using weft::rt::nanoseconds_t;
using weft::rt::never;
using weft::rt::timer_heap;

struct probe : weft::rt::timer {
  probe() {
    fire = [](weft::rt::timer& t, fired_timers&) noexcept {
      auto& self = static_cast<probe&>(t);
      ++self.fired;
      if (self.log != nullptr) self.log->push_back(self.when);
      if (self.again_after != 0) self.when += self.again_after;
    };
  }
  int fired = 0;
  nanoseconds_t again_after = 0;
  std::vector<nanoseconds_t>* log = nullptr;
};

// All that is due at `now`; how often there was more.
int run_all(timer_heap& heap, nanoseconds_t now) {
  int passes = 1;
  for (;; ++passes) {
    fired_timers out;
    if (!heap.run_due(now, out)) return passes;
  }
}

TEST(timer_heap, fires_in_order_what_is_due_and_nothing_else) {
  timer_heap heap;
  std::vector<nanoseconds_t> log;
  std::vector<probe> timers(7);
  const nanoseconds_t times[] = {50, 10, 40, 10, 1'000'000'000'000, 30, 60};
  for (std::size_t i = 0; i < timers.size(); ++i) {
    timers[i].when = times[i];
    timers[i].log = &log;
    heap.start(timers[i]);
  }
  EXPECT_EQ(heap.size(), 7u);
  run_all(heap, 9);
  EXPECT_TRUE(log.empty());
  run_all(heap, 50);
  EXPECT_EQ(log, (std::vector<nanoseconds_t>{10, 10, 30, 40, 50}));
  EXPECT_EQ(heap.size(), 2u);
  EXPECT_LE(heap.next_when(), 60);
  EXPECT_TRUE(timer_heap::stop(timers[6]));
  EXPECT_FALSE(timer_heap::stop(timers[6]));
  EXPECT_FALSE(timer_heap::stop(timers[0]));
  heap.clear();
  EXPECT_EQ(heap.next_when(), never);
  EXPECT_FALSE(timer_heap::stop(timers[4]));
}

TEST(timer_heap, one_that_sets_itself_later_stays) {
  timer_heap heap;
  probe ticker;
  ticker.when = 100;
  ticker.again_after = 100;
  heap.start(ticker);
  run_all(heap, 1000);
  EXPECT_EQ(ticker.fired, 10);
  EXPECT_EQ(ticker.when, 1100);
  EXPECT_TRUE(timer_heap::stop(ticker));
  run_all(heap, 5000);
  EXPECT_EQ(ticker.fired, 10);
}

TEST(timer_heap, next_when_is_never_late) {
  timer_heap heap;
  std::mt19937_64 random(7);
  std::multimap<nanoseconds_t, std::unique_ptr<probe>> all;
  for (int i = 0; i < 2000; ++i) {
    auto t = std::make_unique<probe>();
    t->when = static_cast<nanoseconds_t>(random() >> (random() % 40 + 10));
    heap.start(*t);
    all.emplace(t->when, std::move(t));
    ASSERT_LE(heap.next_when(), all.begin()->first);
  }
  while (!all.empty()) {
    ASSERT_TRUE(timer_heap::stop(*all.begin()->second));
    all.erase(all.begin());
    ASSERT_LE(heap.next_when(), all.empty() ? never : all.begin()->first);
    if (all.empty()) {
      ASSERT_EQ(heap.next_when(), never);
    }
  }
}

// An idle M sleeps until next_when and runs what is due then: it must not have to come back for one timer often.
TEST(timer_heap, a_single_far_timer_is_reached_in_few_steps) {
  for (const nanoseconds_t when : {nanoseconds_t{1}, nanoseconds_t{999}, nanoseconds_t{1'000'000},
                                   nanoseconds_t{3'600'000'000'000}, nanoseconds_t{1} << 60, never - 1}) {
    timer_heap heap;
    probe t;
    t.when = when;
    heap.start(t);
    int steps = 0;
    while (t.fired == 0) {
      ASSERT_LE(heap.next_when(), when);
      run_all(heap, heap.next_when());
      ASSERT_LE(++steps, 2);
    }
  }
}

// Starts, stops and passes at random: what fires, and in which order, is what a sorted list says.
void compare_with_a_sorted_list(std::uint64_t seed, std::size_t count, int steps, unsigned far_bits,
                                unsigned pass_bits) {
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  // Up to 2^bits, and of each size alike.
  const auto span = [&random](unsigned bits) {
    return static_cast<nanoseconds_t>(random() >> (64 - bits) >> (random() % bits));
  };
  timer_heap heap;
  std::vector<nanoseconds_t> log;
  std::deque<probe> timers(count);
  std::vector<bool> running(count);
  std::multiset<nanoseconds_t> times;
  nanoseconds_t now = span(60);
  for (int step = 0; step < steps; ++step) {
    const std::size_t which = random() % count;
    probe& t = timers[which];
    switch (random() % 8) {
      case 0:
        ASSERT_EQ(timer_heap::stop(t), running[which]);
        if (running[which]) times.erase(times.find(t.when));
        running[which] = false;
        break;
      case 1: {
        now += span(pass_bits);
        const auto end = times.upper_bound(now);
        const std::vector<nanoseconds_t> expected(times.begin(), end);
        times.erase(times.begin(), end);
        for (std::size_t i = 0; i < count; ++i)
          if (timers[i].when <= now) running[i] = false;
        log.clear();
        run_all(heap, now);
        ASSERT_EQ(log, expected);
        break;
      }
      default: {
        if (running[which]) break;
        t.when = random() % 16 == 0 ? now - 5 : weft::rt::saturating_add(now, span(far_bits)) - 1;
        t.log = &log;
        heap.start(t);
        times.insert(t.when);
        running[which] = true;
      }
    }
    ASSERT_EQ(heap.size(), times.size());
    ASSERT_LE(heap.next_when(), times.empty() ? never : *times.begin());
    ASSERT_EQ(heap.next_when() == never, times.empty());
  }
  heap.clear();
  for (std::size_t i = 0; i < count; ++i) ASSERT_FALSE(timer_heap::stop(timers[i]));
}

TEST(timer_heap, agrees_with_a_sorted_list_over_centuries) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) compare_with_a_sorted_list(seed, 300, 3000, 61, 45);
}

TEST(timer_heap, agrees_with_a_sorted_list_within_milliseconds) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) compare_with_a_sorted_list(seed, 100, 3000, 24, 22);
}

// Lists so long that they are moved in several passes.
TEST(timer_heap, agrees_with_a_sorted_list_when_crowded) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    compare_with_a_sorted_list(seed, 5000, 20'000, 21, 12);
    compare_with_a_sorted_list(seed, 5000, 20'000, 27, 18);
  }
}

TEST(timer_heap, a_million_at_one_time) {
  timer_heap heap;
  std::deque<probe> timers(300'000);
  for (auto& t : timers) {
    t.when = 123'456'789'012;
    heap.start(t);
  }
  run_all(heap, 123'456'789'011);
  for (std::size_t i = 0; i < timers.size(); i += 2) ASSERT_TRUE(timer_heap::stop(timers[i]));
  run_all(heap, 123'456'789'012);
  for (std::size_t i = 0; i < timers.size(); ++i) ASSERT_EQ(timers[i].fired, i % 2);
}

// Each start ends in exactly one of: fired, stopped. And the memory of a stopped timer is its owner's at once.
TEST(timer_heap, stop_and_fire_race_to_one_end) {
  timer_heap heap;
  std::atomic<bool> over = false;
  std::atomic<nanoseconds_t> now = 0;
  std::thread runner([&] {
    while (!over) {
      run_all(heap, now.fetch_add(997));
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> owners;
  for (std::uint64_t who = 1; who <= 3; ++who) {
    owners.emplace_back([&, who] {
      std::mt19937_64 random(who);
      for (int i = 0; i < 5000; ++i) {
        auto t = std::make_unique<probe>();
        t->when = now + static_cast<nanoseconds_t>(random() % 100'000);
        heap.start(*t);
        if (random() % 4 == 0) std::this_thread::yield();
        const bool stopped = timer_heap::stop(*t);
        EXPECT_EQ(t->fired, stopped ? 0 : 1);
      }
    });
  }
  for (auto& owner : owners) owner.join();
  over = true;
  runner.join();
  EXPECT_EQ(heap.size(), 0u);
}

}  // namespace
