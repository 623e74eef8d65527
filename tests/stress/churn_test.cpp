// SPDX-License-Identifier: Apache-2.0
//
// The number of Ps changes all the time, from fibers and from plain threads, while channels, timers, trees of fibers
// and blocked threads are at work.

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::choices;
using weft_test::ledger;
using weft_test::parcel;
using weft_test::scaled;

class churn_stress : public weft_test::stress {};

long tree(int depth) {
  if (depth == 0) return 1;
  auto left = weft::spawn(tree, depth - 1);
  const long right = tree(depth - 1);
  return left.join() + right;
}

TEST_F(churn_stress, the_width_changes_while_everything_runs) {
  const int each = scaled(40'000);
  constexpr int senders = 6;
  const auto size = static_cast<std::size_t>(senders * each);
  ledger received(size);
  std::atomic<bool> stop{false};
  std::atomic<long> changes{0};
  weft::run([&] {
    std::thread churner([&] {
      choices draw(1);
      while (!stop.load()) {
        weft::set_maxprocs(1 + static_cast<int>(draw.below(16)));
        changes.fetch_add(1);
        std::this_thread::sleep_for(draw.up_to(200us));
      }
    });
    weft::scope churn;
    churn.go([&] {
      choices draw(2);
      while (!stop.load()) {
        const int wish = 1 + static_cast<int>(draw.below(4));
        weft::set_maxprocs(wish);
        changes.fetch_add(1);
        weft::sleep_for(draw.up_to(300us));
      }
    });
    weft::scope s;
    weft::chan<parcel> c(2);
    weft::wait_group sending;
    for (int who = 0; who < senders; ++who) {
      sending.add();
      s.go([&, who] {
        for (int i = 0; i < each; ++i) c.send(parcel(static_cast<std::size_t>(who * each + i)));
        sending.done();
      });
    }
    for (int r = 0; r < 4; ++r) {
      s.go([&, c] {
        while (auto p = c.recv()) received.mark(p->number());
      });
    }
    for (std::uint64_t who = 0; who < 20; ++who) {
      s.go([&, who] {
        choices draw(100 + who);
        for (int i = 0; i < each / 40; ++i) {
          const auto due = weft::clock::now() + draw.up_to(400us);
          weft::sleep_until(due);
          EXPECT_GE(weft::clock::now(), due);
        }
      });
    }
    for (std::uint64_t who = 0; who < 3; ++who) {
      s.go([&, who] {
        choices draw(200 + who);
        for (int i = 0; i < each / 80; ++i) usleep(draw.below(300));
      });
    }
    s.go([&] {
      for (int i = 0; i < each / 400 + 1; ++i) EXPECT_EQ(tree(8), 256);
    });
    sending.wait();
    c.close();
    s.join();
    stop = true;
    churn.join();
    weft::blocking([&] { churner.join(); });
  });
  EXPECT_EQ(received.missing(), 0u);
  EXPECT_EQ(received.strange(), 0u);
  EXPECT_EQ(parcel::held.load(), 0);
  EXPECT_GT(changes.load(), 0);
}

TEST_F(churn_stress, timers_of_retired_processors_fire) {
  const int rounds = scaled(1000);
  weft::run([&] {
    for (int round = 0; round < rounds; ++round) {
      choices draw(static_cast<std::uint64_t>(round));
      weft::set_maxprocs(8);
      std::atomic<int> woken{0};
      weft::scope s;
      for (int i = 0; i < 40; ++i) {
        s.go([&, length = draw.up_to(500us)] {
          weft::sleep_for(length);
          woken.fetch_add(1);
        });
      }
      if (draw.one_in(2)) weft::yield();
      weft::set_maxprocs(1 + static_cast<int>(draw.below(2)));
      s.join();
      ASSERT_EQ(woken.load(), 40);
    }
  });
}

}  // namespace
