// SPDX-License-Identifier: Apache-2.0
//
// Nobody can ever wake anybody: told, with everybody's stack. Whatever might still wake somebody — a timer, a
// descriptor, a signal, a blocking call, a thread that is not weft's — keeps the report away.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <thread>

#include <weft/file.hpp>
#include <weft/net.hpp>
#include <weft/signals.hpp>
#include <weft/weft.hpp>

#include "netpoll/backend.hpp"
#include "tests/support/captured_stderr.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/scratch_file.hpp"

namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ContainsRegex;
using testing::ExitedWithCode;
using testing::HasSubstr;
using testing::Not;
using weft::deadlock_policy;

constexpr const char* report = "fatal: all fibers are asleep - deadlock!\n";
constexpr const char* hope =
    "weft: all fibers are asleep; only a thread that is not weft's could still wake one (there is 1)\n";

// Long beside the 10 ms after which the report would come.
constexpr auto longer_than_the_report_takes = 100ms;

class deadlock : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

[[gnu::noinline]] void wait_in_vain(const weft::chan<int>& c) {
  c.recv();
  asm volatile("" ::: "memory");
}

TEST_F(deadlock, is_told_with_everybody_s_stack) {
  if (weft_test::has_thread_sanitizer) GTEST_SKIP() << "the sanitizer has a thread of its own";
  const auto die = [] {
    weft::run([] {
      weft::chan<int> c;
      auto f = weft::spawn({.name = "other"}, [c] { wait_in_vain(c); });
      f.join();
    });
  };
  EXPECT_EXIT(die(), ExitedWithCode(2),
              AllOf(HasSubstr(std::string(report) + "\nfiber 1 \"main\" [join]:\n"),
                    ContainsRegex("\"other\" \\[chan receive\\]:\n(    .*\n)*    .*wait_in_vain")));
}

TEST_F(deadlock, is_told_at_every_width) {
  for (const int width : {1, 2, 8}) {
    const auto die = [width] {
      weft::run({.maxprocs = width, .deadlock = deadlock_policy::fatal}, [] {
        weft::chan<int> c;
        weft::scope s;
        for (int i = 0; i < 20; ++i) s.go([c] { wait_in_vain(c); });
        s.join();
      });
    };
    EXPECT_EXIT(die(), ExitedWithCode(2), AllOf(HasSubstr(report), HasSubstr("[scope.join]"))) << width;
  }
}

TEST_F(deadlock, is_told_after_work_with_timers_and_blocking) {
  const auto die = [] {
    weft::run({.deadlock = deadlock_policy::fatal}, [] {
      weft::sleep_for(1ms);
      weft::blocking([] { usleep(1000); });
      weft::mutex m;
      m.lock();
      m.lock();
    });
  };
  EXPECT_EXIT(die(), ExitedWithCode(2), AllOf(HasSubstr(report), HasSubstr("\"main\" [mutex.lock]")));
}

TEST_F(deadlock, of_a_pinned_main_is_told) {
  const auto die = [] { weft::run({.pin_main = true, .deadlock = deadlock_policy::fatal}, [] { wait_in_vain({}); }); };
  EXPECT_EXIT(die(), ExitedWithCode(2), HasSubstr("\"main\" [chan receive, locked to thread]"));
}

TEST_F(deadlock, is_told_in_a_second_run) {
  const auto die = [] {
    weft::run([] {});
    weft::run({.deadlock = deadlock_policy::fatal}, [] { wait_in_vain({}); });
  };
  EXPECT_EXIT(die(), ExitedWithCode(2), HasSubstr(report));
}

TEST_F(deadlock, is_told_while_a_trace_is_on) {
  const auto die = [] {
    setenv("WEFT_DEBUG", "schedtrace=86400000", 1);
    weft::run({.deadlock = deadlock_policy::fatal}, [] { wait_in_vain({}); });
  };
  EXPECT_EXIT(die(), ExitedWithCode(2), HasSubstr(report));
}

TEST_F(deadlock, a_thread_that_waits_in_weft_is_no_hope) {
  if (weft_test::has_thread_sanitizer) GTEST_SKIP() << "the sanitizer has a thread of its own";
  const auto die = [] {
    weft::run([] {
      weft::chan<int> c;
      std::thread(wait_in_vain, c).detach();
      wait_in_vain(c);
    });
  };
  EXPECT_EXIT(die(), ExitedWithCode(2), AllOf(HasSubstr(report), HasSubstr("a plain thread [chan receive]\n")));
}

// A thread of the program's, out of which comes a number once `when` has come.
template <class When>
int receive_from_a_thread(const weft::options& how, When when) {
  weft::chan<int> c;
  std::thread sender([c, when] {
    when();
    c.send(7);
  });
  const int got = weft::run(how, [c] { return c.recv().value_or(-1); });
  sender.join();
  return got;
}

TEST_F(deadlock, one_line_where_a_foreign_thread_could_wake_someone) {
  if (weft_test::has_thread_sanitizer) GTEST_SKIP() << "the sanitizer has a thread of its own";
  const auto go_on = [] {
    weft_test::captured_stderr errors;
    const int got = receive_from_a_thread({}, [&] { errors.read_until(hope); });
    _exit(got);
  };
  EXPECT_EXIT(go_on(), ExitedWithCode(7), "");
}

