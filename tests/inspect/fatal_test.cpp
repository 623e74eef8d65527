// SPDX-License-Identifier: Apache-2.0
//
// What leaves state broken, or an error without anybody to hear of it, ends the process with a sentence, the stack, and
// exit status 2.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ContainsRegex;
using testing::ExitedWithCode;
using testing::HasSubstr;
using testing::Not;

class fatal : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

struct with_destructor {
  ~with_destructor() { asm volatile("" ::: "memory"); }
};

[[gnu::noinline]] void fail(const char* why) {
  const with_destructor makes_it_worth_unwinding;
  throw std::runtime_error(why);
}
[[gnu::noinline]] void call_what_fails(const char* why) {
  const with_destructor makes_it_worth_unwinding;
  fail(why);
  asm volatile("" ::: "memory");
}

void wait_for_the_end() { weft::chan<int>(nullptr).recv(); }

TEST_F(fatal, an_exception_that_leaves_a_detached_fiber_is_told_with_the_stack_of_its_throw) {
  const auto die = [] {
    weft::run([] {
      weft::go([] {
        weft::this_fiber::set_name("x");
        call_what_fails("no more tea");
      });
      wait_for_the_end();
    });
  };
  EXPECT_EXIT(die(), ExitedWithCode(2),
              ContainsRegex("fatal: uncaught exception in fiber [0-9]+ \"x\": no more tea\n\n"
                            "fiber [0-9]+ \"x\" \\[running\\]:\n"
                            "    .*fail\\(.*\n"
                            "    .*call_what_fails\\(.*\n"
                            "(    .*\n)*"
                            "  spawned at "));
}

TEST_F(fatal, what_is_no_std_exception_is_named_by_its_type) {
  const auto die = [] {
    weft::run([] {
      weft::go([] { throw 3; });
      wait_for_the_end();
    });
  };
  EXPECT_EXIT(die(), ExitedWithCode(2),
              ContainsRegex("fatal: uncaught exception in fiber [0-9]+: of type int, which does not derive"));
}

TEST_F(fatal, an_error_that_nobody_joined_ends_the_process) {
  const auto die = [] {
    weft::run([] {
      auto f = weft::spawn([] { fail("unheard"); });
      weft_test::until([&] { return f.done(); });
    });
  };
  EXPECT_EXIT(die(), ExitedWithCode(2), ContainsRegex("fatal: uncaught exception .*: unheard\n"));
}

// Compilers end the two by different calls.
struct waits_when_destroyed {
  ~waits_when_destroyed() { weft::chan<int>().recv(); }
};
struct waits_and_has_clean_ups_when_destroyed {
  [[gnu::noinline]] ~waits_and_has_clean_ups_when_destroyed() {
    const with_destructor clean_up;
    weft::sleep_for(1h);
  }
};

template <class Trap>
void leave_cancelled() {
  weft::run([] {
    weft::cancel_scope region;
    region.run([&] {
      const Trap trap;
      region.cancel();
    });
  });
}

TEST_F(fatal, cancelled_in_a_destructor_is_told_with_the_cure) {
  const auto told = HasSubstr(
      "fatal: weft::cancelled left a noexcept function (a destructor that waits?): wrap it in weft::shield\n");
  EXPECT_EXIT(leave_cancelled<waits_when_destroyed>(), ExitedWithCode(2), told);
  EXPECT_EXIT(leave_cancelled<waits_and_has_clean_ups_when_destroyed>(), ExitedWithCode(2), told);
}

[[gnu::noinline]] void break_a_promise() noexcept {
  const with_destructor clean_up;
  fail("so much for noexcept");
  asm volatile("" ::: "memory");
}

TEST_F(fatal, another_exception_out_of_a_noexcept_function_is_not_taken_for_it) {
  EXPECT_EXIT(weft::run([] { break_a_promise(); }), ExitedWithCode(2),
              ContainsRegex("fatal: (an exception left a noexcept function in fiber 1 \"main\"|"
                            "uncaught exception in fiber 1 \"main\": so much for noexcept)\n"));
}

