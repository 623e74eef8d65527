// SPDX-License-Identifier: Apache-2.0
//
// A mutex lets one in at a time, gives up when asked to, is fair in the end, and takes no notice of cancellation.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until_waiting;

static_assert(!std::is_copy_constructible_v<weft::mutex> && !std::is_move_constructible_v<weft::mutex>);

constinit weft::mutex static_mutex;

TEST(mutex, works_with_the_standard_guards) {
  weft::run([] {
    weft::mutex a;
    weft::mutex b;
    {
      const std::lock_guard guard(a);
      EXPECT_FALSE(a.try_lock());
    }
    {
      const std::scoped_lock both(a, b, static_mutex);
      EXPECT_FALSE(a.try_lock());
      EXPECT_FALSE(b.try_lock());
      EXPECT_FALSE(static_mutex.try_lock());
    }
    {
      std::unique_lock lock(a, std::try_to_lock);
      EXPECT_TRUE(lock.owns_lock());
      lock.unlock();
      EXPECT_TRUE(lock.try_lock_for(0s));
    }
    EXPECT_TRUE(a.try_lock());
    a.unlock();
  });
}

TEST(mutex, lets_one_fiber_in_at_a_time) {
  weft::run({.maxprocs = 4}, [] {
    weft::mutex mutex;
    int plain = 0;
    std::atomic<int> inside = 0;
    weft::scope s;
    for (int f = 0; f < 8; ++f) {
      s.go([&] {
        for (int i = 0; i < 500; ++i) {
          const std::lock_guard guard(mutex);
          EXPECT_EQ(inside.fetch_add(1), 0);
          ++plain;
          if (i % 16 == 0) weft::yield();
          inside.fetch_sub(1);
        }
      });
    }
    s.join();
    EXPECT_EQ(plain, 4000);
  });
}

TEST(mutex, a_second_fiber_waits_until_it_is_unlocked) {
  weft::run([] {
    weft::mutex mutex;
    mutex.lock();
    std::atomic<bool> entered = false;
    auto second = weft::spawn([&] {
      const std::lock_guard guard(mutex);
      entered = true;
    });
    until_waiting(1);
    EXPECT_FALSE(entered);
    mutex.unlock();
    second.join();
    EXPECT_TRUE(entered);
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

TEST(mutex, every_waiter_gets_it_in_the_end) {
  weft::run([] {
    weft::mutex mutex;
    mutex.lock();
    std::vector<weft::fiber<void>> waiters;
    for (int i = 0; i < 20; ++i) waiters.push_back(weft::spawn([&] { const std::lock_guard guard(mutex); }));
    until_waiting(20);
    mutex.unlock();
    for (auto& waiter : waiters) waiter.join();
  });
}

TEST(mutex, try_lock_for_gives_up_while_it_is_held) {
  weft::run([] {
    weft::mutex mutex;
    mutex.lock();
    EXPECT_FALSE(mutex.try_lock_for(0s));
    EXPECT_FALSE(mutex.try_lock_for(-1s));
    EXPECT_FALSE(mutex.try_lock_for(1ms));
    EXPECT_FALSE(mutex.try_lock_until(weft::clock::now() + 1ms));
    mutex.unlock();
    EXPECT_TRUE(mutex.try_lock_for(0s));
    mutex.unlock();
    EXPECT_TRUE(mutex.try_lock_until(weft::clock::now() - 1s)) << "a free mutex is had without waiting";
    mutex.unlock();
  });
}

TEST(mutex, try_lock_for_gets_it_when_it_is_unlocked_in_time) {
  weft::run([] {
    weft::mutex mutex;
    mutex.lock();
    auto patient = weft::spawn([&] {
      if (!mutex.try_lock_for(1h)) return false;
      mutex.unlock();
      return true;
    });
    until_waiting(1);
    mutex.unlock();
    EXPECT_TRUE(patient.join());
  });
}

TEST(mutex, one_who_gave_up_does_not_stand_in_the_way) {
  weft::run([] {
    weft::mutex mutex;
    mutex.lock();
    auto impatient = weft::spawn([&] { return mutex.try_lock_for(1ms); });
    EXPECT_FALSE(impatient.join());
    auto patient = weft::spawn([&] { const std::lock_guard guard(mutex); });
    until_waiting(1);
    mutex.unlock();
    patient.join();
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

TEST(mutex, a_starving_waiter_is_handed_the_lock) {
  weft::run({.maxprocs = 2}, [] {
    weft::mutex mutex;
    std::atomic<bool> had_it = false;
    mutex.lock();
    auto starving = weft::spawn([&] {
      const std::lock_guard guard(mutex);
      had_it = true;
    });
    until_waiting(1);
    // Ends only if the waiter gets in between: it is unlocked for no more than an instant.
    while (!had_it) {
      const auto until = weft::clock::now() + 100us;
      while (weft::clock::now() < until) {
      }
      mutex.unlock();
      mutex.lock();
    }
    mutex.unlock();
    starving.join();
  });
}

TEST(mutex, lock_takes_no_notice_of_cancellation) {
  weft::run([] {
    weft::mutex mutex;
    mutex.lock();
    std::atomic<bool> entered = false;
    auto second = weft::spawn([&] {
      const std::lock_guard guard(mutex);
      entered = true;
      EXPECT_TRUE(weft::this_fiber::cancelled());
    });
    until_waiting(1);
    second.cancel();
    weft::yield();
    EXPECT_FALSE(entered);
    mutex.unlock();
    second.join();
    EXPECT_TRUE(entered);
  });
}

TEST(mutex, may_be_destroyed_by_the_fiber_that_its_last_unlock_let_in) {
  weft::run({.maxprocs = 4}, [] {
    for (int i = 0; i < 2000; ++i) {
      auto mutex = std::make_unique<weft::mutex>();
      mutex->lock();
      auto other = weft::spawn([&mutex] {
        mutex->lock();
        mutex->unlock();
        mutex.reset();
      });
      weft::yield();
      mutex->unlock();
      other.join();
      EXPECT_EQ(mutex, nullptr);
    }
  });
}

TEST(mutex, joins_fibers_and_plain_threads) {
  weft::run({.maxprocs = 2}, [] {
    weft::mutex mutex;
    int plain = 0;
    std::thread thread([&] {
      for (int i = 0; i < 1000; ++i) {
        const std::lock_guard guard(mutex);
        ++plain;
      }
    });
    for (int i = 0; i < 1000; ++i) {
      const std::lock_guard guard(mutex);
      ++plain;
    }
    weft::blocking([&] { thread.join(); });
    EXPECT_EQ(plain, 2000);
  });
}

TEST(mutex_death, unlocking_what_is_not_locked_ends_the_process) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(weft::run([] {
                weft::mutex mutex;
                mutex.unlock();
              }),
              testing::ExitedWithCode(2), "unlock of unlocked mutex");
}

}  // namespace
