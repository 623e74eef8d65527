// SPDX-License-Identifier: Apache-2.0
//
// ticker: ticks come in step and never early, a slow reader loses some, and after stop or reset none of the old comes.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
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
using weft::chan_status;
using weft_test::until_waiting;
using instant = weft::clock::time_point;

static_assert(!std::is_copy_constructible_v<weft::ticker> && std::is_nothrow_move_constructible_v<weft::ticker>);

TEST(ticker, ticks_in_step_and_never_early) {
  weft::run([] {
    constexpr auto period = 700us;
    const auto before = weft::clock::now();
    weft::ticker every(period);
    const auto made = weft::clock::now();
    const instant first = every.chan().recv().value();
    EXPECT_GE(first, before + period);
    EXPECT_LE(first, made + period);
    instant last = first;
    for (int i = 0; i < 30; ++i) {
      const instant due = every.chan().recv().value();
      EXPECT_GE(weft::clock::now(), due);
      EXPECT_GT(due, last);
      EXPECT_EQ((due - first) % period, 0ns);
      last = due;
    }
  });
}

TEST(ticker, a_slow_reader_loses_ticks_and_keeps_the_step) {
  // At one P timers fire in the order they are due, so the ticks were there before the sleeper.
  weft::run({.maxprocs = 1}, [] {
    constexpr auto period = 1ms;
    weft::ticker every(period);
    // One that fired in its own period: the tick armed after it is the next step, none was skipped.
    instant first;
    do first = every.chan().recv().value();
    while (weft::clock::now() >= first + period);
    weft::sleep_until(first + 10 * period + period / 2);
    EXPECT_EQ(every.chan().recv(), first + period);  // the one that waited
    const instant next = every.chan().recv().value();
    EXPECT_GT(next, first + 10 * period);
    EXPECT_EQ((next - first) % period, 0ns);
  });
}

TEST(ticker, no_tick_after_stop) {
  weft::run([] {
    weft::ticker every(100us);
    every.chan().recv();
    weft::sleep_for(1ms);
    every.stop();
    EXPECT_EQ(every.chan().try_recv().status, chan_status::empty);
    EXPECT_EQ(every.chan().recv_for(2ms).status, chan_status::empty);
    every.stop();
  });
}

TEST(ticker, stop_does_not_close_and_reset_starts_it_again) {
  weft::run([] {
    weft::ticker every(1h);
    every.stop();
    auto reader = weft::spawn([&] { return every.chan().recv().value(); });
    until_waiting(1);
    const auto before = weft::clock::now();
    every.reset(1ms);
    EXPECT_GE(reader.join(), before + 1ms);
  });
}

TEST(ticker, reset_changes_the_period_and_takes_old_ticks_back) {
  weft::run([] {
    weft::ticker every(100us);
    weft::sleep_for(1ms);
    const auto before = weft::clock::now();
    every.reset(3ms);
    const instant first = every.chan().recv().value();
    EXPECT_GE(first, before + 3ms);
    EXPECT_EQ((every.chan().recv().value() - first) % 3ms, 0ns);
    every.reset(1h);
    EXPECT_EQ(every.chan().recv_for(1ms).status, chan_status::empty);
  });
}

TEST(ticker, refuses_a_period_that_is_none) {
  weft::run([] {
    for (const std::chrono::nanoseconds none : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
      EXPECT_THROW(weft::ticker{none}, std::invalid_argument);
      weft::ticker every(1h);
      EXPECT_THROW(every.reset(none), std::invalid_argument);
    }
    try {
      weft::ticker every(-5ns);
      FAIL();
    } catch (const std::invalid_argument& error) {
      EXPECT_STREQ(error.what(), "weft::ticker: a period of -5 ns; expected more than 0");
    }
  });
  EXPECT_THROW(weft::ticker{0s}, std::invalid_argument);
  EXPECT_THROW(weft::ticker{1s}, std::logic_error);
}

TEST(ticker, of_practically_for_ever_does_not_wrap) {
  weft::run([] {
    weft::ticker every(std::chrono::nanoseconds::max());
    EXPECT_EQ(every.chan().recv_for(1ms).status, chan_status::empty);
    every.reset(std::chrono::hours::max());
    EXPECT_EQ(every.chan().recv_for(1ms).status, chan_status::empty);
    every.reset(std::chrono::nanoseconds::max() / 2);
    EXPECT_EQ(every.chan().recv_for(1ms).status, chan_status::empty);
  });
}

TEST(ticker, can_be_ranged_over) {
  weft::run([] {
    weft::ticker every(200us);
    std::vector<instant> seen;
    for (const instant due : every.chan()) {
      seen.push_back(due);
      if (seen.size() == 10) break;
    }
    for (std::size_t i = 1; i < seen.size(); ++i) EXPECT_GT(seen[i], seen[i - 1]);
  });
}

TEST(ticker, a_tick_goes_to_one_of_several_readers) {
  weft::run([] {
    weft::ticker every(200us);
    std::atomic<long> ticks = 0;
    weft::chan<instant> all(64);
    weft::scope s;
    for (int i = 0; i < 4; ++i) {
      s.go([&] {
        while (ticks.fetch_add(1) < 40) all.send(every.chan().recv().value());
      });
    }
    s.join();
    all.close();
    std::vector<instant> seen;
    for (const instant due : all) seen.push_back(due);
    EXPECT_EQ(seen.size(), 40u);
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
  });
}

TEST(ticker, its_destructor_stops_it_and_it_moves) {
  weft::run([] {
    weft::recv_chan<instant> c;
    {
      weft::ticker a(100us);
      weft::ticker b(std::move(a));
      EXPECT_TRUE(a.chan() == nullptr);
      a.stop();
      EXPECT_THROW(a.reset(1s), std::logic_error);
      c = b.chan();
      EXPECT_TRUE(c.recv().has_value());
      weft::ticker other(1h);
      other = std::move(b);
      EXPECT_TRUE(other.chan().recv().has_value());
    }
    EXPECT_EQ(c.recv_for(1ms).status, chan_status::empty);
  });
}

TEST(ticker, a_cancelled_reader_leaves_and_the_ticks_go_on) {
  weft::run([] {
    weft::ticker every(1h);
    auto reader = weft::spawn([&] {
      for ([[maybe_unused]] const instant due : every.chan()) {
      }
    });
    until_waiting(1);
    reader.cancel();
    EXPECT_THROW(reader.join(), weft::fiber_cancelled);
    every.reset(1ms);
    EXPECT_TRUE(every.chan().recv().has_value());
  });
}

TEST(ticker, does_not_fire_in_the_next_runtime) {
  std::optional<weft::ticker> kept;
  weft::run([&] { kept.emplace(1ms); });
  weft::run([&] {
    kept->chan().try_recv();  // what fired before the end
    EXPECT_EQ(kept->chan().recv_for(3ms).status, chan_status::empty);
    kept->reset(1ms);
    EXPECT_TRUE(kept->chan().recv().has_value());
  });
  kept.reset();
}

TEST(ticker, serves_plain_threads) {
  weft::run([] {
    std::thread thread([] {
      weft::ticker every(300us);
      int seen = 0;
      for ([[maybe_unused]] const instant due : every.chan())
        if (++seen == 5) break;
      EXPECT_EQ(seen, 5);
    });
    weft::blocking([&] { thread.join(); });
  });
}

}  // namespace
