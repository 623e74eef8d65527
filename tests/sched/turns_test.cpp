// SPDX-License-Identifier: Apache-2.0
//
// Every runnable fiber gets its turn, every due timer fires and every ready descriptor is seen, whatever the others do.
// Hogs never wait, each in a way of its own, and end only once others have done what they had to: each test is a
// deadlock where a hog keeps its P for good.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "runtime/base/os.hpp"
#include "runtime/sched/scheduler.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/until_waiting.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until;

using flag = std::atomic<bool>;

bool raised(const flag& f) noexcept { return f.load(std::memory_order_relaxed); }

struct way {
  const char* name;
  void (*go_on_until)(const flag& over);
};

constexpr way ways[] = {
    {"compute",
     [](const flag& over) {
       while (!raised(over)) {
       }
     }},
    {"lock_and_unlock",
     [](const flag& over) {
       weft::mutex m;
       while (!raised(over)) {
         m.lock();
         m.unlock();
       }
     }},
    {"send_and_recv",
     [](const flag& over) {
       weft::chan<int> c(1);
       while (!raised(over)) {
         c.send(1);
         c.recv();
       }
     }},
    {"try_send_and_try_recv",
     [](const flag& over) {
       weft::chan<int> c(1);
       while (!raised(over)) {
         (void)c.try_send(1);
         (void)c.try_recv();
       }
     }},
    {"select_among_ready_cases",
     [](const flag& over) {
       weft::chan<int> c(1);
       while (!raised(over)) weft::select(weft::on_send(c, 1), weft::on_recv(c, [](std::optional<int>) {}));
     }},
    {"select_with_default",
     [](const flag& over) {
       weft::chan<int> c(1);
       while (!raised(over)) weft::select(weft::on_recv(c, [](std::optional<int>) {}), weft::on_default());
     }},
    {"acquire_and_release",
     [](const flag& over) {
       weft::semaphore s(1);
       while (!raised(over)) {
         s.acquire();
         s.release();
       }
     }},
    {"wait_for_a_wait_group",
     [](const flag& over) {
       weft::wait_group w;
       while (!raised(over)) {
         w.add(1);
         w.done();
         w.wait();
       }
     }},
    {"set_and_reset_an_event",
     [](const flag& over) {
       weft::event e;
       while (!raised(over)) {
         e.set();
         e.wait();
         e.reset();
       }
     }},
    {"sleep_for_nothing",
     [](const flag& over) {
       while (!raised(over)) weft::sleep_for(0s);
     }},
    {"start_and_stop_a_timer",
     [](const flag& over) {
       while (!raised(over)) {
         weft::timer t(1h);
         t.stop();
       }
     }},
    {"reset_a_timer",
     [](const flag& over) {
       weft::timer t(1h);
       while (!raised(over)) t.reset(1h);
     }},
    {"call_with_timeout",
     [](const flag& over) {
       while (!raised(over)) weft::with_timeout(1h, [] {});
     }},
    {"call_blocking",
     [](const flag& over) {
       while (!raised(over)) weft::blocking([] {});
     }},
    {"ask_whether_cancelled",
     [](const flag& over) {
       while (!raised(over)) (void)weft::this_fiber::cancelled();
     }},
};

struct crowd {
  way how;
  int processors;
  int hogs;
};

std::string name_of(const testing::TestParamInfo<crowd>& info) {
  const crowd& c = info.param;
  return std::to_string(c.hogs) + "_on_" + std::to_string(c.processors) + "_that_" + c.how.name;
}

std::vector<crowd> crowds() {
  std::vector<crowd> all;
  for (const way& how : ways) {
    for (const auto [processors, hogs] : {std::array{1, 1}, {1, 3}, {2, 5}, {2, 16}})
      all.push_back({how, processors, hogs});
  }
  return all;
}

class turns : public testing::Test {
 private:
  weft_test::watchdog watchdog_{60s};
};

/// In a runtime's main fiber: `others` while all hogs are at it. They end after it.
template <class F>
void run_beside_hogs(const crowd& c, F others) {
  weft::run({.maxprocs = c.processors}, [&] {
    std::atomic<int> begun{0};
    flag over{false};
    weft::scope hogs;
    for (int i = 0; i < c.hogs; ++i) {
      hogs.go([&] {
        begun.fetch_add(1);
        c.how.go_on_until(over);
      });
    }
    until([&] { return begun.load() == c.hogs; });
    others();
    over.store(true);
    hogs.join();
  });
}

class beside_hogs : public turns, public testing::WithParamInterface<crowd> {
 protected:
  /// Each turn may cost a slice of every hog before it.
  int rounds() const { return GetParam().hogs / GetParam().processors < 8 ? 10 : 4; }
};

TEST_P(beside_hogs, sleepers_and_pairs_and_new_fibers_go_on) {
  run_beside_hogs(GetParam(), [&] {
    weft::scope others;
    others.go([&] {
      for (int i = 0; i < rounds(); ++i) weft::sleep_for(1ms);
    });
    weft::chan<int> ping, pong;
    others.go([ping, pong] {
      for (int v : ping) pong.send(v + 1);
    });
    others.go([&, ping, pong] {
      for (int i = 0; i < rounds(); ++i) {
        ping.send(i);
        EXPECT_EQ(pong.recv(), i + 1);
      }
      ping.close();
    });
    weft::chan<void> ran;
    weft::go([ran] { ran.send(); });
    ran.recv();
    others.join();
  });
}

