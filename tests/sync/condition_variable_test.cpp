// SPDX-License-Identifier: Apache-2.0
//
// A condition_variable wakes who waits, in order, and nobody else; a notification is neither missed nor lost on one who
// leaves; whoever comes back has the mutex.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until;
using weft_test::until_waiting;
using lock_type = std::unique_lock<weft::mutex>;

static_assert(!std::is_copy_constructible_v<weft::condition_variable> &&
              !std::is_move_constructible_v<weft::condition_variable>);

constinit weft::condition_variable static_condition;
constinit weft::mutex static_mutex;

TEST(condition_variable, a_notification_without_a_waiter_is_gone) {
  weft::run([] {
    static_condition.notify_one();
    static_condition.notify_all();
    lock_type lock(static_mutex);
    EXPECT_EQ(static_condition.wait_for(lock, 1ms), std::cv_status::timeout);
    EXPECT_TRUE(lock.owns_lock());
  });
}

TEST(condition_variable, notify_one_wakes_the_one_who_waited_longest) {
  weft::run({.maxprocs = 1}, [] {
    weft::mutex mutex;
    weft::condition_variable changed;
    std::atomic<std::size_t> awake = 0, last = 99;
    weft::scope fibers;
    for (std::size_t i = 0; i < 10; ++i) {
      fibers.go([&, i] {
        lock_type lock(mutex);
        changed.wait(lock);
        last = i;
        ++awake;
      });
      until_waiting(i + 1);
    }
    for (std::size_t i = 0; i < 10; ++i) {
      EXPECT_EQ(awake, i);
      changed.notify_one();
      while (awake == i) weft::yield();
      weft::yield();
      EXPECT_EQ(awake, i + 1) << "one, and no more";
      EXPECT_EQ(last, i);
    }
    fibers.join();
  });
}

// As Go's TestCondSignalGenerations: a notification goes to one who waits already, not to one who comes later.
TEST(condition_variable, generations_do_not_mix) {
  weft::run({.maxprocs = 4}, [] {
    weft::mutex mutex;
    weft::condition_variable changed;
    weft::chan<std::size_t> awake(1);
    weft::scope fibers;
    for (std::size_t i = 0; i < 100; ++i) {
      fibers.go([&, i] {
        lock_type lock(mutex);
        changed.wait(lock);
        lock.unlock();
        awake.send(i);
      });
      if (i == 0) {
        until_waiting(1);
        continue;
      }
      until_waiting(2);
      changed.notify_one();
      EXPECT_EQ(*awake.recv(), i - 1);
    }
    changed.notify_one();
    EXPECT_EQ(*awake.recv(), 99u);
    fibers.join();
  });
}

TEST(condition_variable, notify_all_wakes_all_who_wait_and_nobody_else) {
  weft::run({.maxprocs = 4}, [] {
    weft::mutex mutex;
    weft::condition_variable changed;
    std::atomic<int> awake = 0;
    std::vector<weft::fiber<void>> fibers;
    for (int i = 0; i < 20; ++i) {
      fibers.push_back(weft::spawn([&] {
        lock_type lock(mutex);
        changed.wait(lock);
        ++awake;
      }));
    }
    until_waiting(20);
    changed.notify_all();
    for (auto& f : fibers) f.join();
    EXPECT_EQ(awake, 20);
    lock_type lock(mutex);
    EXPECT_EQ(changed.wait_for(lock, 1ms), std::cv_status::timeout);
  });
}

