// SPDX-License-Identifier: Apache-2.0
//
// debug::stats() counts what happened, and WEFT_DEBUG=handoffs=1 names those who block or burn a thread.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>

#include <weft/debug.hpp>
#include <weft/weft.hpp>

#include "tests/support/captured_stderr.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/undisturbed.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using weft::debug::stats;

[[gnu::noinline]] void read_a_byte(int from) {
  char byte;
  EXPECT_EQ(read(from, &byte, 1), 1);
}

// One P; a fiber blocks its thread until another, which needs that P, has run.
void run_reader_first(const std::function<void(int)>& block) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  weft::run({.maxprocs = 1}, [&] {
    std::atomic<bool> about_to_block{false};
    weft::scope s;
    s.go([&] {
      weft::this_fiber::set_name("reader");
      about_to_block = true;
      block(ends[0]);
    });
    s.go([&] {
      while (!about_to_block) weft::yield();
      EXPECT_EQ(write(ends[1], "x", 1), 1);
    });
    s.join();
  });
  close(ends[0]);
  close(ends[1]);
}

TEST(stats, count_fibers) {
  weft::run([] {
    const auto before = stats();
    EXPECT_EQ(before.fibers, 1);
    weft::chan<int> c;
    weft::wait_group all;
    for (int i = 0; i < 10; ++i) all.go([c] { c.recv(); });
    weft_test::until_waiting(10);
    const auto during = stats();
    EXPECT_EQ(during.fibers, 11);
    EXPECT_EQ(during.fibers_started - before.fibers_started, 10);
    EXPECT_GE(during.parks - before.parks, 10);
    EXPECT_GE(during.stacks, 11u);
    EXPECT_GE(during.stacks_in_use, 11u);
    EXPECT_GT(during.stack_bytes_reserved, during.stack_bytes_committed);
    c.close();
    all.wait();
    weft_test::until([] { return stats().fibers == 1; });
    EXPECT_EQ(stats().fibers_ended - before.fibers_ended, 10);
  });
}

TEST(stats, count_what_lies_in_the_queues) {
  weft::run({.maxprocs = 1}, [] {
    const auto [before, after] = weft_test::undisturbed([] {
      const auto none = stats();
      weft::scope s;
      for (int i = 0; i < 300; ++i) s.go([] {});
      const auto all = stats();
      s.join();
      return std::pair(none, all);
    });
    EXPECT_EQ(after.runnable, 300u);
    EXPECT_GE(after.overflows - before.overflows, 1) << "a ring holds 256";
  });
}

TEST(stats, know_ps_and_threads) {
  EXPECT_EQ(stats().maxprocs, 0);
  EXPECT_EQ(stats().threads, 0);
  weft::run({.maxprocs = 3}, [] {
    EXPECT_EQ(stats().maxprocs, 3);
    EXPECT_LE(stats().idle_procs, 2);
    EXPECT_GE(stats().threads, 2) << "the caller's and the monitor";
  });
  EXPECT_EQ(stats().maxprocs, 0);
}

TEST(stats, tell_who_blocked_from_who_said_so) {
  const auto before = stats();
  // A thread that lost its CPU for 10 ms on the way into the call looks like one that computes: again.
  while (stats().handoffs_blocked == before.handoffs_blocked) run_reader_first(read_a_byte);
  const auto blocked = stats();
  EXPECT_EQ(blocked.handoffs_announced, before.handoffs_announced);
  while (stats().handoffs_announced == blocked.handoffs_announced)
    run_reader_first([](int from) { weft::blocking([&] { read_a_byte(from); }); });
}

TEST(stats, count_who_burns) {
  const auto before = stats();
  weft::run({.maxprocs = 1}, [] {
    std::atomic<bool> burning{false};
    std::atomic<bool> other_has_run{false};
    weft::scope s;
    s.go([&] {
      burning = true;
      while (!other_has_run) {
      }
    });
    s.go([&] {
      while (!burning) weft::yield();
      other_has_run = true;
    });
    s.join();
  });
  EXPECT_GE(stats().handoffs_burned - before.handoffs_burned, 1);
}

class handoffs : public testing::Test {
 protected:
  void SetUp() override { setenv("WEFT_DEBUG", "handoffs=1", 1); }
  ~handoffs() override { unsetenv("WEFT_DEBUG"); }
};

TEST_F(handoffs, name_the_call_that_blocks) {
  weft_test::captured_stderr errors;
  while (errors.read_all().find("weft::blocking\n") == std::string::npos) run_reader_first(read_a_byte);
  EXPECT_THAT(errors.read_all(),
              ContainsRegex("weft: fiber [0-9]+ 'reader' has blocked its thread for [0-9.]+ ms in read\\(2\\) at "));
  if (!weft_test::has_thread_sanitizer && !weft_test::has_address_sanitizer) {
    EXPECT_THAT(errors.read_all(), HasSubstr("read_a_byte"));
  }
}

}  // namespace
