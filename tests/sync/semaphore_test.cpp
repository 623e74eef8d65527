// SPDX-License-Identifier: Apache-2.0
//
// A semaphore hands its permits out first come, first served, loses none and invents none.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft::semaphore;
using weft_test::until;
using weft_test::until_waiting;
using weft_test::waiting;

static_assert(!std::is_copy_constructible_v<semaphore> && !std::is_move_constructible_v<semaphore>);
static_assert(!std::is_convertible_v<int, semaphore>);

constinit semaphore static_semaphore(3);

/// How many permits are free; takes none.
std::ptrdiff_t free_permits(semaphore& s) {
  std::ptrdiff_t count = 0;
  while (s.try_acquire()) ++count;
  s.release(count);
  return count;
}

TEST(semaphore, gives_out_as_many_permits_as_it_has) {
  weft::run([] {
    static_semaphore.acquire();
    static_semaphore.acquire(2);
    EXPECT_FALSE(static_semaphore.try_acquire());
    static_semaphore.release(3);
    EXPECT_FALSE(static_semaphore.try_acquire(4));
    EXPECT_TRUE(static_semaphore.try_acquire(3));
    static_semaphore.release();
    EXPECT_TRUE(static_semaphore.try_acquire());
    static_semaphore.release(3);
  });
}

TEST(semaphore, may_begin_with_none_and_be_given_more_than_it_began_with) {
  weft::run([] {
    semaphore s(0);
    EXPECT_FALSE(s.try_acquire());
    s.release(5);
    EXPECT_EQ(free_permits(s), 5);
  });
}

TEST(semaphore, zero_permits_are_had_without_waiting_unless_somebody_waits) {
  weft::run([] {
    semaphore s(0);
    s.acquire(0);
    EXPECT_TRUE(s.try_acquire(0));
    auto waiter = weft::spawn([&] { s.acquire(); });
    until_waiting(1);
    EXPECT_FALSE(s.try_acquire(0));
    s.release();
    waiter.join();
  });
}

TEST(semaphore, refuses_negative_numbers_and_names_them) {
  try {
    semaphore s(-7);
    FAIL() << "semaphore(-7)";
  } catch (const std::invalid_argument& e) {
    EXPECT_NE(std::string(e.what()).find("semaphore(-7)"), std::string::npos) << e.what();
  }
  weft::run([] {
    semaphore s(2);
    EXPECT_THROW(s.acquire(-1), std::invalid_argument);
    EXPECT_THROW((void)s.try_acquire(-1), std::invalid_argument);
    EXPECT_THROW((void)s.try_acquire_for(1h, -1), std::invalid_argument);
    EXPECT_THROW(s.release(-1), std::invalid_argument);
    EXPECT_EQ(free_permits(s), 2);
  });
}

TEST(semaphore, refuses_more_permits_than_it_can_count_and_keeps_its_own) {
  weft::run([] {
    constexpr auto most = std::numeric_limits<std::ptrdiff_t>::max();
    semaphore s(most);
    EXPECT_THROW(s.release(), std::overflow_error);
    EXPECT_TRUE(s.try_acquire(most));
    EXPECT_FALSE(s.try_acquire());
  });
}

TEST(semaphore, an_acquire_waits_until_enough_was_released) {
  weft::run([] {
    semaphore s(0);
    std::atomic<bool> has = false;
    auto waiter = weft::spawn([&] {
      s.acquire(3);
      has = true;
    });
    until_waiting(1);
    s.release(2);
    weft::yield();
    EXPECT_FALSE(has);
    s.release();
    waiter.join();
    EXPECT_FALSE(s.try_acquire());
  });
}

TEST(semaphore, serves_those_who_wait_in_the_order_they_came) {
  weft::run({.maxprocs = 1}, [] {
    semaphore s(0);
    std::atomic<std::size_t> served = 0, last = 99;
    weft::scope fibers;
    for (std::size_t i = 0; i < 10; ++i) {
      fibers.go([&, i] {
        s.acquire();
        last = i;
        ++served;
      });
      until_waiting(i + 1);
    }
    for (std::size_t i = 0; i < 10; ++i) {
      s.release();
      while (served != i + 1) weft::yield();
      EXPECT_EQ(last, i);
    }
    fibers.join();
  });
}

TEST(semaphore, a_large_request_is_not_overtaken) {
  weft::run([] {
    semaphore s(2);
    std::atomic<bool> large_has = false, small_has = false;
    weft::scope fibers;
    fibers.go([&] {
      s.acquire(3);
      large_has = true;
    });
    until_waiting(1);
    fibers.go([&] {
      s.acquire(1);
      small_has = true;
    });
    until_waiting(2);
    EXPECT_FALSE(s.try_acquire()) << "two are free, but somebody waits";
    EXPECT_FALSE(s.try_acquire_for(0s));
    EXPECT_FALSE(large_has || small_has);
    s.release();
    while (!large_has) weft::yield();
    weft::yield();
    EXPECT_FALSE(small_has);
    s.release();
    fibers.join();
  });
}

TEST(semaphore, one_release_lets_go_as_many_as_it_is_enough_for) {
  weft::run([] {
    semaphore s(0);
    std::atomic<int> served = 0;
    std::vector<weft::fiber<void>> fibers;
    for (std::size_t i = 0; i < 5; ++i) {
      fibers.push_back(weft::spawn([&] {
        s.acquire(2);
        ++served;
      }));
      until_waiting(i + 1);
    }
    s.release(7);
    for (std::size_t i = 0; i < 3; ++i) fibers[i].join();
    EXPECT_EQ(served, 3);
    s.release(3);
    fibers[3].join();
    fibers[4].join();
    EXPECT_EQ(free_permits(s), 0);
  });
}

