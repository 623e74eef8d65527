// SPDX-License-Identifier: Apache-2.0
//
// after and timer: what arrives, what stop and reset say in every state, and that nothing of a former setting comes.
// No test says how late a timer may be; none may be early.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
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

static_assert(!std::is_copy_constructible_v<weft::timer> && std::is_nothrow_move_constructible_v<weft::timer>);
static_assert(std::is_same_v<decltype(weft::after(1s)), weft::recv_chan<instant>>);
static_assert(!std::is_convertible_v<std::chrono::seconds, weft::timer>);

/// Gives a timer of this length, or shorter, the time to fire. What is expected afterwards holds also if it has not.
void let_fire(std::chrono::nanoseconds d) {
  weft::sleep_for(d);
  weft::after(1ms).recv();
}

TEST(after, sends_the_time_it_was_due_and_never_early) {
  weft::run([] {
    for (const std::chrono::nanoseconds d : {1ns, 1000ns, 250'000ns, 3'000'000ns}) {
      const auto before = weft::clock::now();
      const auto c = weft::after(d);
      const auto made = weft::clock::now();
      const instant due = c.recv().value();
      EXPECT_GE(weft::clock::now(), due);
      EXPECT_GE(due, before + d);
      EXPECT_LE(due, made + d);
    }
  });
}

TEST(after, of_no_length_has_its_value_at_once) {
  weft::run([] {
    for (const std::chrono::nanoseconds d : {0ns, -1ns, -1'000'000'000ns, std::chrono::nanoseconds::min()}) {
      const auto before = weft::clock::now();
      const auto c = weft::after(d);
      const auto got = c.try_recv();
      ASSERT_EQ(got.status, chan_status::ok);
      EXPECT_GE(*got.value, before);
      EXPECT_LE(*got.value, weft::clock::now());
      EXPECT_EQ(c.try_recv().status, chan_status::empty);
    }
  });
}

TEST(after, sends_one_value_and_does_not_close) {
  weft::run([] {
    const auto c = weft::after(1ms);
    EXPECT_TRUE(c.recv().has_value());
    let_fire(2ms);
    EXPECT_EQ(c.try_recv().status, chan_status::empty);
  });
}

TEST(after, shows_as_unbuffered) {
  weft::run([] {
    const auto c = weft::after(0s);
    EXPECT_EQ(c.capacity(), 0u);
    EXPECT_EQ(c.size(), 0u);
    EXPECT_TRUE(c.recv().has_value());
  });
}

TEST(after, of_practically_for_ever_does_not_wrap) {
  weft::run([] {
    for (const auto& c :
         {weft::after(std::chrono::nanoseconds::max()), weft::after(std::chrono::hours::max()),
          weft::after(std::chrono::duration<double>(1e300)), weft::after(std::chrono::nanoseconds::max() - 1ns)}) {
      EXPECT_EQ(c.try_recv().status, chan_status::empty);
      EXPECT_EQ(c.recv_for(1ms).status, chan_status::empty);
    }
  });
}

TEST(after, wakes_one_of_several_receivers) {
  weft::run([] {
    const auto c = weft::after(5ms);
    std::atomic<int> got = 0;
    std::vector<weft::fiber<void>> receivers;
    for (int i = 0; i < 8; ++i)
      receivers.push_back(weft::spawn([&, c] {
        if (c.recv().has_value()) ++got;
      }));
    while (got == 0) weft::yield();
    until_waiting(7);
    EXPECT_EQ(got, 1);
    for (auto& receiver : receivers) {
      receiver.cancel();
      try {
        receiver.join();
      } catch (const weft::fiber_cancelled&) {
      }
    }
    EXPECT_EQ(got, 1);
  });
}

TEST(after, goes_with_its_last_handle) {
  weft::run([] {
    for (int i = 0; i < 100'000; ++i) (void)weft::after(1h);  // would be 20 MB and a heap of them
    weft::recv_chan<instant> last;
    {
      const auto first = weft::after(2ms);
      last = first;
    }
    EXPECT_TRUE(last.recv().has_value());
  });
}

TEST(after, may_lose_its_last_handle_in_the_moment_it_fires) {
  weft::run([] {
    for (int i = 0; i < 3000; ++i) {
      auto c = std::make_optional(weft::after(std::chrono::microseconds(i % 50)));
      if (i % 3 != 0) weft::sleep_for(std::chrono::microseconds(i % 50));
      c.reset();
    }
  });
}

TEST(after, serves_plain_threads) {
  weft::run([] {
    std::thread thread([] {
      const auto before = weft::clock::now();
      const auto c = weft::after(2ms);
      EXPECT_GE(c.recv().value(), before + 2ms);
      EXPECT_GE(weft::clock::now(), before + 2ms);
    });
    weft::blocking([&] { thread.join(); });
  });
}

TEST(timer, can_be_received_from_as_often_as_it_is_set) {
  weft::run([] {
    weft::timer t(1ms);
    auto last = t.chan().recv().value();
    for (int i = 0; i < 20; ++i) {
      EXPECT_FALSE(t.reset(100us));
      const auto due = t.chan().recv().value();
      EXPECT_GT(due, last);
      last = due;
    }
  });
}

TEST(timer, stop_says_whether_anything_was_to_come) {
  weft::run([] {
    weft::timer t(1h);
    EXPECT_TRUE(t.stop());
    EXPECT_FALSE(t.stop());  // stopped already
    EXPECT_EQ(t.chan().try_recv().status, chan_status::empty);

    t.reset(1ms);
    let_fire(1ms);
    EXPECT_TRUE(t.stop());  // fired, not received
    EXPECT_EQ(t.chan().try_recv().status, chan_status::empty);
    EXPECT_FALSE(t.stop());

    t.reset(1ms);
    EXPECT_TRUE(t.chan().recv().has_value());
    EXPECT_FALSE(t.stop());  // received
  });
}

TEST(timer, reset_says_what_stop_would_have) {
  weft::run([] {
    weft::timer t(1h);
    EXPECT_TRUE(t.reset(1h));
    EXPECT_TRUE(t.stop());
    EXPECT_FALSE(t.reset(1ms));
    let_fire(1ms);
    EXPECT_TRUE(t.reset(1ms));  // fired, not received
    EXPECT_TRUE(t.chan().recv().has_value());
    EXPECT_FALSE(t.reset(0s));  // received
    EXPECT_TRUE(t.reset(-1s));
    EXPECT_TRUE(t.chan().try_recv().value.has_value());
    EXPECT_FALSE(t.stop());
  });
}

TEST(timer, no_value_of_a_former_setting_arrives) {
  weft::run([] {
    weft::timer t(1ms);
    let_fire(1ms);
    const auto before = weft::clock::now();
    EXPECT_TRUE(t.reset(3ms));
    EXPECT_GE(t.chan().recv().value(), before + 3ms);
    t.reset(1ms);
    let_fire(1ms);
    t.reset(1h);
    EXPECT_EQ(t.chan().try_recv().status, chan_status::empty);
    EXPECT_EQ(t.chan().recv_for(2ms).status, chan_status::empty);
  });
}

TEST(timer, can_be_set_earlier_and_later_while_somebody_waits) {
  weft::run([] {
    weft::timer t(1h);
    auto receiver = weft::spawn([&] { return t.chan().recv().value(); });
    until_waiting(1);
    const auto before = weft::clock::now();
    EXPECT_TRUE(t.reset(2ms));
    EXPECT_GE(receiver.join(), before + 2ms);

    t.reset(2ms);
    auto second = weft::spawn([&] { return t.chan().recv().value(); });
    EXPECT_TRUE(t.reset(6ms));
    EXPECT_GE(second.join(), before + 6ms);
  });
}

TEST(timer, far_settings_do_not_wrap) {
  weft::run([] {
    weft::timer t(std::chrono::nanoseconds::max());
    EXPECT_TRUE(t.reset(std::chrono::nanoseconds::max() - 1ns));
    EXPECT_TRUE(t.reset(std::chrono::hours::max()));
    EXPECT_EQ(t.chan().recv_for(1ms).status, chan_status::empty);
    EXPECT_TRUE(t.stop());
    EXPECT_FALSE(t.stop());
  });
}

TEST(timer, its_destructor_stops_it) {
  weft::run([] {
    weft::recv_chan<instant> c;
    {
      weft::timer t(1ms);
      c = t.chan();
    }
    let_fire(1ms);
    EXPECT_EQ(c.try_recv().status, chan_status::empty);
  });
}

TEST(timer, moves) {
  weft::run([] {
    weft::timer a(1ms);
    weft::timer b(std::move(a));
    EXPECT_TRUE(a.chan() == nullptr);
    EXPECT_FALSE(a.stop());
    EXPECT_THROW(a.reset(1ms), std::logic_error);
    EXPECT_TRUE(b.chan().recv().has_value());
    weft::timer c(1h);
    const auto stopped = c.chan();
    c = std::move(b);
    EXPECT_FALSE(c.reset(1ms));
    EXPECT_TRUE(c.chan().recv().has_value());
    EXPECT_EQ(stopped.try_recv().status, chan_status::empty);
    std::vector<weft::timer> many;
    for (int i = 0; i < 10; ++i) many.emplace_back(std::chrono::microseconds(i * 100));
    for (auto& t : many) EXPECT_TRUE(t.chan().recv().has_value());
  });
}

TEST(timer, needs_a_runtime) {
  EXPECT_THROW((void)weft::after(1s), std::logic_error);
  EXPECT_THROW(weft::timer(1s), std::logic_error);
  EXPECT_THROW(weft::timer(1s, [] {}), std::logic_error);
  EXPECT_THROW(weft::timer(0s, [] {}), std::logic_error);
  try {
    (void)weft::after(1s);
  } catch (const std::logic_error& error) {
    EXPECT_STREQ(error.what(), "weft: no runtime runs: after needs one (weft::run), also on a plain thread");
  }
}

TEST(timer, that_outlives_its_runtime_does_not_fire_in_the_next) {
  std::atomic<int> calls = 0;
  std::optional<weft::timer> kept, kept_call;
  weft::run([&] {
    kept.emplace(1ms);
    kept_call.emplace(1ms, [&] { ++calls; });
    kept->reset(20ms);
    kept_call->reset(20ms);
  });
  EXPECT_THROW(kept->reset(1ms), std::logic_error);
  weft::run([&] {
    let_fire(25ms);
    EXPECT_EQ(kept->chan().try_recv().status, chan_status::empty);
    EXPECT_EQ(calls, 0);
    kept->reset(1ms);
    EXPECT_TRUE(kept->chan().recv().has_value());
  });
  kept->stop();
  kept.reset();
  kept_call.reset();
}

TEST(timer, stays_right_while_the_width_moves) {
  weft::run({.maxprocs = 4}, [] {
    std::atomic<bool> over = false;
    auto mover = weft::spawn([&] {
      for (int n = 1; !over; n = n % 4 + 1) {
        weft::set_maxprocs(n);
        weft::sleep_for(200us);
      }
    });
    weft::scope s;
    for (int who = 0; who < 16; ++who) {
      s.go([who] {
        weft::timer t(1h);
        auto last = weft::clock::now();
        weft::ticker every(std::chrono::microseconds(300 + who));
        for (int i = 0; i < 40; ++i) {
          const auto due = weft::clock::now() + std::chrono::microseconds(i * 10);
          EXPECT_TRUE(t.reset(std::chrono::microseconds(i * 10)));
          EXPECT_GE(t.chan().recv().value(), due);
          t.reset(1h);
          const auto tick = every.chan().recv().value();
          EXPECT_GT(tick, last);
          last = tick;
        }
      });
    }
    s.join();
    over = true;
    mover.join();
  });
}

// --- with a function

TEST(timer_call, runs_in_a_fiber_of_its_own) {
  weft::run([] {
    weft::chan<std::uint64_t> who(1);
    const auto before = weft::clock::now();
    weft::timer t(2ms, [=] {
      weft::yield();  // it may wait
      who.send(weft::this_fiber::id());
    });
    EXPECT_TRUE(t.chan() == nullptr);
    const auto id = who.recv().value();
    EXPECT_NE(id, 0u);
    EXPECT_NE(id, weft::this_fiber::id());
    EXPECT_GE(weft::clock::now(), before + 2ms);
    EXPECT_FALSE(t.stop());
  });
}

TEST(timer_call, stop_and_reset_say_whether_it_was_still_to_run) {
  weft::run([] {
    weft::chan<void> ran(8);
    weft::timer t(1h, [=] { ran.send(); });
    EXPECT_TRUE(t.stop());
    EXPECT_FALSE(t.stop());
    EXPECT_FALSE(t.reset(1h));
    EXPECT_TRUE(t.reset(1ms));
    EXPECT_TRUE(ran.recv());
    EXPECT_FALSE(t.reset(1ms));
    EXPECT_TRUE(ran.recv());
    EXPECT_FALSE(t.stop());
    EXPECT_FALSE(t.reset(0s));
    EXPECT_TRUE(ran.recv());
    EXPECT_FALSE(t.reset(-1s));
    EXPECT_TRUE(ran.recv());
    EXPECT_TRUE((t.reset(2ms), t.stop()));
    let_fire(3ms);
    EXPECT_EQ(ran.try_recv(), chan_status::empty);
  });
}

TEST(timer_call, of_no_length_runs_at_once_but_not_in_the_caller) {
  weft::run({.maxprocs = 1}, [] {
    bool ran = false;
    weft::timer t(0s, [&] { ran = true; });
    EXPECT_FALSE(ran);
    while (!ran) weft::yield();
  });
}

TEST(timer_call, sets_itself_again) {
  weft::run([] {
    constexpr int calls = 50;
    weft::chan<int> done(1);
    std::optional<weft::timer> t;
    int n = 0;
    weft::mutex made;
    made.lock();
    t.emplace(10us, [&, done] {
      bool last = false;
      {
        const std::lock_guard wait_until_made(made);
        last = ++n == calls;
        if (!last) {
          EXPECT_FALSE(t->reset(10us));
        }
      }
      if (last) done.send(calls);  // then main goes, with all that is on its frame
    });
    made.unlock();
    EXPECT_EQ(done.recv(), calls);
  });
}

TEST(timer_call, its_destructor_stops_it_and_lets_the_function_go) {
  weft::run([] {
    const auto token = std::make_shared<int>(7);
    {
      weft::timer t(1h, [token] {});
    }
    EXPECT_EQ(token.use_count(), 1);
  });
}

TEST(timer_call, a_function_that_runs_outlives_the_timer) {
  weft::run([] {
    auto token = std::make_shared<int>(7);
    const std::weak_ptr<int> seen = token;
    weft::chan<void> started, go_on, ended;
    {
      weft::timer t(1us, [=, held = std::move(token)] {
        started.send();
        go_on.recv();
        EXPECT_EQ(*held, 7);
        ended.send();
      });
      started.recv();
    }
    EXPECT_FALSE(seen.expired());
    go_on.send();
    ended.recv();
    while (!seen.expired()) weft::yield();
  });
}

TEST(timer_call, takes_what_can_only_be_moved) {
  weft::run([] {
    weft::chan<int> out(1);
    struct alignas(128) wide {
      std::unique_ptr<int> value;
      char more[300] = {};
    };
    weft::timer t(1us, [out, w = wide{std::make_unique<int>(5)}] {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&w) % 128, 0u);
      out.send(*w.value);
    });
    EXPECT_EQ(out.recv(), 5);
  });
}

TEST(timer_call, that_cannot_be_copied_in_leaves_nothing_behind) {
  struct refuses {
    refuses() = default;
    refuses(const refuses&) { throw std::runtime_error("no copies"); }
    void operator()() {}
  };
  weft::run([] {
    const refuses f;
    EXPECT_THROW(weft::timer(1us, f), std::runtime_error);
  });
}

TEST(timer_call, at_the_limit_of_fibers_is_late_but_not_lost) {
  weft::run({.maxprocs = 2, .max_fibers = 2}, [] {
    weft::chan<void> ran(1), let_go;
    auto other = weft::spawn([=] { let_go.recv(); });  // main and this one: full
    weft::timer t(1us, [=] { ran.send(); });
    let_fire(3ms);
    EXPECT_EQ(ran.try_recv(), chan_status::empty);
    let_go.send();
    other.join();
    ran.recv();
  });
}

TEST(timer_call, nothing_starts_when_main_has_returned) {
  std::atomic<int> calls = 0;
  std::optional<weft::timer> t;
  weft::run([&] {
    t.emplace(1h, [&] { ++calls; });
    weft::go([&] {
      struct late {
        weft::timer& of;
        ~late() {  // main has returned, and this fiber is cancelled
          EXPECT_TRUE(of.reset(1ms));
          weft::shield([] { let_fire(2ms); });
        }
      } at_the_end{*t};
      weft::chan<void>(nullptr).recv();
    });
    until_waiting(1);
  });
  EXPECT_EQ(calls, 0);
  t.reset();
}

TEST(timer_call, works_from_a_plain_thread) {
  weft::run([] {
    weft::chan<void> ran;
    std::thread thread([=] {
      weft::timer t(1ms, [=] { ran.send(); });
      ran.recv();
      EXPECT_FALSE(t.reset(0s));
      ran.recv();
      EXPECT_FALSE(t.reset(1h));
      EXPECT_TRUE(t.stop());
    });
    weft::blocking([&] { thread.join(); });
  });
}

}  // namespace
