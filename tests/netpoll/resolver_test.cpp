// SPDX-License-Identifier: Apache-2.0
//
// Lookups of names while the name server does not answer. What only a process of its own shows is in
// resolver_process_test.cpp.

#include "netpoll/resolver.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <list>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "tests/netpoll/loopback.hpp"
#include "tests/netpoll/mute_names.hpp"
#include "tests/support/until_waiting.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::endpoint;
using weft::rt::name_request;
using weft::rt::nanoseconds_t;

constexpr int most_threads = weft::rt::resolver::most_threads;
constexpr nanoseconds_t long_patience = 60'000'000'000;

class resolver : public testing::Test {
 protected:
  resolver() { names.begin(); }
  ~resolver() override {
    names.answer_all();
    while (names.unanswered() != 0) std::this_thread::yield();
  }

  /// Lets others run until so many calls wait for an answer.
  void until_unanswered(int count) {
    until([&] { return names.unanswered() == count; });
  }
  /// Has every helper of the process stuck in a call, by fibers of `s` that are not cancelled.
  void occupy_all(weft::scope& s) {
    for (int i = 0; i < most_threads; ++i) s.go([] { static_cast<void>(weft::net::resolve("occupied.mute:80")); });
    until_unanswered(most_threads);
  }

  mute_names& names = mute_names::instance();
  watchdog patience{120s};
};

// What an idle thread looks at last is the pool, so a pool is never destroyed.
weft::rt::resolver& new_pool(int limit, nanoseconds_t patience,
                             weft::rt::resolver::thread_maker make = weft::rt::os::start_detached_thread) {
  static auto* const all = new std::list<weft::rt::resolver>;
  return all->emplace_back(limit, patience, make);
}

std::unique_ptr<name_request> asked_of(weft::rt::resolver& pool, const char* host) {
  auto request = std::make_unique<name_request>(host, "80", false, SOCK_STREAM);
  EXPECT_TRUE(pool.ask(request));
  return request;
}

TEST_F(resolver, asks_nobody_about_numbers) {
  weft::run([&] {
    EXPECT_EQ(weft::net::resolve("127.0.0.1:80"), std::vector{endpoint::parse("127.0.0.1:80")});
    EXPECT_EQ(weft::net::resolve("[::1]:80"), std::vector{endpoint::parse("[::1]:80")});
    EXPECT_EQ(weft::net::resolve(":80").size(), 2u);
    EXPECT_EQ(names.calls(), 0);
    EXPECT_EQ(weft::net::resolve("some.test:80"), std::vector{endpoint::parse("127.0.0.1:80")});
    EXPECT_EQ(names.calls(), 1);
  });
}

// The limit of threads is far below the number of calls: they are no threads of the runtime.
TEST_F(resolver, beyond_the_limit_wait_in_line_and_hold_nobody_up) {
  weft::run({.maxprocs = 2, .max_threads = 8}, [&] {
    constexpr int lookups = 1500;
    std::atomic<int> answered{0};
    weft::scope s;
    for (int i = 0; i < lookups; ++i)
      s.go([&, i] {
        if (weft::net::resolve("name" + std::to_string(i) + ".mute:80").size() == 1) ++answered;
      });
    until_unanswered(most_threads);
    until_waiting(lookups);

    weft::chan<int> there, back;  // others go on: by channels, timers and sockets
    auto echo = weft::spawn([=] {
      for (const int i : there) back.send(i);
    });
    auto pair = connected_pair();
    for (int i = 0; i < 100; ++i) {
      there.send(i);
      EXPECT_EQ(back.recv(), i);
      weft::sleep_for(10us);
      write_text(pair.ours, "x");
      EXPECT_EQ(read_text(pair.peers, 1), "x");
    }
    there.close();
    echo.join();
    EXPECT_EQ(answered.load(), 0);

    names.answer(1);  // the next in line takes the place
    until([&] { return answered.load() == 1 && names.calls() == most_threads + 1; });
    names.answer_all();
    s.join();
    EXPECT_EQ(answered.load(), lookups);
    EXPECT_EQ(names.calls(), lookups);
    EXPECT_EQ(names.most_unanswered(), most_threads);
  });
}

