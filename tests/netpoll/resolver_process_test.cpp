// SPDX-License-Identifier: Apache-2.0
//
// Lookups that are stuck, as a process as a whole meets them: its exit, a fork, the deadlock report. Each test is a
// process of its own.

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "tests/netpoll/mute_names.hpp"
#include "tests/support/child.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;

constexpr int most_threads = 64;

void leave_all_helpers_stuck() {
  weft::run([] {
    for (int i = 0; i < most_threads; ++i) weft::go([] { static_cast<void>(weft::net::resolve("forgotten.mute:80")); });
    until([] { return mute_names::instance().unanswered() == most_threads; });
  });
}

TEST(resolver_process, exits_beside_calls_that_are_stuck) {
  const child_end end = in_child([]() -> int {
    leave_all_helpers_stuck();
    std::exit(7);
  });
  EXPECT_EQ(end.exit_code, 7) << end.text;
}

TEST(resolver_process, a_child_that_is_forked_between_two_runs_has_helpers_of_its_own) {
  if (has_thread_sanitizer) GTEST_SKIP() << "ThreadSanitizer refuses threads in such a child";
  const child_end end = in_child([] {
    leave_all_helpers_stuck();
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      weft::run([] { require(weft::net::resolve("known.test:80").size() == 1, "the child is answered"); });
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    require(status == 0, "the child is well");
    mute_names::instance().answer_all();
    weft::run([] { require(weft::net::resolve("known.test:80").size() == 1, "the parent is answered"); });
    return 0;
  });
  EXPECT_EQ(end.exit_code, 0) << "signal " << end.signal << end.text;
}

TEST(resolver_process, a_child_that_is_forked_in_a_run_is_told) {
  if (has_thread_sanitizer) GTEST_SKIP() << "ThreadSanitizer ends such a child with a status of its own";
  const child_end end = in_child([] {
    weft::run([] {
      const pid_t child = fork();
      if (child == 0) {
        require(weft::net::resolve("127.0.0.1:80").size() == 1, "a number needs nobody");
        static_cast<void>(weft::net::resolve("known.test:80"));
        _exit(0);
      }
      int status = 0;
      waitpid(child, &status, 0);
      require(WIFEXITED(status) && WEXITSTATUS(status) == 2, "the child was ended");
      require(weft::net::resolve("known.test:80").size() == 1, "the parent is as it was");
    });
    return 0;
  });
  EXPECT_EQ(end.exit_code, 0) << end.text;
  EXPECT_NE(end.text.find("a lookup of a name in a child process after fork()"), std::string::npos) << end.text;
}

TEST(resolver_process, a_lookup_is_hope) {
  const child_end end = in_child([] {
    weft::run({.deadlock = weft::deadlock_policy::fatal}, [] {
      std::thread([] {
        std::this_thread::sleep_for(100ms);  // long beside the 10 ms after which the report would come
        mute_names::instance().answer_all();
      }).detach();
      require(weft::net::resolve("slow.mute:80").size() == 1, "answered in the end");
    });
    return 0;
  });
  EXPECT_EQ(end.exit_code, 0) << end.text;
  EXPECT_EQ(end.text, "");
}

TEST(resolver_process, one_that_nobody_waits_for_is_none) {
  if (has_thread_sanitizer) GTEST_SKIP() << "the sanitizer has a thread of its own";
  const child_end end = in_child([] {
    weft::run([] {
      weft::cancel_scope region;
      auto caller = weft::spawn([&] { region.run([] { static_cast<void>(weft::net::resolve("left.mute:80")); }); });
      until([] { return mute_names::instance().unanswered() == 1; });
      region.cancel();
      caller.join();
      weft::chan<int>().recv();
    });
    return 0;
  });
  EXPECT_EQ(end.exit_code, 2) << end.text;
  EXPECT_NE(end.text.find("fatal: all fibers are asleep - deadlock!"), std::string::npos) << end.text;
}

}  // namespace
