// SPDX-License-Identifier: Apache-2.0
//
// Hazard: fork copies the calling thread only. The child may call exec or _exit, from a fiber as from anywhere; what it
// asks of weft is refused with a sentence, since nobody is there to do it. The parent notices nothing.

#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <thread>

#include <weft/weft.hpp>

#include "tests/support/child.hpp"
#include "tests/support/stress.hpp"
#include "tests/support/until_waiting.hpp"

extern char** environ;

namespace {

using weft_test::scaled;

class fork_ : public weft_test::stress {};

int wait_for_exit(pid_t child) {
  int status = 0;
  weft::blocking([&] {
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  });
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST_F(fork_, exec_from_a_fiber_beside_traffic) {
  weft::run({.maxprocs = 4}, [] {
    std::atomic<bool> stop{false};
    long sent = 0, received = 0;
    weft::scope s;
    weft::chan<int> c;
    s.go([&, c] {
      for (int i = 0; !stop.load(); ++i) {
        c.send(i);
        ++sent;
      }
      c.close();
    });
    s.go([&, c] {
      while (c.recv()) ++received;
    });
    weft::scope children;
    for (int f = 0; f < 4; ++f) {
      children.go([f] {
        for (int i = 0; i < scaled(20); ++i) {
          const pid_t child = fork();
          if (child == 0) {
            execl("/bin/sh", "sh", "-c", f % 2 == 0 ? "exit 7" : "exit 8", nullptr);
            _exit(127);
          }
          ASSERT_GT(child, 0);
          EXPECT_EQ(wait_for_exit(child), f % 2 == 0 ? 7 : 8);
        }
      });
    }
    children.join();
    stop = true;
    s.join();
    EXPECT_EQ(sent, received);
  });
}

TEST_F(fork_, posix_spawn_from_a_fiber) {
  weft::run([] {
    for (int i = 0; i < scaled(20); ++i) {
      char name[] = "sh", flag[] = "-c", script[] = "exit 5";
      char* const arguments[] = {name, flag, script, nullptr};
      pid_t child = 0;
      ASSERT_EQ(posix_spawn(&child, "/bin/sh", nullptr, nullptr, arguments, environ), 0);
      EXPECT_EQ(wait_for_exit(child), 5);
    }
  });
}

TEST_F(fork_, a_child_without_exec_may_exit) {
  weft::run({.maxprocs = 4}, [] {
    for (int i = 0; i < scaled(20); ++i) {
      const pid_t child = fork();
      if (child == 0) _exit(3);
      ASSERT_GT(child, 0);
      EXPECT_EQ(wait_for_exit(child), 3);
      weft::spawn([] {}).join();
    }
  });
}

// The child's answer is its exit code: 1 the right error, 2 another one, 3 none.
template <class F>
int answer_of_child(F use) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    try {
      use();
    } catch (const std::logic_error& error) {
      _exit(std::strstr(error.what(), "fork") != nullptr ? 1 : 2);
    } catch (...) {
      _exit(2);
    }
    _exit(3);
  }
  return child > 0 ? wait_for_exit(child) : -1;
}

TEST_F(fork_, a_child_that_starts_fibers_is_told_why_it_cannot) {
  weft::run({.maxprocs = 2}, [] {
    EXPECT_EQ(answer_of_child([] { weft::go([] {}); }), 1);
    EXPECT_EQ(answer_of_child([] { weft::spawn([] {}).join(); }), 1);
    EXPECT_EQ(answer_of_child([] { weft::run([] {}); }), 1);
    // From a plain thread, too.
    std::thread([] { EXPECT_EQ(answer_of_child([] { weft::go([] {}); }), 1); }).join();
  });
}

TEST_F(fork_, a_child_that_wakes_a_copied_fiber_runs_nothing) {
  weft::run({.maxprocs = 2}, [] {
    weft::chan<void> gate;
    bool ran = false;
    auto waiter = weft::spawn([&ran, gate] {
      gate.recv();
      ran = true;
    });
    weft_test::until_waiting(1);
    EXPECT_EQ(gate.size(), 0u);  // takes the lock after the fiber's M: in the child nobody would ever free it
    const pid_t child = fork();
    if (child == 0) {
      alarm(30);
      gate.close();
      const timespec moment{0, 20'000'000};
      nanosleep(&moment, nullptr);
      _exit(ran ? 1 : 0);
    }
    ASSERT_GT(child, 0);
    EXPECT_EQ(wait_for_exit(child), 0);
    EXPECT_FALSE(ran);
    gate.close();
    waiter.join();
    EXPECT_TRUE(ran);
  });
}

TEST_F(fork_, a_child_that_returns_from_its_fiber_is_ended_with_a_sentence) {
  weft::run({.maxprocs = 2}, [] {
    weft::chan<pid_t> born(1);
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    weft::go([born, ends] {
      const pid_t child = fork();
      if (child != 0) {
        born.send(child);
        return;
      }
      alarm(30);
      dup2(ends[1], 2);
    });
    const pid_t child = *born.recv();
    ASSERT_GT(child, 0);
    EXPECT_EQ(wait_for_exit(child), 2);
    close(ends[1]);
    char text[256] = {};
    EXPECT_GT(read(ends[0], text, sizeof text - 1), 0);
    close(ends[0]);
    EXPECT_NE(std::strstr(text, "child of a fork"), nullptr) << text;
  });
}

TEST_F(fork_, a_child_has_its_signals_for_itself) {
  if (weft_test::under_tsan) GTEST_SKIP() << "TSan holds a signal back that comes before the child has begun to wait";
  weft::run({.maxprocs = 2}, [] {
    const auto ours = weft::signals({SIGTERM, SIGUSR1});
    for (int i = 0; i < scaled(20); ++i) {
      const pid_t child = fork();
      if (child == 0) {
        alarm(30);
        for (;;) pause();
      }
      kill(child, SIGTERM);
      EXPECT_EQ(wait_for_exit(child), 1000 + SIGTERM);
    }
    raise(SIGUSR1);
    EXPECT_EQ(ours.recv(), SIGUSR1);  // and none before it
  });
}

TEST(fork_between_runs, the_child_may_have_a_runtime_of_its_own) {
  if (weft_test::under_tsan) GTEST_SKIP() << "TSan starts no threads in the child of a process that has had some";
  EXPECT_EQ(weft::run([] { return 1; }), 1);
  const auto end =
      weft_test::in_child([] { return weft::run([] { return weft::spawn([] { return 4; }).join() + 1; }); });
  EXPECT_EQ(end.exit_code, 5) << end.signal << " " << end.text;
}

}  // namespace
