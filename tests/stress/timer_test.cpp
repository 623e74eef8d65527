// SPDX-License-Identifier: Apache-2.0
//
// Timers by the thousand: those that fire, those that are taken back, those that meet a cancellation or a wake in the
// very moment. No test says how late a timer may be; none may be early, lost, or fire twice.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using weft::chan_status;
using weft_test::choices;
using weft_test::scaled;

class timer_stress : public weft_test::stress {};

TEST_F(timer_stress, sleepers_wake_once_and_never_early) {
  const int each = scaled(1000);
  std::atomic<int> woken{0}, early{0};
  weft::run([&] {
    weft::scope s;
    for (std::uint64_t who = 0; who < 200; ++who) {
      s.go([&, who] {
        choices draw(who);
        for (int i = 0; i < each; ++i) {
          const auto length = draw.up_to(300us);
          const auto due = weft::clock::now() + length;
          weft::sleep_for(length);
          if (weft::clock::now() < due) early.fetch_add(1);
          woken.fetch_add(1);
        }
      });
    }
    std::thread plain([&] {
      choices draw(777);
      for (int i = 0; i < each; ++i) {
        const auto due = weft::clock::now() + 50us;
        weft::sleep_until(due);
        if (weft::clock::now() < due) early.fetch_add(1);
        woken.fetch_add(1);
      }
    });
    s.join();
    weft::blocking([&] { plain.join(); });
  });
  EXPECT_EQ(woken.load(), 201 * each);
  EXPECT_EQ(early.load(), 0);
}

TEST_F(timer_stress, cancelled_sleepers_go_and_the_others_stay) {
  const int rounds = scaled(2000);
  weft::run([&] {
    for (int round = 0; round < rounds; ++round) {
      choices draw(static_cast<std::uint64_t>(round));
      std::atomic<int> slept{0}, cancelled{0};
      std::vector<weft::fiber<void>> sleepers;
      for (int i = 0; i < 20; ++i) {
        sleepers.push_back(weft::spawn([&, length = draw.up_to(200us)] {
          try {
            weft::sleep_for(length);
            slept.fetch_add(1);
          } catch (const weft::cancelled&) {
            cancelled.fetch_add(1);
            throw;
          }
        }));
      }
      for (int i = 0; i < 10; ++i) sleepers[draw.below(20)].cancel();
      for (auto& f : sleepers) {
        try {
          f.join();
        } catch (const weft::fiber_cancelled&) {
        }
      }
      ASSERT_EQ(slept.load() + cancelled.load(), 20);
    }
  });
}

// Timed out, completed in time, or ended by the outer limit: each call says exactly one of them.
TEST_F(timer_stress, nested_time_limits_each_end_in_exactly_one_way) {
  const int each = scaled(4000);
  std::atomic<long> outer_ended{0}, inner_ended{0}, completed{0};
  weft::run([&] {
    weft::scope s;
    weft::chan<void> never;
    for (std::uint64_t who = 0; who < 50; ++who) {
      s.go([&, who] {
        choices draw(who);
        for (int i = 0; i < each; ++i) {
          const auto outer = draw.up_to(200us), inner = draw.up_to(200us), work = draw.up_to(200us);
          const bool for_ever = draw.one_in(4);
          try {
            weft::with_timeout(outer, [&] {
              try {
                weft::with_timeout(inner, [&] {
                  if (for_ever)
                    never.recv();
                  else
                    weft::sleep_for(work);
                });
                completed.fetch_add(1);
              } catch (const weft::timed_out&) {
                inner_ended.fetch_add(1);
              }
            });
          } catch (const weft::timed_out&) {
            outer_ended.fetch_add(1);
          }
          // Nothing of it clings to the fiber.
          ASSERT_FALSE(weft::this_fiber::cancelled());
          weft::yield();
        }
      });
    }
    s.join();
  });
  EXPECT_EQ(outer_ended.load() + inner_ended.load() + completed.load(), 50l * each);
  EXPECT_GT(outer_ended.load() + inner_ended.load(), 0);
}

TEST_F(timer_stress, time_limits_reach_scopes_inside) {
  const int rounds = scaled(4000);
  std::atomic<long> begun{0}, ended{0};
  weft::run([&] {
    weft::chan<void> never;
    for (int round = 0; round < rounds; ++round) {
      choices draw(static_cast<std::uint64_t>(round));
      EXPECT_THROW(weft::with_timeout(draw.up_to(100us),
                                      [&] {
                                        weft::scope s;
                                        for (int i = 0; i < 5; ++i) {
                                          s.go([&, i] {
                                            begun.fetch_add(1);
                                            struct end {
                                              std::atomic<long>& count;
                                              ~end() { count.fetch_add(1); }
                                            } at_the_end{ended};
                                            if (i % 2 == 0) never.recv();
                                            weft::sleep_for(1h);
                                          });
                                        }
                                        s.join();
                                      }),
                   weft::timed_out);
      ASSERT_EQ(begun.load(), ended.load());
    }
  });
}

