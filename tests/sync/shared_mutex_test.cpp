// SPDX-License-Identifier: Apache-2.0
//
// A shared_mutex lets in one writer or any number of readers; a waiting writer holds back new readers, and readers that
// have waited come before the next writer.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until;
using weft_test::until_waiting;
using weft_test::waiting;

static_assert(!std::is_copy_constructible_v<weft::shared_mutex> && !std::is_move_constructible_v<weft::shared_mutex>);

constinit weft::shared_mutex static_mutex;

TEST(shared_mutex, works_with_the_standard_guards) {
  weft::run([] {
    {
      const std::unique_lock writing(static_mutex);
      EXPECT_FALSE(static_mutex.try_lock());
      EXPECT_FALSE(static_mutex.try_lock_shared());
    }
    {
      const std::shared_lock one(static_mutex), another(static_mutex);
      EXPECT_FALSE(static_mutex.try_lock());
      std::shared_lock third(static_mutex, std::try_to_lock);
      EXPECT_TRUE(third.owns_lock());
    }
    {
      std::shared_lock timed(static_mutex, 1h);
      EXPECT_TRUE(timed.owns_lock());
      std::unique_lock writing(static_mutex, weft::clock::now() + 1ms);
      EXPECT_FALSE(writing.owns_lock());
    }
    EXPECT_TRUE(static_mutex.try_lock());
    static_mutex.unlock();
  });
}

TEST(shared_mutex, many_readers_or_one_writer) {
  weft::run({.maxprocs = 4}, [] {
    weft::shared_mutex mutex;
    std::atomic<int> readers = 0, writers = 0;
    long plain = 0;
    weft::scope fibers;
    for (int f = 0; f < 6; ++f) {
      fibers.go([&, f] {
        for (int i = 0; i < 300; ++i) {
          if ((i + f) % 4 == 0) {
            const std::unique_lock lock(mutex);
            EXPECT_EQ(++writers, 1);
            EXPECT_EQ(readers, 0);
            ++plain;
            weft::yield();
            --writers;
          } else {
            const std::shared_lock lock(mutex);
            ++readers;
            EXPECT_EQ(writers, 0);
            weft::yield();
            --readers;
          }
        }
      });
    }
    fibers.join();
    EXPECT_EQ(plain, 6 * 75);
  });
}

TEST(shared_mutex, readers_are_inside_together) {
  weft::run([] {
    weft::shared_mutex mutex;
    weft::latch all_inside(5);
    weft::scope fibers;
    for (int i = 0; i < 5; ++i) {
      fibers.go([&] {
        const std::shared_lock lock(mutex);
        all_inside.arrive_and_wait();  // ends only if nobody is kept out
      });
    }
    fibers.join();
  });
}

TEST(shared_mutex, a_waiting_writer_holds_back_new_readers) {
  weft::run({.maxprocs = 1}, [] {
    weft::shared_mutex mutex;
    std::string order;
    mutex.lock_shared();
    auto writer = weft::spawn([&] {
      const std::unique_lock lock(mutex);
      order += 'w';
    });
    until_waiting(1);
    EXPECT_FALSE(mutex.try_lock_shared());
    EXPECT_FALSE(mutex.try_lock_shared_for(1ms));
    auto reader = weft::spawn([&] {
      const std::shared_lock lock(mutex);
      order += 'r';
    });
    until_waiting(2);
    EXPECT_EQ(order, "");
    mutex.unlock_shared();
    writer.join();
    reader.join();
    EXPECT_EQ(order, "wr");
  });
}

TEST(shared_mutex, readers_that_have_waited_come_before_the_next_writer) {
  weft::run({.maxprocs = 1}, [] {
    weft::shared_mutex mutex;
    std::string order = "....";
    std::atomic<std::size_t> held = 0;  // readers hold it at a time
    mutex.lock();
    const auto write = [&] {
      const std::unique_lock lock(mutex);
      order[held++] = 'w';
    };
    const auto read = [&] {
      const std::shared_lock lock(mutex);
      order[held++] = 'r';
    };
    std::vector<weft::fiber<void>> fibers;
    fibers.push_back(weft::spawn(write));
    until_waiting(1);
    fibers.push_back(weft::spawn(read));
    until_waiting(2);
    fibers.push_back(weft::spawn(read));
    until_waiting(3);
    fibers.push_back(weft::spawn(write));
    until_waiting(4);
    mutex.unlock();
    for (auto& f : fibers) f.join();
    EXPECT_EQ(order, "rrww");
  });
}

TEST(shared_mutex, writers_are_let_in_in_the_order_they_came) {
  weft::run({.maxprocs = 1}, [] {
    weft::shared_mutex mutex;
    std::string order;
    mutex.lock_shared();
    std::vector<weft::fiber<void>> fibers;
    for (const char name : {'a', 'b', 'c', 'd'}) {
      fibers.push_back(weft::spawn([&, name] {
        const std::unique_lock lock(mutex);
        order += name;
      }));
      until_waiting(fibers.size());
    }
    mutex.unlock_shared();
    for (auto& f : fibers) f.join();
    EXPECT_EQ(order, "abcd");
  });
}

