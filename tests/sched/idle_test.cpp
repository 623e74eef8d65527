// SPDX-License-Identifier: Apache-2.0
//
// A runtime in which nothing runs sleeps, and wakes for what comes from a timer, a fiber or a plain thread.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "runtime/sched/scheduler.hpp"
#include "tests/support/until_waiting.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;

class idle : public testing::Test {
  weft_test::watchdog watchdog_{60s};
};

long switches() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nvcsw;
}

// A tick of a millisecond would be a thousand; the monitor's rounds are ten thousand.
TEST_F(idle, an_idle_second_costs_few_context_switches) {
  weft::run({.maxprocs = 4}, [] {
    std::vector<weft::fiber<void>> parked;
    weft::chan<void> gate;
    for (int i = 0; i < 100; ++i) parked.push_back(weft::spawn([gate] { gate.recv(); }));
    weft_test::until_waiting(100);
    weft::sleep_for(50ms);  // searchers give up
    const long before = switches();
    weft::sleep_for(1s);
    EXPECT_LT(switches() - before, 200);
    gate.close();
    for (auto& f : parked) f.join();
  });
}

struct alone {
  const char* name;
  int processors;
  bool announced;
  bool beside_a_timer;
};

std::string name_of(const testing::TestParamInfo<alone>& of) { return of.param.name; }

// Else the monitor gets up for it five hundred times a second, for as long as the call lasts.
class idle_beside_one_that_blocks : public testing::TestWithParam<alone> {
  weft_test::watchdog watchdog_{60s};
};

TEST_P(idle_beside_one_that_blocks, every_processor_is_at_rest) {
  const auto every_p_is_idle = [] {
    return weft::rt::sched.idle.idle_ps() == static_cast<unsigned>(GetParam().processors);
  };
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::atomic<bool> begun{false};
  std::thread watcher([&] {
    while (!begun.load() || !every_p_is_idle()) std::this_thread::sleep_for(100us);
    EXPECT_EQ(write(ends[1], "x", 1), 1);
  });
  weft::run({.maxprocs = GetParam().processors}, [&] {
    weft::fiber<void> later;
    if (GetParam().beside_a_timer) later = weft::spawn([] { weft::sleep_for(1h); });
    auto reader = weft::spawn([&] {
      char byte = 0;
      begun.store(true);
      if (GetParam().announced)
        EXPECT_EQ(weft::blocking([&] { return read(ends[0], &byte, 1); }), 1);
      else
        EXPECT_EQ(read(ends[0], &byte, 1), 1);
      weft::yield();  // it has a P again
    });
    reader.join();
    if (later.joinable()) {
      later.cancel();
      EXPECT_THROW(later.join(), weft::fiber_cancelled);
    }
  });
  watcher.join();
  close(ends[0]);
  close(ends[1]);
}

INSTANTIATE_TEST_SUITE_P(call, idle_beside_one_that_blocks,
                         testing::Values(alone{"unannounced", 1, false, false}, alone{"announced", 1, true, false},
                                         alone{"unannounced_on_3", 3, false, false},
                                         alone{"announced_on_3", 3, true, false},
                                         alone{"unannounced_beside_a_timer", 1, false, true},
                                         alone{"announced_beside_a_timer_on_2", 2, true, true}),
                         name_of);

TEST_F(idle, what_plain_threads_start_wakes_it_each_time) {
  weft::run({.maxprocs = 4}, [] {
    weft::chan<int> c;
    std::thread thread([c] {
      for (int i = 0; i < 1000; ++i) {
        auto f = weft::spawn([c, i] { c.send(i); });
        f.join();
      }
      c.close();
    });
    int next = 0;
    for (int v : c) EXPECT_EQ(v, next++);
    EXPECT_EQ(next, 1000);
    weft::blocking([&] { thread.join(); });
  });
}

TEST_F(idle, every_timer_wakes_it_whatever_is_started_meanwhile) {
  weft::run({.maxprocs = 4}, [] {
    for (int i = 0; i < 300; ++i) {
      // The later one is what it sleeps for when the earlier one comes, from a thread without a P.
      auto later = weft::spawn([] { weft::sleep_for(2ms); });
      std::thread earlier([] { weft::spawn([] { weft::sleep_for(100us); }).join(); });
      weft::blocking([&] { earlier.join(); });
      later.join();
    }
  });
}

TEST_F(idle, the_width_may_shrink_and_grow_under_sleepers) {
  weft::run({.maxprocs = 8}, [] {
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> asleep{0}, woken{0};
      weft::scope s;
      for (int i = 0; i < 64; ++i) {
        s.go([&, i] {
          asleep.fetch_add(1);
          weft::sleep_for(std::chrono::microseconds(500 + 10 * i));
          woken.fetch_add(1);
        });
      }
      weft_test::until([&] { return asleep.load() == 64; });
      EXPECT_EQ(weft::set_maxprocs(1), 8);
      EXPECT_EQ(weft::maxprocs(), 1);
      weft::sleep_for(300us);
      EXPECT_EQ(weft::set_maxprocs(8), 1);
      s.join();
      ASSERT_EQ(woken.load(), 64);
    }
  });
}

TEST_F(idle, a_wider_runtime_uses_its_width) {
  weft::run({.maxprocs = 1}, [] {
    constexpr int width = 6;
    weft::set_maxprocs(width);
    // Each spins until all have begun: needs so many threads at the same time.
    std::atomic<int> begun{0};
    weft::scope s;
    for (int i = 0; i < width; ++i) {
      s.go([&] {
        begun.fetch_add(1);
        while (begun.load() < width) {
        }
      });
    }
    s.join();
    EXPECT_EQ(begun.load(), width);
  });
}

}  // namespace