// A value and the end of patience at the same moment: the value is either received or still there.
TEST_F(timer_stress, patience_that_ends_as_the_value_comes_loses_nothing) {
  const int count = scaled(60'000);
  weft::run([&] {
    weft::chan<int> c;
    weft::scope s;
    long sent = 0, received = 0;
    s.go([&, c] {
      choices draw(1);
      for (int i = 0; i < count; ++i) {
        if (draw.one_in(2)) weft::sleep_for(draw.up_to(20us));
        while (c.send_for(i, draw.up_to(20us)) != chan_status::ok) {
        }
        sent += i;
      }
      c.close();
    });
    s.go([&, c] {
      choices draw(2);
      int next = 0;
      for (;;) {
        auto [how, value] = c.recv_for(draw.up_to(20us));
        if (how == chan_status::closed) return;
        if (how == chan_status::empty) continue;
        ASSERT_EQ(*value, next++);
        received += *value;
      }
    });
    s.join();
    EXPECT_EQ(sent, received);
  });
}

// Every setting ends in exactly one way: its value is received, or a stop or reset says that it took it back.
TEST_F(timer_stress, each_setting_of_a_shared_timer_ends_in_one_way) {
  const int each = scaled(40'000);
  std::atomic<long> settings{1}, received{0}, taken_back{0};
  weft::run([&] {
    weft::timer t(10us);
    weft::scope s;
    std::atomic<int> at_work{6};
    for (std::uint64_t who = 0; who < 6; ++who) {
      s.go([&, who] {
        choices draw(who);
        for (int i = 0; i < each; ++i) {
          if (draw.one_in(3)) {
            if (t.stop()) taken_back.fetch_add(1);
          } else {
            settings.fetch_add(1);
            if (t.reset(draw.one_in(8) ? 0us : draw.up_to(20us))) taken_back.fetch_add(1);
          }
          if (draw.one_in(8)) weft::sleep_for(draw.up_to(30us));
        }
        at_work.fetch_sub(1);
      });
    }
    for (int who = 0; who < 3; ++who) {
      s.go([&] {
        while (at_work.load() != 0)
          if (t.chan().recv_for(50us).status == chan_status::ok) received.fetch_add(1);
      });
    }
    s.join();
    if (t.stop()) taken_back.fetch_add(1);
  });
  EXPECT_EQ(received.load() + taken_back.load(), settings.load());
}

TEST_F(timer_stress, each_setting_of_a_function_ends_in_one_way) {
  const int each = scaled(30'000);
  std::atomic<long> settings{1}, calls{0}, taken_back{0};
  weft::run([&] {
    weft::timer t(10us, [&] { calls.fetch_add(1); });
    weft::scope s;
    for (std::uint64_t who = 0; who < 6; ++who) {
      s.go([&, who] {
        choices draw(who);
        for (int i = 0; i < each; ++i) {
          if (draw.one_in(3)) {
            if (t.stop()) taken_back.fetch_add(1);
          } else {
            settings.fetch_add(1);
            if (t.reset(draw.one_in(8) ? 0us : draw.up_to(20us))) taken_back.fetch_add(1);
          }
          if (draw.one_in(4)) weft::sleep_for(draw.up_to(30us));
        }
      });
    }
    s.join();
    if (t.stop()) taken_back.fetch_add(1);
  });
  EXPECT_EQ(calls.load() + taken_back.load(), settings.load());
}

// Handles that go, with the timer's end in the air, by fibers and a plain thread, while the width moves.
TEST_F(timer_stress, timers_that_are_dropped_at_any_moment) {
  const int each = scaled(8000);
  std::atomic<long> functions_made{0}, functions_gone{0};
  struct counted {
    explicit counted(std::atomic<long>& made, std::atomic<long>& gone) : gone_(&gone) { made.fetch_add(1); }
    counted(counted&& other) noexcept : gone_(std::exchange(other.gone_, nullptr)) {}
    ~counted() {
      if (gone_ != nullptr) gone_->fetch_add(1);
    }
    void operator()() { weft::yield(); }
    std::atomic<long>* gone_;
  };
  const auto use_timers = [&](std::uint64_t who) {
    choices draw(who);
    for (int i = 0; i < each; ++i) {
      const auto length = draw.up_to(20us), held = draw.up_to(20us);
      const auto c = weft::after(length);
      std::vector<weft::timer> timers;
      timers.emplace_back(length);
      timers.emplace_back(length, counted(functions_made, functions_gone));
      weft::ticker every(length + 1us);
      switch (draw.below(4)) {
        case 0:
          break;
        case 1:
          weft::sleep_for(held);
          break;
        case 2:
          ASSERT_TRUE(c.recv().has_value());
          break;
        case 3:
          ASSERT_TRUE(every.chan().recv().has_value());
          every.reset(length + 2us);
          break;
      }
    }
  };
  weft::run([&] {
    const int width = weft::maxprocs();
    std::atomic<bool> over{false};
    std::thread plain([&] { use_timers(100); });
    auto mover = weft::spawn([&] {
      for (int n = 1; !over.load(); n = n % (width + 1) + 1) {
        weft::set_maxprocs(n);
        weft::sleep_for(300us);
      }
    });
    {
      weft::scope users;
      for (std::uint64_t who = 0; who < 8; ++who) users.go([&, who] { use_timers(who); });
      users.join();
    }
    weft::blocking([&] { plain.join(); });
    over.store(true);
    mover.join();
    weft::set_maxprocs(width);
  });
  EXPECT_EQ(functions_made.load(), functions_gone.load());
}

}  // namespace
