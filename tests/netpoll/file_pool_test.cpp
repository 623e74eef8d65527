// SPDX-License-Identifier: Apache-2.0
//
// The threads that serve files where there is no ring: as many as there is need for, up to a limit, and none that idles
// for ever.

#include "netpoll/file_pool.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include <weft/weft.hpp>

#include "netpoll/requests.hpp"
#include "tests/netpoll/engine_exercise.hpp"
#include "tests/support/scratch_file.hpp"
#include "tests/support/stress.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace weft_test;
using namespace weft::rt;

constexpr nanoseconds_t long_patience = 60'000'000'000;

// What an idle thread looks at last is the pool, so a pool is never destroyed (as the process's own).
file_pool& new_pool(int limit, nanoseconds_t patience) { return *new file_pool(limit, patience); }

TEST(file_pool, serves_many_with_few) {
  weft::run([] {
    file_pool& pool = new_pool(3, long_patience);
    EXPECT_EQ(pool.threads(), 0);
    EXPECT_EQ(exercise(pool, 100, scaled(50)), 100);
    EXPECT_GE(pool.threads(), 1);
    EXPECT_LE(pool.threads(), 3);
  });
}

TEST(file_pool, has_no_more_threads_than_operations) {
  weft::run([] {
    file_pool& pool = new_pool(16, long_patience);
    EXPECT_EQ(exercise(pool, 1, 50), 1);
    EXPECT_EQ(pool.threads(), 1);
  });
}

TEST(file_pool, idle_threads_end_and_are_made_anew) {
  weft::run([] {
    file_pool& pool = new_pool(4, 1'000'000);
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(exercise(pool, 8, 3), 8);
      until([&] { return pool.threads() == 0; });
    }
  });
}

// Threads that are about to end meet operations that are about to be submitted.
TEST(file_pool, nothing_is_left_behind_by_a_thread_that_ends) {
  weft::run([] {
    file_pool& pool = new_pool(4, 1);
    EXPECT_EQ(exercise(pool, 8, scaled(300)), 8);
    until([&] { return pool.threads() == 0; });

    const scratch_file on_disk("content");
    const int fd = open(on_disk.path().c_str(), O_RDONLY | O_CLOEXEC);
    for (int round = 0; round < 20; ++round) {
      char room[7];
      file_op op(file_action::read, fd, room, sizeof room, 0);
      ASSERT_TRUE(pool.prepare());
      for (int i = 0; i < 100 && pool.threads() != 0; ++i) usleep(10);  // it may not end, however long this takes
      hand_over_and_wait(op, [&]() noexcept { pool.submit(op); });
      EXPECT_EQ(op.done, sizeof room);
    }
    close(fd);
  });
}

// The first to ask for a thread fails while the second still asks: nobody else's thread is to be relied on then.
std::atomic<int> asking{0};
std::atomic<bool> first_was_told{false};

void until_in_a_plain_thread(const std::atomic<bool>& said) {
  while (!said.load()) std::this_thread::yield();
}

int fail_one_after_the_other(void* (*)(void*), void*) noexcept {
  if (asking.fetch_add(1) != 0) {
    until_in_a_plain_thread(first_was_told);
  } else {
    while (asking.load() != 2) std::this_thread::yield();
  }
  return EAGAIN;
}

TEST(file_pool, a_thread_that_is_still_being_made_is_not_relied_on) {
  asking = 0;
  first_was_told = false;
  file_pool pool(16, long_patience, fail_one_after_the_other);
  std::atomic<int> successes{0};
  const auto ask = [&] {
    successes.fetch_add(pool.prepare());
    first_was_told = true;
  };
  std::thread one(ask), other(ask);
  one.join();
  other.join();
  EXPECT_EQ(successes.load(), 0);
}

int fail_when_the_others_were_told(void* (*)(void*), void*) noexcept {
  asking = 1;
  until_in_a_plain_thread(first_was_told);
  return EAGAIN;
}

TEST(file_pool, nor_is_one_that_reaches_the_limit) {
  asking = 0;
  first_was_told = false;
  file_pool pool(1, long_patience, fail_when_the_others_were_told);
  bool maker_succeeded = true;
  std::thread maker([&] { maker_succeeded = pool.prepare(); });
  while (asking.load() == 0) std::this_thread::yield();
  EXPECT_FALSE(pool.prepare());
  first_was_told = true;
  maker.join();
  EXPECT_FALSE(maker_succeeded);
}

TEST(file_op, is_told_to_try_again_once) {
  file_op op(file_action::sync, -1, nullptr, 0, 0);
  EXPECT_FALSE(op.advance(-EAGAIN));
  EXPECT_TRUE(op.blocks);
  EXPECT_TRUE(op.advance(-EAGAIN));
  EXPECT_EQ(op.error, EAGAIN);
}

// What a file system says that checks the place before it looks whether the file ends there.
TEST(file_op, a_direct_read_ends_where_the_rest_begins_at_no_place_that_is_accepted) {
  char room[8192];
  file_op op(file_action::read, -1, room, sizeof room, 0);
  op.direct = true;
  EXPECT_FALSE(op.advance(5000));
  EXPECT_TRUE(op.advance(-EINVAL));
  EXPECT_EQ(op.done, 5000u);
  EXPECT_EQ(op.error, 0);

  file_op refused(file_action::read, -1, room, sizeof room, 1);
  refused.direct = true;
  EXPECT_TRUE(refused.advance(-EINVAL));
  EXPECT_EQ(refused.error, EINVAL);
}

}  // namespace
