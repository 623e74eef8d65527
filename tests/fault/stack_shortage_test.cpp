// SPDX-License-Identifier: Apache-2.0
//
// There is no memory for another stack, for a while or for good: run() says so if it is main's, and other fibers wait
// until one has ended or memory has come back. The calls that open a stack are this program's own; they refuse while a
// `shortage` lasts. Each test has stacks of a size of its own, so that none is left from another.

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>

#include <weft/weft.hpp>

#include "tests/support/captured_stderr.hpp"
#include "tests/support/until_waiting.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until;

constexpr int install_guard = 102;

std::atomic<bool> none_to_be_had{false};
std::atomic<int> but_for{0};  // so many all the same
std::atomic<int> refused{0};

// Stacks of these tests are larger than any table that the runtime opens beside them.
constexpr std::size_t smallest = std::size_t{512} << 10;

bool refuse() {
  if (!none_to_be_had.load() || but_for.fetch_sub(1) > 0) return false;
  refused.fetch_add(1);
  errno = ENOMEM;
  return true;
}

}  // namespace

extern "C" {

int madvise(void* at, std::size_t size, int advice) noexcept {
  if (advice == install_guard && refuse()) return -1;
  static const auto real = reinterpret_cast<int (*)(void*, std::size_t, int)>(dlsym(RTLD_NEXT, "madvise"));
  return real(at, size, advice);
}

// Where guards are not installed each stack is opened by itself; otherwise 64 MiB at a time.
int mprotect(void* at, std::size_t size, int protection) noexcept {
  if (protection == (PROT_READ | PROT_WRITE) && size >= smallest && size < (std::size_t{48} << 20) && refuse())
    return -1;
  static const auto real = reinterpret_cast<int (*)(void*, std::size_t, int)>(dlsym(RTLD_NEXT, "mprotect"));
  return real(at, size, protection);
}

}  // extern "C"

namespace {

class shortage {
 public:
  explicit shortage(int first_give = 0) {
    refused.store(0);
    but_for.store(first_give);
    none_to_be_had.store(true);
  }
  ~shortage() { end(); }
  shortage(const shortage&) = delete;
  shortage& operator=(const shortage&) = delete;

  void end() { none_to_be_had.store(false); }
};

class stack_shortage : public testing::Test {
 private:
  weft_test::watchdog watchdog_{60s};
};

TEST_F(stack_shortage, run_throws_if_there_is_none_for_main) {
  const shortage none;
  try {
    weft::run({.maxprocs = 2, .stack_size = smallest}, [] { FAIL() << "main has run"; });
    FAIL() << "run has returned";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::not_enough_memory);
    EXPECT_NE(std::string(e.what()).find("no memory for main's stack of 524288 bytes"), std::string::npos) << e.what();
  }
}

TEST_F(stack_shortage, run_works_after_one_that_threw) {
  for (int i = 0; i < 3; ++i) {
    {
      const shortage none;
      EXPECT_THROW(weft::run({.maxprocs = 2, .stack_size = std::size_t{1} << 20}, [] {}), std::system_error);
    }
    if (i < 2) continue;
    bool ran = false;
    weft::run({.maxprocs = 2, .stack_size = std::size_t{1} << 20}, [&] { ran = true; });
    EXPECT_TRUE(ran);
  }
}

TEST_F(stack_shortage, fibers_begin_as_others_end) {
  constexpr int many = 300, at_a_time = 5;
  weft_test::captured_stderr said;
  const shortage none(1 + at_a_time);  // main's
  std::atomic<int> ended{0}, alive{0}, most{0};
  weft::run({.maxprocs = 4, .stack_size = std::size_t{2} << 20}, [&] {
    weft::scope s;
    for (int i = 0; i < many; ++i) {
      s.go([&] {
        const int now = alive.fetch_add(1) + 1;
        for (int seen = most.load(); seen < now && !most.compare_exchange_weak(seen, now);) {
        }
        weft::sleep_for(100us);
        weft::blocking([] {});
        alive.fetch_sub(1);
        ended.fetch_add(1);
      });
    }
    s.join();
  });
  EXPECT_EQ(ended.load(), many);
  EXPECT_LE(most.load(), at_a_time);
  const std::string text = said.read_all();
  EXPECT_TRUE(text.starts_with("weft: no memory for a fiber's stack of 2097152 bytes")) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
}

// Nobody says when: it is asked for now and then, and not without a pause.
TEST_F(stack_shortage, fibers_begin_when_memory_is_back) {
  constexpr int arenas = 4;  // each P ever made has one, and is asked
  shortage none(1);          // main's
  std::atomic<bool> ran{false};
  weft::run({.maxprocs = 2, .stack_size = std::size_t{4} << 20}, [&] {
    const auto began = std::chrono::steady_clock::now();
    weft::scope s;
    s.go([&] { ran.store(true); });
    while (refused.load() < 5 * arenas) weft::sleep_for(1ms);
    const auto lasted = std::chrono::steady_clock::now() - began;
    EXPECT_FALSE(ran.load());
    EXPECT_LE(refused.load(), arenas * (3 + lasted / 5ms));
    none.end();
    s.join();
  });
  EXPECT_TRUE(ran.load());
}

TEST_F(stack_shortage, a_larger_stack_that_is_not_to_be_had_keeps_no_other_fiber_waiting) {
  shortage none(2);  // main's and one more
  weft::run({.maxprocs = 2, .stack_size = std::size_t{8} << 20}, [&] {
    weft::spawn([] {}).join();
    weft::fiber<void> large = weft::spawn({.name = {}, .stack_size = std::size_t{16} << 20}, [] {});
    until([] { return refused.load() != 0; });
    for (int i = 0; i < 20; ++i) weft::spawn([] {}).join();
    none.end();
    large.join();
  });
}

TEST_F(stack_shortage, a_run_ends_beside_fibers_that_never_began) {
  const shortage none(2);  // main's and one more
  std::atomic<int> ended{0};
  weft::run({.maxprocs = 2, .stack_size = std::size_t{32} << 20}, [&] {
    for (int i = 0; i < 10; ++i) {
      weft::go([&] {
        struct at_the_end {
          std::atomic<int>& count;
          ~at_the_end() { count.fetch_add(1); }
        } const counted{ended};
        weft::chan<void>().recv();
      });
    }
    until([] { return refused.load() != 0; });
  });
  EXPECT_EQ(ended.load(), 10);
}

}  // namespace
