// SPDX-License-Identifier: Apache-2.0
//
// SIGQUIT prints all fibers and the program goes on; outside of run(), in children and for programs with a handler of
// their own the signal is what it was.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>
#include <string>
#include <thread>

#include <weft/signals.hpp>
#include <weft/weft.hpp>

#include "runtime/sched/scheduler.hpp"
#include "tests/support/captured_stderr.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

constexpr const char* last_line = ", maxprocs ";

void (*handler_of_quit())(int) {
  struct sigaction found {};
  sigaction(SIGQUIT, nullptr, &found);
  return found.sa_handler;
}

TEST(quit, prints_all_fibers_and_goes_on) {
  weft_test::captured_stderr errors;
  weft::run({.maxprocs = 2, .deadlock = weft::deadlock_policy::off}, [&] {
    weft::chan<int> c;
    auto f = weft::spawn({.name = "patient"}, [c] { return c.recv(); });
    weft_test::until_waiting(1);
    for (int i = 0; i < 3; ++i) {
      raise(SIGQUIT);
      weft::blocking([&] { EXPECT_THAT(errors.read_until(last_line), HasSubstr("SIGQUIT: all fibers\n")); });
    }
    EXPECT_THAT(errors.read_until(last_line), ContainsRegex("\"patient\" \\[chan receive\\]:"));
    c.send(1);
    EXPECT_EQ(f.join(), 1);
  });
}

TEST(quit, wakes_a_monitor_that_sleeps_as_all_is_idle) {
  weft_test::captured_stderr errors;
  weft::run({.maxprocs = 2, .deadlock = weft::deadlock_policy::off}, [&] {
    weft::chan<int> c;
    std::thread outside([&] {
      while (weft::rt::sched.monitor_sleeps != 1) sched_yield();
      raise(SIGQUIT);  // to this thread: a sanitizer would hold it back from one that sleeps
      EXPECT_THAT(errors.read_until(last_line), HasSubstr("\"main\" [chan receive]:"));
      c.send(1);
    });
    EXPECT_EQ(c.recv(), 1);
    outside.join();
  });
}

TEST(quit, is_what_it_was_after_run) {
  ASSERT_EQ(handler_of_quit(), SIG_DFL);
  weft::run([] { EXPECT_NE(handler_of_quit(), SIG_DFL); });
  EXPECT_EQ(handler_of_quit(), SIG_DFL);
}

void the_program_s_own(int) {}

TEST(quit, leaves_the_program_s_handler_alone) {
  for (const auto chosen : {&the_program_s_own, SIG_IGN}) {
    signal(SIGQUIT, chosen);
    weft::run([&] { EXPECT_EQ(handler_of_quit(), chosen); });
    EXPECT_EQ(handler_of_quit(), chosen);
    signal(SIGQUIT, SIG_DFL);
  }
}

TEST(quit, leaves_a_handler_that_came_later_alone) {
  weft::run([] { signal(SIGQUIT, the_program_s_own); });
  EXPECT_EQ(handler_of_quit(), &the_program_s_own);
  signal(SIGQUIT, SIG_DFL);
}

void leave_no_core() {
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
}

TEST(quit, ends_a_child_and_nobody_prints) {
  if (weft_test::has_thread_sanitizer) GTEST_SKIP() << "the sanitizer holds back what comes while the child begins";
  weft_test::captured_stderr errors;
  weft::run({.maxprocs = 2, .deadlock = weft::deadlock_policy::off}, [&] {
    const pid_t child = fork();
    if (child == 0) {
      leave_no_core();
      if (handler_of_quit() != SIG_DFL) _exit(1);
      for (;;) pause();
    }
    kill(child, SIGQUIT);
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGQUIT) << status;
    weft::chan<void> gate;
    auto later = weft::spawn({.name = "later"}, [gate] { gate.recv(); });
    raise(SIGQUIT);
    const std::string text = weft::blocking([&] { return errors.read_until(last_line); });
    EXPECT_THAT(text.substr(0, text.find(last_line)), HasSubstr("\"later\"")) << "a dump for the child came first";
    gate.close();
    later.join();
  });
}

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
TEST(quit, ends_a_child_that_has_no_handlers_of_fork) {
  if (weft_test::has_thread_sanitizer) GTEST_SKIP() << "the sanitizer holds a signal back that is raised in a handler";
  weft::run([] {
    const pid_t child = _Fork();
    if (child == 0) {
      leave_no_core();
      raise(SIGQUIT);
      _exit(0);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGQUIT) << status;
  });
}
#endif

TEST(quit, may_be_had_by_a_channel) {
  weft_test::captured_stderr errors;
  std::optional<weft::recv_chan<int>> outlives;
  weft::run({.maxprocs = 2, .deadlock = weft::deadlock_policy::off}, [&] {
    {
      const auto quits = weft::signals({SIGQUIT});
      raise(SIGQUIT);
      EXPECT_EQ(quits.recv(), SIGQUIT);
    }
    raise(SIGQUIT);
    weft::blocking([&] { EXPECT_THAT(errors.read_until(last_line), HasSubstr("SIGQUIT: all fibers\n")); });
    outlives = weft::signals({SIGQUIT});
  });
  outlives.reset();
  EXPECT_EQ(handler_of_quit(), SIG_DFL);
}

}  // namespace