TEST(condition_variable, gives_the_mutex_up_while_it_waits_and_has_it_after) {
  weft::run([] {
    weft::mutex mutex;
    weft::condition_variable changed;
    auto waiter = weft::spawn([&] {
      lock_type lock(mutex);
      changed.wait(lock);
      EXPECT_TRUE(lock.owns_lock());
      EXPECT_FALSE(mutex.try_lock());
    });
    until_waiting(1);
    mutex.lock();
    changed.notify_one();
    weft::yield();
    EXPECT_FALSE(waiter.done()) << "it needs the mutex to come back";
    mutex.unlock();
    waiter.join();
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

TEST(condition_variable, a_predicate_is_asked_with_the_mutex_held_until_it_is_true) {
  weft::run([] {
    weft::mutex mutex;
    weft::condition_variable changed;
    int value = 0, asked = 0;
    auto waiter = weft::spawn([&] {
      lock_type lock(mutex);
      changed.wait(lock, [&] {
        EXPECT_FALSE(mutex.try_lock());
        ++asked;
        return value == 2;
      });
      EXPECT_EQ(value, 2);
    });
    for (int i = 1; i <= 2; ++i) {
      until_waiting(1);
      {
        const lock_type lock(mutex);
        value = i;
      }
      changed.notify_one();
      if (i == 1) {
        while (true) {
          const lock_type lock(mutex);
          if (asked == 2) break;
          weft::yield();
        }
      }
    }
    waiter.join();
    EXPECT_EQ(asked, 3);
  });
}

TEST(condition_variable, timed_waits_say_why_they_ended) {
  weft::run([] {
    weft::mutex mutex;
    weft::condition_variable changed;
    lock_type lock(mutex);
    EXPECT_EQ(changed.wait_for(lock, 0s), std::cv_status::timeout);
    EXPECT_EQ(changed.wait_for(lock, -1s), std::cv_status::timeout);
    EXPECT_EQ(changed.wait_until(lock, weft::clock::now() + 1ms), std::cv_status::timeout);
    EXPECT_EQ(changed.wait_until(lock, weft::clock::time_point::min()), std::cv_status::timeout);
    EXPECT_EQ(changed.wait_until(lock, std::chrono::system_clock::now() + 1ms), std::cv_status::timeout);
    EXPECT_FALSE(changed.wait_for(lock, 1ms, [] { return false; }));
    EXPECT_TRUE(changed.wait_for(lock, 0s, [] { return true; }));
    EXPECT_FALSE(changed.wait_until(lock, weft::clock::now() + 1ms, [] { return false; }));
    EXPECT_TRUE(changed.wait_until(lock, weft::clock::now() - 1s, [] { return true; }));
    EXPECT_TRUE(lock.owns_lock());

    std::atomic<int> awake = 0;
    weft::scope fibers;
    fibers.go([&] {
      lock_type mine(mutex);
      EXPECT_EQ(changed.wait_for(mine, std::chrono::hours::max()), std::cv_status::no_timeout);
      ++awake;
    });
    fibers.go([&] {
      lock_type mine(mutex);
      EXPECT_EQ(changed.wait_until(mine, weft::clock::time_point::max()), std::cv_status::no_timeout);
      ++awake;
    });
    auto last = weft::spawn([&] {
      lock_type mine(mutex);
      return changed.wait_until(mine, std::chrono::system_clock::now() + 1h, [&] { return awake == 2; });
    });
    lock.unlock();
    until_waiting(3);
    changed.notify_all();
    fibers.join();
    until([&] {
      changed.notify_all();
      return last.done();
    });
    EXPECT_TRUE(last.join());
  });
}

TEST(condition_variable, a_wait_without_the_mutex_is_refused) {
  weft::run([] {
    weft::mutex mutex;
    weft::condition_variable changed;
    lock_type unlocked(mutex, std::defer_lock);
    lock_type none;
    try {
      changed.wait(unlocked);
      FAIL() << "it owns nothing";
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::errc::operation_not_permitted);
    }
    EXPECT_THROW(changed.wait_for(none, 1h), std::system_error);
    EXPECT_THROW(changed.wait(unlocked, [] { return true; }), std::system_error);
  });
}

TEST(condition_variable, a_cancelled_wait_throws_with_the_mutex_held) {
  weft::run([] {
    weft::mutex mutex;
    weft::condition_variable changed;
    bool owned = false;
    auto waiter = weft::spawn([&] {
      lock_type lock(mutex);
      try {
        changed.wait(lock);
      } catch (const weft::cancelled&) {
        owned = lock.owns_lock() && !mutex.try_lock();
        throw;
      }
    });
    until_waiting(1);
    mutex.lock();
    waiter.cancel();
    weft::yield();
    EXPECT_FALSE(waiter.done()) << "it takes the mutex before it throws, whatever it has been told";
    mutex.unlock();
    EXPECT_THROW(waiter.join(), weft::fiber_cancelled);
    EXPECT_TRUE(owned);
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

TEST(condition_variable, waits_throw_at_their_entry_in_a_cancelled_scope) {
  weft::run([] {
    weft::mutex mutex;
    weft::condition_variable changed;
    lock_type lock(mutex);
    weft::cancel_scope scope;
    scope.cancel();
    EXPECT_FALSE(scope.run([&] { changed.wait(lock); }));
    EXPECT_FALSE(scope.run([&] { changed.wait(lock, [] { return true; }); }));
    EXPECT_FALSE(scope.run([&] { changed.wait_for(lock, 1h); }));
    EXPECT_FALSE(scope.run([&] { (void)changed.wait_for(lock, 1h, [] { return true; }); }));
    EXPECT_FALSE(scope.run([&] { changed.wait_until(lock, weft::clock::now()); }));
    EXPECT_FALSE(scope.run([&] { (void)changed.wait_until(lock, weft::clock::now(), [] { return true; }); }));
    EXPECT_TRUE(lock.owns_lock());
    EXPECT_TRUE(scope.run([&] {
      changed.notify_one();
      changed.notify_all();
    }));
  });
}

TEST(condition_variable, a_notification_goes_past_one_who_was_cancelled_before) {
  weft::run({.maxprocs = 1}, [] {
    weft::mutex mutex;
    weft::condition_variable changed;
    const auto wait = [&] {
      lock_type lock(mutex);
      changed.wait(lock);
    };
    auto first = weft::spawn(wait);
    until_waiting(1);
    auto second = weft::spawn(wait);
    until_waiting(2);
    first.cancel();
    changed.notify_one();  // the first is still in the list
    second.join();
    EXPECT_THROW(first.join(), weft::fiber_cancelled);
  });
}

TEST(condition_variable, who_was_notified_does_not_throw) {
  weft::run({.maxprocs = 1}, [] {
    weft::mutex mutex;
    weft::condition_variable changed;
    bool returned = false;
    auto waiter = weft::spawn([&] {
      lock_type lock(mutex);
      changed.wait(lock);
      returned = true;
    });
    until_waiting(1);
    changed.notify_one();
    waiter.cancel();
    waiter.join();
    EXPECT_TRUE(returned);
  });
}

TEST(condition_variable, a_bounded_queue_between_fibers_and_plain_threads_loses_nothing) {
  weft::run({.maxprocs = 4}, [] {
    constexpr int producers = 4, each = 500;
    weft::mutex mutex;
    weft::condition_variable not_empty, not_full;
    std::deque<int> queue;
    std::atomic<long> sum = 0;
    const auto produce = [&] {
      for (int i = 1; i <= each; ++i) {
        lock_type lock(mutex);
        not_full.wait(lock, [&] { return queue.size() < 4; });
        queue.push_back(i);
        not_empty.notify_one();
      }
    };
    const auto consume = [&] {
      for (int i = 0; i < each; ++i) {
        lock_type lock(mutex);
        not_empty.wait(lock, [&] { return !queue.empty(); });
        sum += queue.front();
        queue.pop_front();
        not_full.notify_one();
      }
    };
    std::thread producer(produce), consumer(consume);
    weft::scope fibers;
    for (int i = 1; i < producers; ++i) {
      fibers.go(produce);
      fibers.go(consume);
    }
    fibers.join();
    weft::blocking([&] {
      producer.join();
      consumer.join();
    });
    EXPECT_EQ(sum, producers * (each * (each + 1) / 2));
    EXPECT_TRUE(queue.empty());
  });
}

TEST(condition_variable, works_between_plain_threads_without_a_runtime) {
  weft::mutex mutex;
  weft::condition_variable changed;
  bool ready = false;
  std::thread thread([&] {
    const lock_type lock(mutex);
    ready = true;
    changed.notify_one();
  });
  lock_type lock(mutex);
  changed.wait(lock, [&] { return ready; });
  EXPECT_FALSE(changed.wait_for(lock, 1ms, [] { return false; }));
  lock.unlock();
  thread.join();
}

}  // namespace