TEST_F(resolver, is_served_in_the_order_of_the_line) {
  weft::run([&] {
    weft::rt::resolver& pool = new_pool(1, long_patience);
    std::vector<int> order;
    weft::mutex mutex;
    weft::scope s;
    const auto ask = [&](int number) {
      EXPECT_EQ(asked_of(pool, "ordered.mute")->code, 0);
      const std::lock_guard guard(mutex);
      order.push_back(number);
    };
    for (int i = 0; i < 5; ++i) {
      s.go([&, i] { ask(i); });
      until_waiting(static_cast<std::size_t>(i) + 1);
    }
    for (std::size_t i = 1; i <= 5; ++i) {
      names.answer(1);
      until([&] {
        const std::lock_guard guard(mutex);
        return order.size() == i;
      });
    }
    s.join();
    EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4}));
    EXPECT_EQ(names.most_unanswered(), 1);
  });
}

TEST_F(resolver, a_limit_of_time_ends_the_lookup_of_every_call) {
  weft::run([&] {
    const auto in_time = [](auto f) { weft::with_timeout(1ms, f); };
    const auto every_call = [&] {
      EXPECT_THROW(in_time([] { static_cast<void>(weft::net::resolve("late.mute:80")); }), weft::timed_out);
      EXPECT_THROW(in_time([] { weft::net::connect("late.mute:80"); }), weft::timed_out);
      EXPECT_THROW(in_time([] { weft::net::listen("late.mute:0"); }), weft::timed_out);
      EXPECT_THROW(in_time([] { weft::net::udp_socket::bind("late.mute:0"); }), weft::timed_out);
    };
    every_call();  // while a helper makes the call, as a rule
    weft::scope s;
    occupy_all(s);
    every_call();  // in line
    names.answer_all();
    s.join();
  });
}

TEST_F(resolver, a_cancelled_caller_leaves_at_once_in_both_forms) {
  weft::run([&] {
    for (const bool in_line : {false, true}) {
      weft::scope occupied;
      if (in_line) occupy_all(occupied);
      const int calls = names.calls();
      weft::cancel_scope region;
      std::error_code error;
      auto throws = weft::spawn([&] { return region.run([] { static_cast<void>(weft::net::resolve("x.mute:80")); }); });
      auto tells = weft::spawn([&] { region.run([&] { static_cast<void>(weft::net::resolve("y.mute:80", error)); }); });
      if (in_line)
        until_waiting(most_threads + 2);
      else
        until_unanswered(2);
      region.cancel();
      EXPECT_FALSE(throws.join());
      tells.join();
      EXPECT_EQ(error, std::errc::operation_canceled);
      EXPECT_EQ(names.unanswered(), in_line ? most_threads : 2);

      EXPECT_FALSE(region.run([] { static_cast<void>(weft::net::resolve("x.test:80")); })) << "not even begun";
      names.answer(names.unanswered());
      occupied.join();
      until_unanswered(0);
      EXPECT_EQ(names.calls(), in_line ? calls : 2) << "what left the line is not looked up";
    }
    EXPECT_EQ(weft::net::resolve("x.test:80").size(), 1u);
  });
}

// Answers and cancellations that meet: each lookup ends one way or the other, and none is lost.
TEST_F(resolver, a_cancellation_may_race_with_the_answer) {
  weft::run([&] {
    for (int round = 0; round < 300; ++round) {
      weft::cancel_scope region;
      auto caller = weft::spawn([&] {
        bool found = false;
        const bool finished = region.run([&] { found = !weft::net::resolve("race.mute:80").empty(); });
        EXPECT_EQ(found, finished);
      });
      until_unanswered(1);
      names.answer(1);
      for (int i = round % 20; i > 0; --i) weft::yield();
      region.cancel();
      caller.join();
      until_unanswered(0);
    }
  });
}

TEST_F(resolver, a_run_ends_beside_calls_that_are_stuck_and_the_next_one_works) {
  for (int run = 1; run <= 3; ++run) {
    weft::run([&] {
      weft::go([] { weft::net::connect("forgotten.mute:80"); });
      until_unanswered(run);
      EXPECT_EQ(weft::net::resolve("known.test:80").size(), 1u);
    });
    EXPECT_EQ(names.unanswered(), run);
  }
  weft::run([&] {
    auto found = weft::spawn([] { return weft::net::resolve("new.mute:80"); });
    until_unanswered(4);
    names.answer_all();
    EXPECT_EQ(found.join().size(), 1u);
  });
}

