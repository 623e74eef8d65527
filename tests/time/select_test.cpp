// SPDX-License-Identifier: Apache-2.0
//
// The channels of timers as cases of a select.

#include <gtest/gtest.h>

#include <chrono>
#include <optional>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until_waiting;
using instant = weft::clock::time_point;

TEST(timer_select, a_value_that_is_there_is_taken) {
  weft::run([] {
    const auto c = weft::after(0s);
    const weft::chan<int> never;
    const auto before = weft::clock::now();
    std::optional<instant> got;
    EXPECT_EQ(weft::select(weft::on_recv(never), weft::on_recv(c, [&](std::optional<instant> due) { got = due; })), 1u);
    ASSERT_TRUE(got.has_value());
    EXPECT_LE(*got, before);
    EXPECT_EQ(weft::select(weft::on_recv(c), weft::on_default()), 1u);
  });
}

TEST(timer_select, the_earliest_of_several_ends_the_wait) {
  weft::run([] {
    const auto far = weft::after(1h);
    const weft::timer near(2ms);
    const weft::ticker farther(1h);
    std::optional<instant> got;
    const auto before = weft::clock::now();
    EXPECT_EQ(weft::select(weft::on_recv(far), weft::on_recv(farther.chan()),
                           weft::on_recv(near.chan(), [&](std::optional<instant> due) { got = due; })),
              2u);
    ASSERT_TRUE(got.has_value());
    EXPECT_LE(*got, before + 2ms);
    EXPECT_LE(*got, weft::clock::now());
  });
}

TEST(timer_select, waits_that_a_reset_brings_forward) {
  weft::run([] {
    weft::timer t(1h);
    const weft::chan<void> never;
    auto waiter = weft::spawn([&] { return weft::select(weft::on_recv(never), weft::on_recv(t.chan())); });
    until_waiting(1);
    EXPECT_TRUE(t.reset(1ms));
    EXPECT_EQ(waiter.join(), 1u);
    EXPECT_FALSE(t.stop());
  });
}

// What loses the select is not lost: the tick is there for the next look, or was never sent.
TEST(timer_select, a_loop_over_ticks_and_work_sees_both) {
  weft::run([] {
    weft::ticker every(100us);
    const weft::chan<int> work;
    weft::scope s;
    s.go([=] {
      for (int i = 0; i < 500; ++i) work.send(i);
      work.close();
    });
    int next = 0, ticks = 0;
    instant last;
    for (bool more = true; more || ticks == 0;) {
      weft::select(weft::on_recv(more ? work : weft::chan<int>(nullptr),
                                 [&](std::optional<int> v) {
                                   if (v.has_value()) {
                                     EXPECT_EQ(*v, next++);
                                   } else {
                                     more = false;
                                   }
                                 }),
                   weft::on_recv(every.chan(), [&](std::optional<instant> due) {
                     EXPECT_GT(*due, last);
                     last = *due;
                     ++ticks;
                   }));
    }
    EXPECT_EQ(next, 500);
    s.join();
  });
}

}  // namespace
