// SPDX-License-Identifier: Apache-2.0
//
// Random operations on one timer beside a sequential model of it. No expectation is timed: a setting of an hour does
// not fire within the test, one of none has fired when the call returns, and one of microseconds may have fired or not,
// which `stop` and `reset` must not tell apart.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include <weft/weft.hpp>

#include "tests/support/stress.hpp"
#include "tests/support/undisturbed.hpp"

namespace {

using namespace std::chrono_literals;
using weft::chan_status;
using weft_test::choices;
using weft_test::scaled;
using weft_test::undisturbed;
using instant = weft::clock::time_point;

class timer_reference : public weft_test::stress {};

enum class state { idle, far, soon, there };

struct model {
  state now = state::idle;
  instant earliest;  ///< what a value of the setting is at least

  bool pending() const { return now != state::idle; }
};

TEST_F(timer_reference, channel_timers_agree_with_the_model) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    weft::run([seed] {
      choices draw(seed);
      weft::timer t(1h);
      model m{state::far, weft::clock::now()};
      for (int step = 0; step < scaled(2000) && !testing::Test::HasFailure(); ++step) {
        const auto where = [&] { return "seed " + std::to_string(seed) + ", step " + std::to_string(step); };
        switch (draw.below(7)) {
          case 0: {
            EXPECT_EQ(t.stop(), m.pending()) << where();
            m.now = state::idle;
            break;
          }
          case 1: {
            EXPECT_EQ(t.reset(1h), m.pending()) << where();
            m.now = state::far;
            break;
          }
          case 2: {
            const auto d = draw.up_to(30us) + 1ns;
            const auto earliest = weft::clock::now() + d;
            EXPECT_EQ(t.reset(d), m.pending()) << where();
            m = {state::soon, earliest};
            break;
          }
          case 3: {
            const auto earliest = weft::clock::now();
            EXPECT_EQ(t.reset(-draw.up_to(30us)), m.pending()) << where();
            m = {state::there, earliest};
            break;
          }
          case 4: {
            const auto [status, value] = t.chan().try_recv();
            if (m.now == state::idle || m.now == state::far) {
              EXPECT_EQ(status, chan_status::empty) << where();
            }
            if (m.now == state::there) {
              EXPECT_EQ(status, chan_status::ok) << where();
            }
            if (status == chan_status::ok) {
              EXPECT_GE(*value, m.earliest) << where();
              EXPECT_LE(*value, weft::clock::now()) << where();
              m.now = state::idle;
            }
            break;
          }
          case 5: {
            if (m.now != state::soon && m.now != state::there) break;
            EXPECT_GE(t.chan().recv().value(), m.earliest) << where();
            m.now = state::idle;
            break;
          }
          case 6: {
            if (draw.one_in(4))
              weft::sleep_for(draw.up_to(50us));
            else
              weft::yield();
          }
        }
      }
      EXPECT_EQ(t.stop(), m.pending());
      EXPECT_FALSE(t.stop());
      EXPECT_EQ(t.chan().try_recv().status, chan_status::empty);
    });
  }
}

// Each setting either runs the function once or is taken back, and the caller is told which.
TEST_F(timer_reference, function_timers_agree_with_the_model) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::atomic<int> calls = 0;
    int settings = 1, taken_back = 0;
    weft::run([&, seed] {
      choices draw(seed);
      weft::timer t(draw.up_to(20us), [&] { ++calls; });
      for (int step = 0; step < scaled(1000); ++step) {
        switch (draw.below(5)) {
          case 0:
            taken_back += t.stop() ? 1 : 0;
            break;
          case 1:
            taken_back += t.reset(1h) ? 1 : 0;
            ++settings;
            break;
          case 2:
            taken_back += t.reset(draw.up_to(30us)) ? 1 : 0;
            ++settings;
            break;
          case 3:
            taken_back += t.reset(-1ns) ? 1 : 0;
            ++settings;
            break;
          case 4:
            if (draw.one_in(4))
              weft::sleep_for(draw.up_to(50us));
            else
              weft::yield();
            break;
        }
      }
      taken_back += t.stop() ? 1 : 0;
    });
    EXPECT_EQ(calls + taken_back, settings) << "seed " << seed;
  }
}

// At one P, as long as nobody has lost it, sleepers wake in the order in which they are due.
TEST_F(timer_reference, sleepers_wake_in_order) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    weft::run({.maxprocs = 1}, [seed] {
      choices draw(seed);
      const bool in_order = undisturbed([&] {
        constexpr unsigned count = 200;  // a P's queue holds them all
        std::array<instant, count> order;
        std::atomic<unsigned> asleep = 0, awake = 0;
        weft::scope s;
        const auto base = weft::clock::now() + 2ms;
        for (unsigned i = 0; i < count; ++i) {
          s.go([&, due = base + draw.up_to(4ms)] {
            ++asleep;
            weft::sleep_until(due);
            order[awake++] = due;
          });
        }
        while (asleep != count) weft::yield();
        const bool all_before_the_first = weft::clock::now() < base;  // a sleep that came too late did not sleep
        s.join();
        return !all_before_the_first || std::is_sorted(order.begin(), order.end());
      });
      EXPECT_TRUE(in_order) << "seed " << seed;
    });
  }
}

}  // namespace