TEST(shared_mutex, timed_locks_give_up) {
  weft::run([] {
    weft::shared_mutex mutex;
    mutex.lock();
    EXPECT_FALSE(mutex.try_lock_for(0s));
    EXPECT_FALSE(mutex.try_lock_for(1ms));
    EXPECT_FALSE(mutex.try_lock_until(weft::clock::now() + 1ms));
    EXPECT_FALSE(mutex.try_lock_shared_for(-1s));
    EXPECT_FALSE(mutex.try_lock_shared_for(1ms));
    EXPECT_FALSE(mutex.try_lock_shared_until(std::chrono::system_clock::now() + 1ms));
    mutex.unlock();
    EXPECT_TRUE(mutex.try_lock_for(0s));
    mutex.unlock();
    EXPECT_TRUE(mutex.try_lock_shared_until(weft::clock::now() - 1s));
    mutex.unlock_shared();
  });
}

TEST(shared_mutex, timed_locks_get_it_in_time) {
  weft::run([] {
    weft::shared_mutex mutex;
    mutex.lock();
    auto writer = weft::spawn([&] {
      EXPECT_TRUE(mutex.try_lock_for(1h));
      mutex.unlock();
    });
    auto reader = weft::spawn([&] {
      EXPECT_TRUE(mutex.try_lock_shared_for(1h));
      mutex.unlock_shared();
    });
    until_waiting(2);
    mutex.unlock();
    writer.join();
    reader.join();
  });
}

TEST(shared_mutex, a_writer_that_gives_up_lets_the_readers_in_that_it_held_back) {
  weft::run([] {
    weft::shared_mutex mutex;
    mutex.lock_shared();
    std::atomic<bool> gave_up{false};
    auto writer = weft::spawn([&] {
      const bool got = mutex.try_lock_for(20ms);
      gave_up.store(true);
      return got;
    });
    until([&] { return waiting() == 1 || gave_up.load(); });
    auto reader = weft::spawn([&] { const std::shared_lock lock(mutex); });
    reader.join();  // while we still read
    EXPECT_FALSE(writer.join());
    EXPECT_TRUE(mutex.try_lock_shared());
    mutex.unlock_shared();
    mutex.unlock_shared();
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

TEST(shared_mutex, takes_no_notice_of_cancellation) {
  weft::run([] {
    weft::shared_mutex mutex;
    mutex.lock();
    std::atomic<int> entered = 0;
    auto writer = weft::spawn([&] {
      const std::unique_lock lock(mutex);
      ++entered;
    });
    auto reader = weft::spawn([&] {
      const std::shared_lock lock(mutex);
      ++entered;
    });
    until_waiting(2);
    writer.cancel();
    reader.cancel();
    weft::yield();
    EXPECT_EQ(entered, 0);
    mutex.unlock();
    writer.join();
    reader.join();
    EXPECT_EQ(entered, 2);
  });
}

TEST(shared_mutex, what_a_writer_wrote_readers_see_and_what_readers_read_is_not_written_yet) {
  weft::run({.maxprocs = 4}, [] {
    weft::shared_mutex mutex;
    long a = 0, b = 0;
    std::atomic<bool> stop = false;
    weft::scope fibers;
    for (int r = 0; r < 3; ++r) {
      fibers.go([&] {
        while (!stop) {
          const std::shared_lock lock(mutex);
          EXPECT_EQ(a, b);
          weft::yield();
        }
      });
    }
    for (int i = 0; i < 500; ++i) {
      const std::unique_lock lock(mutex);
      ++a;
      if (i % 8 == 0) weft::yield();
      ++b;
    }
    stop = true;
    fibers.join();
  });
}

TEST(shared_mutex, joins_fibers_and_plain_threads) {
  weft::run({.maxprocs = 2}, [] {
    weft::shared_mutex mutex;
    int plain = 0;
    const auto use = [&] {
      for (int i = 0; i < 1000; ++i) {
        if (i % 2 == 0) {
          const std::unique_lock lock(mutex);
          ++plain;
        } else {
          const std::shared_lock lock(mutex);
          EXPECT_GE(plain, 0);
        }
      }
    };
    std::thread thread(use);
    use();
    weft::blocking([&] { thread.join(); });
    EXPECT_EQ(plain, 1000);
  });
}

TEST(shared_mutex_death, unlocking_what_is_not_locked_ends_the_process) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(weft::run([] {
                weft::shared_mutex mutex;
                mutex.unlock();
              }),
              testing::ExitedWithCode(2), "unlock of unlocked shared_mutex");
  EXPECT_EXIT(weft::run([] {
                weft::shared_mutex mutex;
                mutex.lock_shared();
                mutex.unlock();
              }),
              testing::ExitedWithCode(2), "unlock of unlocked shared_mutex");
  EXPECT_EXIT(weft::run([] {
                weft::shared_mutex mutex;
                mutex.lock();
                mutex.unlock_shared();
              }),
              testing::ExitedWithCode(2), "unlock_shared of a shared_mutex that no reader holds");
}

}  // namespace
