// SPDX-License-Identifier: Apache-2.0
//
// Runtimes that start and end in a row, with leftovers: fibers that wait, sleep or were never begun, plain threads that
// start fibers or wait on channels while the runtime goes. What is accounted for: every closure that was handed over is
// destroyed, every body that was begun has ended when run returns, no plain thread stays behind.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/stress.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::choices;
using weft_test::parcel;
using weft_test::scaled;

class run_stress : public weft_test::stress {};

std::atomic<long> begun{0}, ended{0};

struct presence {
  presence() { begun.fetch_add(1); }
  ~presence() { ended.fetch_add(1); }
  presence(const presence&) = delete;
  presence& operator=(const presence&) = delete;
};

TEST_F(run_stress, a_thousand_short_runs) {
  const int runs = scaled(1000);
  for (int i = 0; i < runs; ++i) {
    const int sum = weft::run([i] {
      auto f = weft::spawn([i] { return i; });
      return f.join() + 1;
    });
    ASSERT_EQ(sum, i + 1);
  }
}

TEST_F(run_stress, runs_that_end_with_fibers_left_over) {
  const int runs = scaled(300);
  for (int round = 0; round < runs; ++round) {
    choices draw(static_cast<std::uint64_t>(round));
    weft::run([&] {
      weft::chan<parcel> full(1), empty(0);
      EXPECT_EQ(full.try_send(parcel(0)), weft::chan_status::ok);
      for (int i = 0; i < 40; ++i) {
        const unsigned kind = draw.below(7);
        weft::go([kind, full, empty, held = parcel(0)] {
          const presence here;
          switch (kind) {
            case 0:
              full.send(parcel(1));
              break;
            case 1:
              empty.recv();
              break;
            case 2:
              weft::sleep_for(1h);
              break;
            case 3:
              for (;;) weft::yield();
            case 4: {
              weft::scope s;
              for (int k = 0; k < 3; ++k) {
                s.go([empty] {
                  const presence inside;
                  empty.recv();
                });
              }
              s.join();
              break;
            }
            case 5:
              try {
                empty.recv();
              } catch (const weft::cancelled&) {
                weft::go([] { const presence late; });
                weft::shield([] { weft::sleep_for(20us); });
                throw;
              }
              break;
            default:
              break;
          }
        });
      }
      for (unsigned i = draw.below(20); i > 0; --i) weft::yield();
    });
    ASSERT_EQ(begun.load(), ended.load()) << "round " << round;
    ASSERT_EQ(parcel::held.load(), 0) << "round " << round;
  }
}

TEST_F(run_stress, plain_threads_start_fibers_while_the_runtime_ends) {
  const int runs = scaled(100);
  for (int round = 0; round < runs; ++round) {
    std::atomic<bool> stop{false};
    std::atomic<long> started{0};
    std::vector<std::thread> threads;
    weft::run([&] {
      for (std::uint64_t t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
          choices draw(t + 10 * static_cast<std::uint64_t>(round));
          while (!stop.load()) {
            try {
              weft::go([held = parcel(0), waits = draw.one_in(2)] {
                const presence here;
                if (waits) weft::yield();
              });
              started.fetch_add(1);
            } catch (const std::logic_error&) {
              std::this_thread::yield();
            }
          }
        });
      }
      while (started.load() < 20) weft::yield();
    });
    ASSERT_EQ(begun.load(), ended.load()) << "round " << round;
    stop = true;
    for (std::thread& t : threads) t.join();
    ASSERT_EQ(parcel::held.load(), 0) << "round " << round;
    ASSERT_GE(started.load(), 20);
  }
}

TEST_F(run_stress, plain_threads_that_wait_are_let_go_by_the_end) {
  const int runs = scaled(300);
  for (int round = 0; round < runs; ++round) {
    std::atomic<int> let_go{0};
    std::vector<std::thread> threads;
    weft::chan<int> never;
    weft::wait_group group;
    group.add();
    weft::run([&] {
      for (int t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
          try {
            if (t == 0) never.recv();
            if (t == 1) group.wait();
            if (t == 2) weft::sleep_for(1h);
          } catch (const std::system_error& error) {
            EXPECT_EQ(error.code(), std::errc::operation_canceled);
            let_go.fetch_add(1);
          }
        });
      }
      weft_test::until_waiting(3);
    });
    for (std::thread& t : threads) t.join();
    ASSERT_EQ(let_go.load(), 3);
    group.done();
  }
}

}  // namespace
