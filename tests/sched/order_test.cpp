// SPDX-License-Identifier: Apache-2.0
//
// In which order fibers run on one P, and that nobody is left out: Go's rules, as a program can observe them.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "runtime/sched/scheduler.hpp"
#include "tests/support/undisturbed.hpp"
#include "tests/support/until_waiting.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::undisturbed;
using weft_test::until;
using weft_test::until_waiting;

/// Who ran, in order. With a lock of threads: for a while two may run at a time, if the P is taken from one of them.
class record {
 public:
  void add(int who) {
    const std::lock_guard lock(mutex_);
    ran_.push_back(who);
  }
  std::vector<int> all() const { return ran_; }  ///< once all have ended

 private:
  std::mutex mutex_;
  std::vector<int> ran_;
};

class order : public testing::Test {
  weft_test::watchdog watchdog_{60s};
};

/// What `round` returns once no P looked around while it ran, and none was taken: after a look that the monitor asked
/// for, as the thread had no CPU for long, the ring goes first.
template <class Round>
auto without_looks(Round round) {
  const auto looks = [] { return weft::rt::sched.all_ps[0].load()->looks.load(); };
  for (;;) {
    const std::uint32_t before = looks();
    auto result = undisturbed(round);
    if (looks() == before) return result;
  }
}

TEST_F(order, the_fiber_that_was_started_last_runs_first_and_the_others_in_turn) {
  weft::run({.maxprocs = 1}, [] {
    const auto ran = without_looks([] {
      record r;
      weft::scope s;
      for (int i = 1; i <= 4; ++i) s.go([&r, i] { r.add(i); });
      s.join();
      return r.all();
    });
    EXPECT_EQ(ran, (std::vector<int>{4, 1, 2, 3}));
  });
}

TEST_F(order, the_fiber_that_was_woken_last_runs_first_and_the_others_in_turn) {
  weft::run({.maxprocs = 1}, [] {
    const auto ran = without_looks([] {
      record r;
      weft::scope s;
      std::vector<weft::chan<void>> gates(4);
      for (int i = 0; i < 4; ++i) {
        s.go([&r, i, gate = gates[static_cast<std::size_t>(i)]] {
          gate.recv();
          r.add(i);
        });
      }
      until_waiting(4);
      for (const auto& gate : gates) gate.send();
      s.join();
      return r.all();
    });
    EXPECT_EQ(ran, (std::vector<int>{3, 0, 1, 2}));
  });
}

TEST_F(order, fibers_that_yield_take_turns) {
  constexpr int fibers = 10, turns = 1000;
  weft::run({.maxprocs = 1}, [] {
    const auto ran = undisturbed([] {
      record r;
      weft::scope s;
      for (int f = 0; f < fibers; ++f) {
        s.go([&r, f] {
          for (int i = 0; i < turns; ++i) {
            r.add(f);
            weft::yield();
          }
        });
      }
      s.join();
      return r.all();
    });
    // Nobody is ever two turns ahead of anybody.
    std::vector<int> so_far(fibers);
    int widest = 0;
    for (const int f : ran) {
      ++so_far[static_cast<std::size_t>(f)];
      const auto [least, most] = std::minmax_element(so_far.begin(), so_far.end());
      if (*least != 0 && *most < turns) widest = std::max(widest, *most - *least);
    }
    EXPECT_EQ(ran.size(), std::size_t{fibers * turns});
    EXPECT_LE(widest, 1);
  });
}

TEST_F(order, a_pair_that_wakes_each_other_starves_nobody) {
  weft::run({.maxprocs = 1}, [] {
    std::atomic<bool> third_ran = false;
    weft::chan<int> ping, pong;
    weft::scope s;
    s.go([&] { third_ran = true; });
    s.go([&, ping, pong] {
      while (!third_ran) {
        ping.send(1);
        pong.recv();
      }
      ping.close();
    });
    s.go([ping, pong] {
      for (int v : ping) pong.send(v);
    });
    s.join();
    EXPECT_TRUE(third_ran);
  });
}

TEST_F(order, a_pair_that_wakes_each_other_holds_up_no_timer) {
  weft::run({.maxprocs = 1}, [] {
    std::atomic<bool> woken = false;
    weft::chan<int> ping, pong;
    weft::scope s;
    s.go([&] {
      weft::sleep_for(1ms);
      woken = true;
    });
    s.go([&, ping, pong] {
      while (!woken) {
        ping.send(1);
        pong.recv();
      }
      ping.close();
    });
    s.go([ping, pong] {
      for (int v : ping) pong.send(v);
    });
    s.join();
  });
}

TEST_F(order, a_fiber_that_a_plain_thread_starts_runs_beside_those_that_yield_for_ever) {
  weft::run({.maxprocs = 1}, [] {
    std::atomic<bool> injected_ran{false};
    weft::scope s;
    for (int f = 0; f < 3; ++f) {
      s.go([&] {
        while (!injected_ran.load()) weft::yield();
      });
    }
    std::thread thread([&] { weft::go([&] { injected_ran.store(true); }); });
    s.join();
    weft::blocking([&] { thread.join(); });
  });
}

TEST_F(order, one_that_yields_alone_still_lets_in_what_comes_from_outside) {
  weft::run({.maxprocs = 1}, [] {
    std::atomic<bool> injected_ran{false}, woken{false};
    std::thread thread([&] { weft::go([&] { injected_ran.store(true); }); });
    weft::go([&] {
      weft::sleep_for(1ms);
      woken.store(true);
    });
    until([&] { return injected_ran.load() && woken.load(); });
    weft::blocking([&] { thread.join(); });
  });
}

TEST_F(order, many_started_at_once_all_run_though_the_ring_is_full) {
  weft::run({.maxprocs = 1}, [] {
    constexpr int count = 5000;  // the ring has 256 places: the rest goes over the global queue
    std::vector<int> ran(count);
    weft::scope s;
    for (int i = 0; i < count; ++i) s.go([&ran, i] { ++ran[static_cast<std::size_t>(i)]; });
    s.join();
    EXPECT_EQ(std::count(ran.begin(), ran.end(), 1), count);
  });
}

// However many wait so, the others are not kept to one pick in 61. Where each pick looks around, since turns seemed to be
// long, they go by turns.
TEST_F(order, who_waits_for_many_in_a_loop_of_yields_lets_batches_of_them_run) {
  for (const int waiting : {1, 2, 10}) {
    weft::run({.maxprocs = 1}, [waiting] {
      constexpr int count = 5000;
      std::atomic<int> ran{0}, yields{0};
      weft::scope s;
      for (int i = 0; i < count; ++i) s.go([&] { ++ran; });
      for (int w = 0; w < waiting; ++w) {
        s.go([&] {
          for (; ran < count; ++yields) weft::yield();
        });
      }
      s.join();
      EXPECT_LT(yields, 2 * waiting * count);
    });
  }
}

}  // namespace
