// SPDX-License-Identifier: Apache-2.0
//
// A kernel or a container that refuses what the runtime would like to have: everything still works another way, or what
// cannot be had is said in an exception that names it.

#include <gtest/gtest.h>
#include <linux/membarrier.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string>
#include <system_error>
#include <vector>

#include <weft/weft.hpp>

#include "runtime/fiber/stack.hpp"
#include "runtime/sched/m.hpp"
#include "runtime/sched/membarrier.hpp"
#include "tests/support/child.hpp"
#include "tests/support/seccomp.hpp"
#include "tests/support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::child_end;
using weft_test::in_child;
using weft_test::refuse;
using weft_test::scaled;

constexpr int no_filters = 77;
constexpr int no_membarrier = 78;
constexpr int guard_install = 102;  // MADV_GUARD_INSTALL

#define EXPECT_GOOD_END(end)                                                          \
  do {                                                                                \
    if ((end).exit_code == no_filters) GTEST_SKIP() << "no seccomp here";             \
    EXPECT_EQ((end).exit_code, 0) << "signal " << (end).signal << "\n" << (end).text; \
  } while (false)

#define CHECK(condition)                                           \
  do {                                                             \
    if (!(condition)) {                                            \
      std::fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
      _exit(1);                                                    \
    }                                                              \
  } while (false)

// What goes through every corner that the refused calls have to do with: hand-offs, cancellations, time limits, many
// stacks.
int everyday_life() {
  constexpr int rounds = scaled(200);
  const long sum = weft::run([] {
    std::atomic<long> received{0};
    weft::chan<int> c(2);
    weft::chan<void> never;
    weft::scope s;
    weft::wait_group senders;
    for (int f = 0; f < 8; ++f) {
      senders.add();
      s.go([&, c] {
        for (int i = 1; i <= rounds; ++i) {
          c.send(1);
          if (i % 16 == 0) usleep(50);
        }
        senders.done();
      });
      s.go([&, c] {
        for (int v : c) received += v;
      });
    }
    for (int i = 0; i < rounds; ++i) {
      auto waiter = weft::spawn([never] { never.recv(); });
      if (i % 2 == 0) weft::yield();
      waiter.cancel();
      bool cancelled = false;
      try {
        waiter.join();
      } catch (const weft::fiber_cancelled&) {
        cancelled = true;
      }
      CHECK(cancelled);
      if (i % 8 == 0) {
        bool late = false;
        try {
          weft::with_timeout(100us, [&] { never.recv(); });
        } catch (const weft::timed_out&) {
          late = true;
        }
        CHECK(late);
      }
    }
    std::vector<weft::fiber<int>> many;
    for (int i = 0; i < 1000; ++i) {
      many.push_back(weft::spawn([i] {
        weft::yield();
        return i;
      }));
    }
    for (int i = 0; i < 1000; ++i) CHECK(many[static_cast<std::size_t>(i)].join() == i);
    senders.wait();
    c.close();
    s.join();
    return received.load();
  });
  CHECK(sum == 8l * rounds);
  return 0;
}

TEST(refused_calls, without_membarrier_fences_take_its_place) {
  for (const int error : {ENOSYS, EPERM}) {
    const child_end end = in_child([error] {
      if (!refuse({{SYS_membarrier, error}})) return no_filters;
      const int code = everyday_life();
      CHECK(weft::rt::parkers_must_fence);
      return code;
    });
    EXPECT_GOOD_END(end);
  }
}

// The control: the same life without a filter takes the other way.
TEST(refused_calls, with_membarrier_no_parker_fences) {
  const child_end end = in_child([] {
    const int code = everyday_life();
    const bool granted = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
    CHECK(weft::rt::parkers_must_fence == !granted);
    return code;
  });
  EXPECT_GOOD_END(end);
}

TEST(refused_calls, a_membarrier_that_is_registered_but_cannot_be_called_is_none) {
  const child_end end = in_child([] {
    if (!refuse({{SYS_membarrier, EPERM, 0, MEMBARRIER_CMD_PRIVATE_EXPEDITED}})) return no_filters;
    const int code = everyday_life();
    CHECK(weft::rt::parkers_must_fence);
    return code;
  });
  EXPECT_GOOD_END(end);
}

TEST(refused_calls, a_runtime_that_is_started_after_membarrier_was_lost_fences_on_every_thread) {
  const child_end end = in_child([] {
    const int code = everyday_life();
    if (!refuse({{SYS_membarrier, EPERM}})) return no_filters;
    weft::run({.maxprocs = 4}, [] {
      std::atomic<int> begun{0};
      weft::scope s;
      for (int i = 0; i < 4; ++i) {
        s.go([&] {  // each on a thread of its own
          begun.fetch_add(1);
          while (begun.load() < 4) {
          }
          CHECK(weft::rt::current_m()->section.fences());
        });
      }
      s.join();
    });
    return code != 0 ? code : everyday_life();
  });
  EXPECT_GOOD_END(end);
}

TEST(refused_calls, without_a_runtime_nobody_asks_for_membarrier) {
  const child_end end = in_child([] {
    weft::scope(weft::collect).cancel();  // the process is not registered
    weft::run([] {});
    if (!refuse({{SYS_membarrier, EPERM}})) return no_filters;
    weft::scope(weft::collect).cancel();
    return 0;
  });
  EXPECT_GOOD_END(end);
}