TEST_F(resolver, serves_plain_threads_without_a_runtime) {
  std::vector<endpoint> found;
  std::thread thread([&] { found = weft::net::resolve("plain.mute:80"); });
  while (names.unanswered() != 1) std::this_thread::yield();
  names.answer_all();
  thread.join();
  EXPECT_EQ(found, std::vector{endpoint::parse("127.0.0.1:80")});
}

TEST_F(resolver, the_end_of_the_run_lets_plain_threads_go) {
  std::thread thread;
  std::error_code why;
  weft::run([&] {
    thread = std::thread([&] { why = code_of([] { static_cast<void>(weft::net::resolve("plain.mute:80")); }); });
    until_unanswered(1);
    until_waiting(1);
  });
  thread.join();
  EXPECT_EQ(why, std::errc::operation_canceled);
}

TEST_F(resolver, idle_threads_are_used_again_and_end) {
  weft::run([&] {
    weft::rt::resolver& pool = new_pool(4, long_patience);
    for (int i = 0; i < 50; ++i) EXPECT_EQ(asked_of(pool, "some.test")->code, 0);
    EXPECT_LE(pool.threads(), 4);

    weft::rt::resolver& hasty = new_pool(4, 1);
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(asked_of(hasty, "some.test")->code, 0);
      if (i % 2 == 0) until([&] { return hasty.threads() == 0; });
    }
  });
}

int fail(void* (*)(void*), void*) noexcept { return EAGAIN; }

TEST_F(resolver, without_a_thread_to_be_had_it_fails_with_that_error) {
  weft::run([&] {
    weft::rt::resolver& pool = new_pool(4, long_patience, fail);
    for (int i = 0; i < 2; ++i) {
      const auto request = asked_of(pool, "some.test");
      EXPECT_EQ(request->code, EAI_SYSTEM);
      EXPECT_EQ(request->error, EAGAIN);
    }
    EXPECT_EQ(names.calls(), 0);
  });
}

std::atomic<int> made{0};

int make_the_first(void* (*main)(void*), void* argument) noexcept {
  return made.fetch_add(1) == 0 ? weft::rt::os::start_detached_thread(main, argument) : EAGAIN;
}

TEST_F(resolver, where_one_thread_runs_the_others_wait_in_line_for_it) {
  made = 0;
  weft::run([&] {
    weft::rt::resolver& pool = new_pool(4, long_patience, make_the_first);
    auto first = weft::spawn([&] { return asked_of(pool, "first.mute")->code; });
    until_unanswered(1);
    auto second = weft::spawn([&] { return asked_of(pool, "second.mute")->code; });
    until_waiting(2);
    EXPECT_EQ(made.load(), 2);
    names.answer_all();
    EXPECT_EQ(first.join(), 0);
    EXPECT_EQ(second.join(), 0);
  });
}

// The first to ask for a thread fails while the second still asks, and then that one fails: both hear of it.
std::atomic<bool> second_may_fail{false};

int fail_one_after_the_other(void* (*)(void*), void*) noexcept {
  if (made.fetch_add(1) == 0) {
    while (made.load() != 2) std::this_thread::yield();
  } else {
    while (!second_may_fail.load()) std::this_thread::yield();
  }
  return EAGAIN;
}

TEST_F(resolver, a_thread_that_is_still_being_made_is_waited_for_and_may_fail) {
  made = 0;
  second_may_fail = false;
  weft::rt::resolver& pool = new_pool(4, long_patience, fail_one_after_the_other);
  std::atomic<int> failed{0};
  const auto ask = [&] { failed += asked_of(pool, "some.test")->error == EAGAIN; };
  std::thread one(ask), other(ask);
  while (waiting() != 1) std::this_thread::yield();
  EXPECT_EQ(failed.load(), 0);
  second_may_fail = true;
  one.join();
  other.join();
  EXPECT_EQ(failed.load(), 2);
}

}  // namespace