TEST_F(fatal, terminate_on_a_fiber_says_who) {
  EXPECT_EXIT(weft::run([] { std::terminate(); }), ExitedWithCode(2),
              HasSubstr("fatal: std::terminate was called in fiber 1 \"main\"\n"));
}

TEST_F(fatal, names_the_plain_threads_that_wait_before_the_first_run) {
  const auto die = [] {
    weft::chan<int> never;
    std::thread waits([never] { never.recv(); });
    while (weft_test::waiting() < 1) std::this_thread::yield();
    weft::mutex().unlock();
  };
  EXPECT_EXIT(die(), ExitedWithCode(2),
              HasSubstr("fatal: weft: unlock of unlocked mutex\n\na plain thread [chan receive]\n"));
}

TEST_F(fatal, unlock_of_an_unlocked_mutex_dumps_everybody) {
  const auto die = [] {
    weft::run([] {
      weft::go([] {
        weft::this_fiber::set_name("bystander");
        wait_for_the_end();
      });
      weft_test::until_waiting(1);
      weft::mutex m;
      m.unlock();
    });
  };
  EXPECT_EXIT(
      die(), ExitedWithCode(2),
      AllOf(ContainsRegex(
                "fatal: weft: unlock of unlocked mutex\n\nfiber 1 \"main\" \\[running\\]:\n    weft::mutex::unlock"),
            HasSubstr("\"bystander\" [chan receive (nil chan)]:")));
}

TEST_F(fatal, what_stands_in_stdout_s_buffer_is_written) {
  const auto die = [] {
    dup2(STDERR_FILENO, STDOUT_FILENO);
    std::setvbuf(stdout, nullptr, _IOFBF, 4096);
    std::fputs("half a line", stdout);
    weft::run([] { std::terminate(); });
  };
  EXPECT_EXIT(die(), ExitedWithCode(2), HasSubstr("half a line"));
}

[[noreturn]] void the_program_s_own() {
  std::fputs("the program's own handler\n", stderr);
  _exit(7);
}

TEST_F(fatal, on_other_threads_the_former_terminate_handler_runs) {
  const auto die = [] {
    std::set_terminate(the_program_s_own);
    weft::run([] { std::thread([] { fail("on a thread"); }).join(); });
  };
  EXPECT_EXIT(die(), ExitedWithCode(7), AllOf(HasSubstr("the program's own handler\n"), Not(HasSubstr("fatal:"))));
}

TEST_F(fatal, the_former_terminate_handler_is_back_after_run) {
  const std::terminate_handler before = std::get_terminate();
  weft::run([&] { EXPECT_NE(std::get_terminate(), before); });
  EXPECT_EQ(std::get_terminate(), before);
}

TEST_F(fatal, a_terminate_handler_that_came_later_stays) {
  const std::terminate_handler before = std::get_terminate();
  weft::run([] { std::set_terminate(the_program_s_own); });
  EXPECT_EQ(std::get_terminate(), &the_program_s_own);
  std::set_terminate(before);
}

// Elements are moved under their channel's lock: one that takes it again would spin for ever, one that waits would take it
// along.
TEST_F(fatal, an_element_that_uses_its_channel_or_waits_while_it_is_moved_is_named) {
  struct element {
    void (*moved)(const weft::chan<element>&);
    const weft::chan<element>* channel;
    element(void (*f)(const weft::chan<element>&), const weft::chan<element>& c) : moved(f), channel(&c) {}
    element(element&& other) noexcept : moved(other.moved), channel(other.channel) { moved(*channel); }
    ~element() = default;
  };
  const auto sends = [](void (*moved)(const weft::chan<element>&)) {
    weft::run([moved] {
      const weft::chan<element> c(1);
      c.send(element(moved, c));
    });
  };
  EXPECT_EXIT(sends([](const weft::chan<element>& c) { (void)c.size(); }), ExitedWithCode(2),
              HasSubstr("fatal: weft::chan: the move constructor or destructor of an element uses the channel"));
  EXPECT_EXIT(sends([](const weft::chan<element>&) { weft::sleep_for(1ms); }), ExitedWithCode(2),
              HasSubstr("fatal: weft::chan: the move constructor or destructor of an element waits"));
}

}  // namespace