TEST_F(deadlock, the_fatal_policy_ignores_foreign_threads) {
  const auto die = [] { receive_from_a_thread({.deadlock = deadlock_policy::fatal}, [] { pause(); }); };
  EXPECT_EXIT(die(), ExitedWithCode(2), AllOf(HasSubstr(report), Not(HasSubstr(hope))));
}

TEST_F(deadlock, the_off_policy_says_nothing) {
  const auto go_on = [] {
    const int got = receive_from_a_thread({.deadlock = deadlock_policy::off},
                                          [] { std::this_thread::sleep_for(longer_than_the_report_takes); });
    _exit(got);
  };
  EXPECT_EXIT(go_on(), ExitedWithCode(7), Not(HasSubstr("asleep")));
}

// Each of these wakes a fiber some time after the report would have come: there is no event for "it has not come".

TEST_F(deadlock, a_timer_is_hope) {
  const auto go_on = [] {
    weft::run({.deadlock = deadlock_policy::fatal}, [] {
      weft::chan<int> c;
      weft::go([c] {
        weft::sleep_for(longer_than_the_report_takes);
        c.send(1);
      });
      c.recv();
    });
    _exit(0);
  };
  EXPECT_EXIT(go_on(), ExitedWithCode(0), Not(HasSubstr("asleep")));
}

TEST_F(deadlock, a_blocking_call_is_hope) {
  const auto go_on = [] {
    weft::run({.deadlock = deadlock_policy::fatal}, [] {
      weft::chan<int> c;
      weft::go([c] {
        weft::blocking([] { std::this_thread::sleep_for(longer_than_the_report_takes); });
        c.send(1);
      });
      c.recv();
    });
    _exit(0);
  };
  EXPECT_EXIT(go_on(), ExitedWithCode(0), Not(HasSubstr("asleep")));
}

TEST_F(deadlock, a_thread_that_waits_with_a_time_out_is_hope) {
  const auto go_on = [] {
    weft::chan<int> never, c;
    std::thread patient([=] {
      never.recv_for(longer_than_the_report_takes);
      c.send(1);
    });
    weft::run([&] { c.recv(); });
    patient.join();
    _exit(0);
  };
  EXPECT_EXIT(go_on(), ExitedWithCode(0), Not(HasSubstr("deadlock")));
}

// A child process, so that no thread and no timer of ours is hope.
void connect_later_from_a_child(std::uint16_t port) {
  if (fork() != 0) return;
  std::this_thread::sleep_for(longer_than_the_report_takes);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  _exit(0);
}

TEST_F(deadlock, a_descriptor_is_hope) {
  const auto go_on = [] {
    weft::run({.deadlock = deadlock_policy::fatal}, [] {
      auto listener = weft::net::listen("127.0.0.1:0");
      connect_later_from_a_child(listener.local_endpoint().port());
      listener.accept();
    });
    _exit(0);
  };
  EXPECT_EXIT(go_on(), ExitedWithCode(0), Not(HasSubstr("asleep")));
}

TEST_F(deadlock, an_open_descriptor_that_nobody_waits_for_is_none) {
  const auto die = [] {
    weft::run({.deadlock = deadlock_policy::fatal}, [] {
      const auto listener = weft::net::listen("127.0.0.1:0");
      wait_in_vain({});
    });
  };
  EXPECT_EXIT(die(), ExitedWithCode(2), HasSubstr(report));
}

// A pipe stands for a slow device: the read ends when a child of ours writes.
TEST_F(deadlock, a_file_operation_is_hope) {
  const auto go_on = [] {
    weft::run({.deadlock = deadlock_policy::fatal}, [] {
      int ends[2];
      if (pipe2(ends, O_CLOEXEC) != 0) _exit(1);
      if (fork() == 0) {
        std::this_thread::sleep_for(longer_than_the_report_takes);
        _exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
      }
      char c = 0;
      weft::rt::file_op op(weft::rt::file_action::read, ends[0], &c, 1, 0);
      perform(weft::rt::engine_for_files(), op);
    });
    _exit(0);
  };
  EXPECT_EXIT(go_on(), ExitedWithCode(0), Not(HasSubstr("asleep")));
}

TEST_F(deadlock, the_threads_that_serve_files_are_none) {
  if (weft_test::has_thread_sanitizer) GTEST_SKIP() << "the sanitizer has a thread of its own";
  for (const auto backend : {weft::netpoll_backend::automatic, weft::netpoll_backend::epoll}) {
    const auto die = [backend] {
      weft::run({.netpoll = backend}, [] {
        const weft_test::scratch_file on_disk;
        auto f = weft::file::open(on_disk.path(), O_RDWR);
        unlink(on_disk.path().c_str());
        f.fsync();
        wait_in_vain({});
      });
    };
    EXPECT_EXIT(die(), ExitedWithCode(2), HasSubstr(report));
  }
}

TEST_F(deadlock, a_signal_is_hope) {
  if (weft_test::has_thread_sanitizer) GTEST_SKIP() << "the sanitizer holds signals back from a process that sleeps";
  const auto go_on = [] {
    weft::run({.deadlock = deadlock_policy::fatal}, [] {
      auto alarms = weft::signals({SIGALRM});
      const itimerval once{{}, {0, std::chrono::microseconds(longer_than_the_report_takes).count()}};
      setitimer(ITIMER_REAL, &once, nullptr);
      alarms.recv();
    });
    _exit(0);
  };
  EXPECT_EXIT(go_on(), ExitedWithCode(0), Not(HasSubstr("asleep")));
}

}  // namespace
