// SPDX-License-Identifier: Apache-2.0
//
// WEFT_DEBUG=schedtrace prints Go's lines on stderr.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

#include <weft/weft.hpp>

#include "tests/support/captured_stderr.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

class schedtrace : public testing::Test {
 protected:
  ~schedtrace() override { unsetenv("WEFT_DEBUG"); }

  // What a runtime of two Ps, with a fiber that waits, has printed by the time that `text` has come.
  static std::string printed(const char* debug, const char* text) {
    setenv("WEFT_DEBUG", debug, 1);
    weft_test::captured_stderr errors;
    return weft::run({.maxprocs = 2}, [&] {
      weft::chan<int> c;
      auto f = weft::spawn([c] { c.recv(); });
      weft_test::until_waiting(1);
      std::string seen;
      weft::blocking([&] { seen = errors.read_until(text); });
      c.close();
      f.join();
      return seen;
    });
  }
};

TEST_F(schedtrace, prints_a_line_in_go_s_form) {
  EXPECT_THAT(
      printed("schedtrace=1", " ]\n"),
      ContainsRegex("^SCHED [0-9]+ms: maxprocs=2 idleprocs=[0-2] threads=[0-9]+ spinningthreads=[0-9]+ needspinning=0 "
                    "idlethreads=[0-9]+ runqueue=[0-9]+ \\[ [0-9]+ [0-9]+ \\] schedticks=\\[ [0-9]+ [0-9]+ \\]\n"));
}

TEST_F(schedtrace, prints_every_p_m_and_g_if_asked) {
  const std::string text = printed("schedtrace=5,scheddetail=1", "status=4(chan receive)");
  EXPECT_THAT(
      text,
      ContainsRegex(
          "^SCHED [0-9]+ms: maxprocs=2 .* runqueue=[0-9]+ sysmonwait=(true|false)\n"
          "  P0: status=[01] schedtick=[0-9]+ syscalltick=[0-9]+ m=([0-9]+|nil) runqsize=[0-9]+ gfreecnt=[0-9]+"));
  EXPECT_THAT(
      text,
      ContainsRegex(
          "\n  M[0-9]+: p=([0-9]+|nil) curg=([0-9]+|nil) spinning=(true|false) blocked=(true|false) lockedg=nil\n"));
  EXPECT_THAT(text, ContainsRegex("\n  G[0-9]+: status=4\\(chan receive\\)"));
}

TEST_F(schedtrace, goes_on_while_everything_is_idle) {
  setenv("WEFT_DEBUG", "schedtrace=1", 1);
  weft_test::captured_stderr errors;
  weft::run({.maxprocs = 2, .deadlock = weft::deadlock_policy::off}, [&] {
    weft::chan<int> c;
    std::thread outside([&] {
      errors.read_until("idleprocs=2");
      c.send(1);
    });
    EXPECT_EQ(c.recv(), 1);
    outside.join();
  });
}

TEST_F(schedtrace, an_unknown_word_is_refused_by_name) {
  setenv("WEFT_DEBUG", "schedtrace=1000,frobnicate=1", 1);
  try {
    weft::run([] { ADD_FAILURE() << "it ran"; });
    FAIL() << "no exception";
  } catch (const std::invalid_argument& e) {
    EXPECT_THAT(e.what(), HasSubstr("WEFT_DEBUG=schedtrace=1000,frobnicate=1: 'frobnicate=1' is not known"));
  }
}

}  // namespace
