// SPDX-License-Identifier: Apache-2.0
//
// Mutex and wait_group between fibers and plain threads. What is accounted for: plain counters under the mutex lose no
// increment, nobody is inside beside another, a wait on a group returns only once all that was added is done.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::choices;
using weft_test::scaled;

class sync_stress : public weft_test::stress {};

struct guarded {
  weft::mutex mutex;
  long count = 0;
  int inside = 0;
  bool overlapped = false;

  void step(bool dawdle) {
    overlapped = overlapped || inside != 0;
    ++inside;
    ++count;
    if (dawdle) weft::yield();
    --inside;
  }
};

// Some lock, some try, some give up after a moment; some wait while they hold it. Only those who got in count.
long use(guarded& g, std::uint64_t who, int times, bool may_yield) {
  choices draw(who);
  long got = 0;
  for (int i = 0; i < times; ++i) {
    bool mine = true;
    switch (draw.below(4)) {
      case 0:
        mine = g.mutex.try_lock();
        break;
      case 1:
        mine = g.mutex.try_lock_for(draw.up_to(30us));
        break;
      default:
        g.mutex.lock();
    }
    if (!mine) continue;
    ++got;
    g.step(may_yield && draw.one_in(8));
    g.mutex.unlock();
  }
  return got;
}

TEST_F(sync_stress, a_mutex_between_fibers_and_plain_threads_loses_no_increment) {
  const int times = scaled(150'000);
  weft::run([&] {
    guarded g;
    std::atomic<long> got{0};
    std::vector<std::thread> threads;
    weft::scope s;
    for (std::uint64_t i = 0; i < 16; ++i) s.go([&, i] { got += use(g, i, times, true); });
    for (std::uint64_t i = 0; i < 3; ++i) threads.emplace_back([&, i] { got += use(g, 100 + i, times, false); });
    s.join();
    weft::blocking([&] {
      for (std::thread& t : threads) t.join();
    });
    EXPECT_EQ(g.count, got.load());
    EXPECT_FALSE(g.overlapped);
    EXPECT_TRUE(g.mutex.try_lock());
    g.mutex.unlock();
  });
}

TEST_F(sync_stress, two_mutexes_at_a_time_keep_their_sum) {
  constexpr std::size_t accounts = 8;
  const int times = scaled(100'000);
  weft::run([&] {
    struct account {
      weft::mutex mutex;
      long balance = 1000;
    };
    std::array<account, accounts> bank;
    weft::scope s;
    for (std::uint64_t who = 0; who < 16; ++who) {
      s.go([&, who] {
        choices draw(who);
        for (int i = 0; i < times; ++i) {
          account& from = bank[draw.below(accounts)];
          account& to = bank[draw.below(accounts)];
          if (&from == &to) continue;
          const std::scoped_lock both(from.mutex, to.mutex);
          const long amount = draw.below(10);
          from.balance -= amount;
          if (draw.one_in(16)) weft::yield();
          to.balance += amount;
        }
      });
    }
    s.join();
    long sum = 0;
    for (account& a : bank) sum += a.balance;
    EXPECT_EQ(sum, 1000l * static_cast<long>(accounts));
  });
}

TEST_F(sync_stress, cancellation_does_not_lose_the_mutex) {
  const int rounds = scaled(10'000);
  weft::run([&] {
    for (int round = 0; round < rounds; ++round) {
      choices draw(static_cast<std::uint64_t>(round));
      guarded g;
      std::vector<weft::fiber<void>> fibers;
      for (int i = 0; i < 6; ++i) {
        fibers.push_back(weft::spawn([&] {
          for (int k = 0; k < 10; ++k) {
            const std::lock_guard guard(g.mutex);
            weft::shield([&] { g.step(true); });
            weft::yield();
          }
        }));
      }
      for (int i = 0; i < 4; ++i) {
        for (unsigned t = draw.below(6); t > 0; --t) weft::yield();
        fibers[draw.below(6)].cancel();
      }
      for (auto& f : fibers) {
        try {
          f.join();
        } catch (const weft::fiber_cancelled&) {
        }
      }
      ASSERT_FALSE(g.overlapped);
      ASSERT_TRUE(g.mutex.try_lock());
      g.mutex.unlock();
    }
  });
}

TEST_F(sync_stress, a_wait_group_waits_for_everybody_each_time) {
  const int rounds = scaled(20'000);
  weft::run([&] {
    weft::wait_group group;
    std::vector<long> plain(64);
    for (int round = 1; round <= rounds; ++round) {
      choices draw(static_cast<std::uint64_t>(round));
      const unsigned workers = 1 + draw.below(64);
      std::atomic<unsigned> watchers_done{0};
      group.add(static_cast<std::ptrdiff_t>(workers));
      for (unsigned i = 0; i < workers; ++i) {
        weft::go([&, i, round, waits = draw.one_in(3)] {
          if (waits) weft::yield();
          plain[i] = round;
          group.done();
        });
      }
      weft::scope watchers;
      for (int w = 0; w < 3; ++w) {
        watchers.go([&, w] {
          if (w == 0) {
            while (!group.wait_for(5us)) {
            }
          } else {
            group.wait();
          }
          for (unsigned i = 0; i < workers; ++i) EXPECT_EQ(plain[i], round);
          watchers_done.fetch_add(1);
        });
      }
      watchers.join();
      ASSERT_EQ(watchers_done.load(), 3u);
    }
  });
}

TEST_F(sync_stress, wait_groups_between_plain_threads_and_fibers) {
  const int rounds = scaled(20'000);
  weft::run([&] {
    weft::chan<weft::wait_group*> work(16);
    std::thread thread([&] {
      for (weft::wait_group* group : work) group->done();
    });
    weft::scope s;
    s.go([&] {
      for (weft::wait_group* group : work) group->done();
    });
    for (int round = 0; round < rounds; ++round) {
      weft::wait_group group;
      group.add(4);
      for (int i = 0; i < 4; ++i) work.send(&group);
      group.wait();
    }
    work.close();
    s.join();
    weft::blocking([&] { thread.join(); });
  });
}

}  // namespace