TEST(semaphore, a_large_request_that_is_cancelled_gives_way) {
  weft::run([] {
    semaphore s(2);
    auto large = weft::spawn([&] { s.acquire(10); });
    until_waiting(1);
    std::vector<weft::fiber<void>> small;
    for (std::size_t i = 0; i < 2; ++i) {
      small.push_back(weft::spawn([&] { s.acquire(1); }));
      until_waiting(i + 2);
    }
    large.cancel();
    EXPECT_THROW(large.join(), weft::fiber_cancelled);
    for (auto& f : small) f.join();
    EXPECT_EQ(free_permits(s), 0);
  });
}

TEST(semaphore, a_large_request_whose_time_is_up_gives_way) {
  weft::run([] {
    semaphore s(2);
    std::atomic<bool> gave_up{false};
    auto large = weft::spawn([&] {
      const bool got = s.try_acquire_for(20ms, 10);
      gave_up.store(true);
      return got;
    });
    until([&] { return waiting() == 1 || gave_up.load(); });
    std::vector<weft::fiber<void>> small;
    for (int i = 0; i < 2; ++i) small.push_back(weft::spawn([&] { s.acquire(1); }));
    for (auto& f : small) f.join();
    EXPECT_FALSE(large.join());
    EXPECT_EQ(free_permits(s), 0);
  });
}

TEST(semaphore, try_acquire_for_takes_all_or_nothing) {
  weft::run([] {
    semaphore s(1);
    EXPECT_TRUE(s.try_acquire_for(0s));
    EXPECT_FALSE(s.try_acquire_for(-1s));
    EXPECT_FALSE(s.try_acquire_for(1ms));
    s.release();
    EXPECT_FALSE(s.try_acquire_for(1ms, 2));
    EXPECT_EQ(free_permits(s), 1);
    auto patient = weft::spawn([&] { return s.try_acquire_for(1h, 2); });
    until_waiting(1);
    s.release();
    EXPECT_TRUE(patient.join());
    EXPECT_EQ(free_permits(s), 0);
  });
}

TEST(semaphore, a_cancelled_fiber_takes_nothing_even_if_it_could) {
  weft::run([] {
    semaphore s(1);
    weft::cancel_scope scope;
    scope.cancel();
    EXPECT_FALSE(scope.run([&] { s.acquire(); }));
    EXPECT_FALSE(scope.run([&] { (void)s.try_acquire_for(1h); }));
    EXPECT_TRUE(scope.run([&] {
      EXPECT_TRUE(s.try_acquire());
      s.release();
    })) << "these are not cancellable";
    EXPECT_EQ(free_permits(s), 1);
  });
}

TEST(semaphore, a_cancelled_waiter_throws_and_the_next_gets_its_permit) {
  weft::run([] {
    semaphore s(0);
    auto first = weft::spawn([&] { s.acquire(); });
    until_waiting(1);
    auto second = weft::spawn([&] { s.acquire(); });
    until_waiting(2);
    first.cancel();
    s.release();
    EXPECT_THROW(first.join(), weft::fiber_cancelled);
    second.join();
    EXPECT_EQ(free_permits(s), 0);
  });
}

TEST(semaphore, who_was_given_permits_does_not_throw) {
  weft::run({.maxprocs = 1}, [] {
    semaphore s(0);
    bool got = false;
    auto waiter = weft::spawn([&] {
      s.acquire();
      got = true;
      weft::yield();  // the next wait throws
      FAIL() << "it is cancelled";
    });
    until_waiting(1);
    s.release();
    waiter.cancel();
    EXPECT_THROW(waiter.join(), weft::fiber_cancelled);
    EXPECT_TRUE(got);
  });
}

TEST(semaphore, limits_how_many_are_inside) {
  weft::run({.maxprocs = 4}, [] {
    semaphore s(3);
    std::atomic<int> inside = 0, most = 0;
    weft::scope fibers;
    for (int f = 0; f < 12; ++f) {
      fibers.go([&] {
        for (int i = 0; i < 100; ++i) {
          s.acquire();
          const int now = ++inside;
          for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
          }
          weft::yield();
          --inside;
          s.release();
        }
      });
    }
    fibers.join();
    EXPECT_LE(most, 3);
    EXPECT_GE(most, 2);
    EXPECT_EQ(free_permits(s), 3);
  });
}

TEST(semaphore, what_was_written_before_a_release_is_seen_after_the_acquire) {
  weft::run({.maxprocs = 4}, [] {
    for (int round = 0; round < 200; ++round) {
      semaphore s(0);
      int plain = 0;
      weft::scope fibers;
      fibers.go([&] {
        plain = round + 1;
        s.release();
      });
      s.acquire();
      EXPECT_EQ(plain, round + 1);
      fibers.join();
    }
  });
}

TEST(semaphore, joins_fibers_and_plain_threads) {
  weft::run([] {
    semaphore there(0), back(0);
    std::thread thread([&] {
      for (int i = 0; i < 100; ++i) {
        there.acquire();
        EXPECT_FALSE(there.try_acquire_for(1us));
        back.release();
      }
    });
    for (int i = 0; i < 100; ++i) {
      there.release();
      back.acquire();
    }
    weft::blocking([&] { thread.join(); });
  });
}

TEST(semaphore, works_between_plain_threads_without_a_runtime) {
  semaphore s(0);
  std::thread thread([&] { s.release(2); });
  s.acquire(2);
  EXPECT_FALSE(s.try_acquire_for(1ms));
  thread.join();
}

}  // namespace
