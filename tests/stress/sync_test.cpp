// SPDX-License-Identifier: Apache-2.0
//
// Synchronisation between fibers and plain threads. What is accounted for: plain counters under a mutex lose no
// increment, nobody is inside beside another, a wait on a group returns only once all that was added is done; permits
// are neither lost nor invented, items go through a bounded queue once, phases do not mix, a call is made once.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
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

/// Several fibers, and plain threads beside them, all doing the same; `body(who, plain)`.
template <class Body>
void crowd(std::uint64_t fibers, std::uint64_t threads, Body body) {
  std::vector<std::thread> plain;
  weft::scope s;
  for (std::uint64_t i = 0; i < fibers; ++i) s.go([&, i] { body(i, false); });
  for (std::uint64_t i = 0; i < threads; ++i) plain.emplace_back([&, i] { body(100 + i, true); });
  s.join();
  weft::blocking([&] {
    for (std::thread& t : plain) t.join();
  });
}

TEST_F(sync_stress, readers_and_writers_never_meet) {
  const int times = scaled(40'000);
  weft::run([&] {
    weft::shared_mutex mutex;
    std::atomic<int> readers{0};
    std::atomic<int> writers{0};
    std::atomic<long> wrote{0};
    std::atomic<bool> met{false};
    long plain = 0;
    crowd(12, 2, [&](std::uint64_t who, bool is_thread) {
      choices draw(who);
      long mine = 0;
      for (int i = 0; i < times; ++i) {
        const bool write = draw.one_in(4);
        bool in = true;
        switch (draw.below(4)) {
          case 0:
            in = write ? mutex.try_lock() : mutex.try_lock_shared();
            break;
          case 1:
            in = write ? mutex.try_lock_for(draw.up_to(30us)) : mutex.try_lock_shared_for(draw.up_to(30us));
            break;
          default:
            write ? mutex.lock() : mutex.lock_shared();
        }
        if (!in) continue;
        std::atomic<int>& mates = write ? writers : readers;
        const int before = mates.fetch_add(1);
        if ((write ? readers : writers).load() != 0 || (write && before != 0)) met = true;
        if (!is_thread && draw.one_in(16)) weft::yield();
        if (write) {
          ++plain;
          ++mine;
        }
        mates.fetch_sub(1);
        write ? mutex.unlock() : mutex.unlock_shared();
      }
      wrote += mine;
    });
    EXPECT_FALSE(met);
    EXPECT_EQ(plain, wrote);
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

// Large and small requests, of which some are given up; in the end all permits are there.
TEST_F(sync_stress, permits_are_neither_lost_nor_invented) {
  constexpr std::ptrdiff_t permits = 10;
  const int times = scaled(30'000);
  weft::run([&] {
    weft::semaphore semaphore(permits);
    std::atomic<std::ptrdiff_t> out{0};
    std::atomic<bool> invented{false};
    crowd(12, 2, [&](std::uint64_t who, bool is_thread) {
      choices draw(who);
      for (int i = 0; i < times; ++i) {
        const auto n = static_cast<std::ptrdiff_t>(draw.one_in(8) ? permits : 1 + draw.below(3));
        bool got = true;
        switch (draw.below(4)) {
          case 0:
            got = semaphore.try_acquire(n);
            break;
          case 1:
            got = semaphore.try_acquire_for(draw.up_to(30us), n);
            break;
          case 2:
            if (!is_thread) {
              got = false;
              try {
                weft::with_timeout(draw.up_to(50us), [&] {
                  semaphore.acquire(n);
                  got = true;
                });
              } catch (const weft::timed_out&) {
              }
              break;
            }
            [[fallthrough]];
          default:
            semaphore.acquire(n);
        }
        if (!got) continue;
        if (out.fetch_add(n) + n > permits) invented = true;
        if (!is_thread && draw.one_in(8)) weft::yield();
        out.fetch_sub(n);
        semaphore.release(n);
      }
    });
    EXPECT_FALSE(invented);
    EXPECT_TRUE(semaphore.try_acquire(permits));
    EXPECT_FALSE(semaphore.try_acquire());
  });
}

// A bounded queue; consumers that run out of patience, or are cancelled, take nothing and lose no notification.
TEST_F(sync_stress, what_goes_through_a_bounded_queue_comes_out_once) {
  constexpr std::size_t producers = 6, room = 4;
  const auto each = static_cast<std::size_t>(scaled(10'000));
  weft::run([&] {
    weft_test::ledger taken(producers * each);
    weft::mutex mutex;
    weft::condition_variable not_empty, not_full;
    std::deque<std::size_t> queue;
    std::atomic<std::size_t> left{producers * each};
    crowd(2 * producers, 2, [&](std::uint64_t who, bool is_thread) {
      choices draw(who);
      if (who < producers) {
        for (std::size_t i = 0; i < each; ++i) {
          std::unique_lock lock(mutex);
          not_full.wait(lock, [&] { return queue.size() < room; });
          queue.push_back(static_cast<std::size_t>(who) * each + i);
          not_empty.notify_one();
        }
        return;
      }
      const auto take = [&](std::unique_lock<weft::mutex>& lock) {
        taken.mark(queue.front());
        queue.pop_front();
        not_full.notify_one();
        if (left.fetch_sub(1) == 1) not_empty.notify_all();
        lock.unlock();
      };
      const auto something = [&] { return !queue.empty() || left == 0; };
      while (left != 0) {
        std::unique_lock lock(mutex);
        if (draw.one_in(4)) {
          if (!not_empty.wait_for(lock, draw.up_to(50us), something)) continue;
        } else if (!is_thread && draw.one_in(4)) {
          try {
            weft::with_timeout(draw.up_to(50us), [&] { not_empty.wait(lock, something); });
          } catch (const weft::timed_out&) {
            EXPECT_TRUE(lock.owns_lock());
            continue;
          }
        } else {
          not_empty.wait(lock, something);
        }
        if (!queue.empty()) take(lock);
      }
    });
    EXPECT_EQ(taken.missing(), 0u);
    EXPECT_EQ(taken.strange(), 0u);
    EXPECT_TRUE(queue.empty());
  });
}

TEST_F(sync_stress, the_phases_of_a_barrier_do_not_mix) {
  constexpr int members = 7;
  const int phases = scaled(10'000);
  weft::run([&] {
    long completed = 0;
    const auto complete = [&completed]() noexcept { ++completed; };
    weft::barrier barrier(members, complete);
    std::array<int, members> at{};  // plain: the barrier orders it
    std::atomic<unsigned> next{0};
    std::atomic<bool> mixed{false};
    crowd(members - 2, 2, [&](std::uint64_t who, bool is_thread) {
      choices draw(who);
      const unsigned me = next.fetch_add(1);
      for (int phase = 1; phase <= phases; ++phase) {
        at[me] = phase;
        if (!is_thread && draw.one_in(4)) weft::yield();
        if (draw.one_in(2))
          barrier.arrive_and_wait();
        else
          barrier.wait(barrier.arrive());
        for (const int other : at) mixed = mixed || other != phase;
        barrier.arrive_and_wait();
      }
    });
    EXPECT_FALSE(mixed);
    EXPECT_EQ(completed, 2l * phases);
  });
}

TEST_F(sync_stress, events_latches_and_once_flags_let_everybody_through_each_time) {
  constexpr int members = 8;
  const int rounds = scaled(5'000);
  weft::run([&] {
    struct round {
      weft::once_flag once;
      weft::event begun;
      weft::latch done{members};
      int plain = 0;
      std::atomic<int> calls{0};
    };
    std::vector<round> all(static_cast<std::size_t>(rounds));
    std::atomic<long> wrong{0};
    crowd(members - 2, 2, [&](std::uint64_t who, bool) {
      choices draw(who);
      for (round& r : all) {
        try {
          weft::call_once(r.once, [&] {
            if (r.calls.fetch_add(1) < 2) throw 1;  // the first two do not count
            r.plain = 1;
            r.begun.set();
          });
        } catch (int) {
        }
        if (draw.one_in(4)) {
          while (!r.begun.wait_for(20us)) {
          }
        } else {
          r.begun.wait();
        }
        if (r.plain != 1) ++wrong;
        if (draw.one_in(2)) {
          r.done.arrive_and_wait();
        } else {
          r.done.count_down();
          r.done.wait();
        }
        if (r.calls != 3) ++wrong;
      }
    });
    EXPECT_EQ(wrong, 0);
  });
}

}  // namespace