// Who relies on it has not fenced: to go on would be to lose a wake-up some day.
TEST(refused_calls, a_membarrier_that_is_lost_under_way_ends_the_process_with_a_sentence) {
  const child_end end = in_child([] {
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0) return no_membarrier;
    weft::run([] {
      auto waiter = weft::spawn([] { weft::chan<void>(nullptr).recv(); });
      if (!refuse({{SYS_membarrier, EPERM}})) _exit(no_filters);
      waiter.cancel();
    });
    return 0;
  });
  if (end.exit_code == no_filters || end.exit_code == no_membarrier)
    GTEST_SKIP() << "no seccomp, or no membarrier here";
  EXPECT_EQ(end.exit_code, 2) << "signal " << end.signal;
  EXPECT_NE(end.text.find("membarrier(2)"), std::string::npos) << end.text;
  EXPECT_NE(end.text.find("before weft::run"), std::string::npos) << end.text;
}

TEST(refused_calls, without_guard_install_stacks_are_guarded_by_mprotect) {
  const child_end end = in_child([] {
    if (!refuse({{SYS_madvise, EINVAL, 2, guard_install}})) return no_filters;
    const int code = everyday_life();
    CHECK(weft::rt::read_stack_stats().mode == weft::rt::guard_mode::protect);
    return code;
  });
  EXPECT_GOOD_END(end);
}

TEST(refused_calls, an_old_kernel_without_any_of_them) {
  const child_end end = in_child([] {
    if (!refuse({{SYS_membarrier, ENOSYS},
                 {SYS_madvise, EINVAL, 2, guard_install},
                 {SYS_epoll_pwait2, ENOSYS},
                 {SYS_io_uring_setup, EPERM}}))
      return no_filters;
    return everyday_life();
  });
  EXPECT_GOOD_END(end);
}

TEST(refused_calls, past_the_limit_of_guards_spawn_names_the_sysctl) {
  const child_end end = in_child([] {
    if (!refuse({{SYS_madvise, EINVAL, 2, guard_install}})) return no_filters;
    weft::run([] {
      const std::size_t limit = weft::rt::guard_limit();
      CHECK(limit > 0);
      std::string said;
      std::vector<weft::fiber<void>> fibers;
      weft::chan<void> gate;
      for (std::size_t i = 0; i <= limit; ++i) {
        try {
          fibers.push_back(weft::spawn([gate] { gate.recv(); }));
        } catch (const std::system_error& error) {
          CHECK(error.code() == std::errc::resource_unavailable_try_again);
          said = error.what();
          break;
        }
      }
      CHECK(said.find("vm.max_map_count") != std::string::npos);
      gate.close();
      for (auto& f : fibers) f.join();
      weft::spawn([] {}).join();  // there is room again
    });
    return 0;
  });
  EXPECT_GOOD_END(end);
}

TEST(refused_calls, run_without_any_thread_throws_and_can_be_called_again) {
  const child_end end = in_child([] {
    if (!refuse({{SYS_clone, EAGAIN}, {SYS_clone3, EAGAIN}})) return no_filters;
    for (int i = 0; i < 3; ++i) {
      bool threw = false;
      try {
        weft::run([] {});
      } catch (const std::system_error& error) {
        threw = error.code() == std::errc::resource_unavailable_try_again;
        CHECK(std::string(error.what()).find("weft") != std::string::npos);
      }
      CHECK(threw);
    }
    return 0;
  });
  EXPECT_GOOD_END(end);
}

// The limit on threads is reached while it runs: what there is goes on.
TEST(refused_calls, without_further_threads_the_ones_there_are_do_the_work) {
  const child_end end = in_child([] {
    weft::run({.maxprocs = 4}, [] {
      CHECK(refuse({{SYS_clone, EAGAIN}, {SYS_clone3, EAGAIN}}));
      weft::scope s;
      weft::chan<int> c;
      long sum = 0;
      weft::wait_group senders;
      for (int f = 0; f < 8; ++f) {
        senders.add();
        s.go([&, c] {
          for (int i = 0; i < 100; ++i) {
            c.send(1);
            if (i % 10 == 0) usleep(100);
            if (i % 10 == 5) weft::blocking([] { usleep(100); });
            if (i % 10 == 7) weft::sleep_for(20us);
          }
          senders.done();
        });
      }
      s.go([&, c] {
        for (int v : c) sum += v;
      });
      senders.wait();
      c.close();
      s.join();
      CHECK(sum == 800);
    });
    return 0;
  });
  EXPECT_GOOD_END(end);
  const std::string sentence = "weft: cannot start a thread beside the ";
  EXPECT_TRUE(end.text.starts_with(sentence)) << end.text;
  EXPECT_EQ(end.text.rfind(sentence), 0u) << "more than once: " << end.text;
  EXPECT_NE(end.text.find("(Resource temporarily unavailable)"), std::string::npos) << end.text;
  EXPECT_NE(end.text.find("ulimit -u"), std::string::npos) << end.text;
}

}  // namespace