TEST_P(beside_hogs, a_reader_gets_its_bytes) {
  run_beside_hogs(GetParam(), [&] {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    weft::net::fd here(ends[0]);
    std::thread writer([&, there = ends[1]] {
      for (int i = 0; i < rounds(); ++i) {
        char byte = static_cast<char>(i);
        EXPECT_EQ(write(there, &byte, 1), 1);
        EXPECT_EQ(read(there, &byte, 1), 1);
      }
      close(there);
    });
    for (int i = 0; i < rounds(); ++i) {
      char byte = -1;
      EXPECT_EQ(here.read_some(std::span(&byte, 1)), 1u);
      EXPECT_EQ(byte, i);
      EXPECT_EQ(here.write_some(std::span(&byte, 1)), 1u);
    }
    weft::blocking([&] { writer.join(); });
  });
}

INSTANTIATE_TEST_SUITE_P(hogs, beside_hogs, testing::ValuesIn(crowds()), name_of);

// Else whoever wakes waits for all of them in the kernel. However they came to lose their P: it was taken, or given up at
// an entry.
TEST_F(turns, those_that_run_on_without_a_p_ask_for_long_slices) {
  if (weft_test::has_address_sanitizer) GTEST_SKIP() << "who allocates sleeps in its locks, and loses the P for that";
  std::int64_t granted = -1;
  std::thread([&] { granted = weft::rt::os::set_slice(weft::rt::os::this_thread_id(), 1'000'000); }).join();
  if (granted < 0) GTEST_SKIP() << "this kernel lets nobody ask for a slice";
  for (const way& how : ways) {
    SCOPED_TRACE(how.name);
    const std::string name = how.name;
    if (name == "sleep_for_nothing" || name == "call_blocking") continue;  // these give way by themselves
    run_beside_hogs({how, 2, 16}, [] {
      until([] {
        using weft::rt::M;
        int asked = 0;
        for (const M* m = weft::rt::sched.all_ms.load(); m != nullptr; m = m->all_link)
          if (m->former_slice.load() != 0) ++asked;
        return asked >= 12;  // at most two have a P, and one may be on the caller's thread
      });
    });
  }
}

/// Each call is over before a monitor that looks every so often has seen it twice.
void ticker_beside_fibers_that_block_for_moments(int processors) {
  weft::run({.maxprocs = processors}, [] {
    flag over{false};
    weft::scope s;
    for (int i = 0; i < 16; ++i) {
      s.go([&] {
        while (!raised(over)) {
          const timespec moment{0, 30'000};
          nanosleep(&moment, nullptr);
          volatile int sum = 0;
          for (int k = 0; k < 5000; ++k) sum = sum + k;
        }
      });
    }
    for (int tick = 0; tick < 100; ++tick) weft::sleep_for(1ms);
    over.store(true);
    s.join();
  });
}

TEST_F(turns, a_ticker_goes_on_beside_fibers_that_block_for_moments_on_one_processor) {
  ticker_beside_fibers_that_block_for_moments(1);
}

TEST_F(turns, a_ticker_goes_on_beside_fibers_that_block_for_moments_on_two_processors) {
  ticker_beside_fibers_that_block_for_moments(2);
}

/// One P; hogs come one after another, and each goes on until another fiber has had a hundred turns beside it: so each
/// loses its P. `end` is what each does then.
template <class F>
void one_hog_after_another(F end) {
  weft::run({.maxprocs = 1}, [&] {
    std::atomic<long> turns{0};
    flag over{false};
    weft::scope s;
    s.go([&] {
      while (!raised(over)) {
        weft::yield();
        turns.fetch_add(1, std::memory_order_relaxed);
      }
    });
    for (int hog = 0; hog < 10; ++hog) {
      auto f = weft::spawn([&] {
        const long before = turns.load(std::memory_order_relaxed);
        while (turns.load(std::memory_order_relaxed) < before + 100) {
        }
        end();
      });
      f.join();
    }
    over.store(true);
    s.join();
  });
}

TEST_F(turns, a_hog_loses_its_processor_also_after_one_that_ended_without) {
  one_hog_after_another([] {});
}

TEST_F(turns, a_hog_loses_its_processor_also_after_one_that_yielded_without) { one_hog_after_another(weft::yield); }

TEST_F(turns, a_hog_loses_its_processor_also_after_one_that_slept_without) {
  one_hog_after_another([] { weft::sleep_for(1ms); });
}

/// One P; ten fibers come back from blocking calls without it, again and again, and `then` each time, until four others
/// have had 20 000 turns among them.
template <class F>
void yielders_beside_blocking_calls(F then) {
  weft::run({.maxprocs = 1}, [&] {
    std::atomic<long> calls{0}, turns{0};
    flag over{false};
    weft::scope s;
    for (int i = 0; i < 10; ++i) {
      s.go([&] {
        while (!raised(over)) {
          weft::blocking([] { usleep(200); });
          calls.fetch_add(1, std::memory_order_relaxed);
          then();
        }
      });
    }
    until([&] { return calls.load(std::memory_order_relaxed) > 100; });
    for (int i = 0; i < 4; ++i) {
      s.go([&] {
        while (turns.fetch_add(1, std::memory_order_relaxed) < 20'000) weft::yield();
        over.store(true);
      });
    }
    s.join();
  });
}

TEST_F(turns, fibers_that_come_back_from_blocking_and_yield_leave_turns_to_others) {
  yielders_beside_blocking_calls(weft::yield);
}

TEST_F(turns, fibers_that_come_back_from_blocking_and_sleep_leave_turns_to_others) {
  yielders_beside_blocking_calls([] { weft::sleep_for(1us); });
}

}  // namespace
