// SPDX-License-Identifier: Apache-2.0
//
// Signals arrive on every channel that asked for them, and cancel scopes. None takes the place of another; what was
// there before a channel is there after it, and in a child of fork.

#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <span>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include <weft/signals.hpp>
#include <weft/weft.hpp>

#include "netpoll/signals.hpp"
#include "tests/support/child.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/until_waiting.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using weft_test::in_child;
using weft_test::require;
using weft_test::until_waiting;

class signals : public testing::Test {
  weft_test::watchdog watchdog_{std::chrono::seconds(120)};
};
using cancel_on = signals;
/// Each body runs in a process of its own, which has a watchdog in `in_child`.
class signals_of_a_process : public testing::Test {
 protected:
  void SetUp() override {
    if (weft_test::has_thread_sanitizer) GTEST_SKIP() << "TSan starts no threads in a child of a process with threads";
  }
};

TEST_F(signals, wake_a_fiber) {
  weft::run([] {
    auto received = weft::spawn([] { return *weft::signals({SIGUSR1, SIGUSR2}).recv(); });
    until_waiting(1);
    raise(SIGUSR2);
    EXPECT_EQ(received.join(), SIGUSR2);
  });
}

TEST_F(signals, wake_a_plain_thread_and_a_select) {
  weft::run([] {
    const auto one = weft::signals({SIGUSR1});
    const auto two = weft::signals({SIGUSR1});
    std::thread plain([&] { EXPECT_EQ(*one.recv(), SIGUSR1); });
    auto selects = weft::spawn([&] {
      int got = 0;
      weft::select(weft::on_recv(two, [&](std::optional<int> number) { got = *number; }));
      return got;
    });
    until_waiting(2);
    raise(SIGUSR1);
    EXPECT_EQ(selects.join(), SIGUSR1);
    weft::blocking([&] { plain.join(); });
  });
}

TEST_F(signals, reach_every_channel_that_asked) {
  weft::run([] {
    auto one = weft::signals({SIGUSR1});
    auto both = weft::signals({SIGUSR1, SIGUSR2});
    raise(SIGUSR1);
    EXPECT_EQ(*one.recv(), SIGUSR1);
    EXPECT_EQ(*both.recv(), SIGUSR1);
    raise(SIGUSR2);
    EXPECT_EQ(*both.recv(), SIGUSR2);
    EXPECT_EQ(one.size(), 0u);
  });
}

TEST_F(signals, take_a_span_with_repeats) {
  weft::run([] {
    const std::vector<int> wanted{SIGUSR1, SIGRTMIN, SIGRTMAX, SIGUSR1};
    const auto c = weft::signals(std::span<const int>(wanted));
    for (const int number : {SIGUSR1, SIGRTMIN, SIGRTMAX}) {
      raise(number);
      EXPECT_EQ(*c.recv(), number);
    }
    EXPECT_EQ(c.capacity(), 3u);
  });
}

TEST_F(signals, of_a_slow_reader_merge_and_none_is_lost) {
  weft::run([] {
    const auto slow = weft::signals({SIGCHLD, SIGTERM});
    const auto probe = weft::signals({SIGCHLD});
    for (int i = 0; i < 100; ++i) {
      raise(SIGCHLD);
      probe.recv();
    }
    raise(SIGTERM);
    EXPECT_EQ(*slow.recv(), SIGCHLD);
    EXPECT_EQ(*slow.recv(), SIGTERM);
    EXPECT_EQ(slow.size(), 0u);
  });
}

TEST_F(signals, of_a_storm_leave_another_alone) {
  std::atomic<bool> stop{false};
  weft::run([&] {
    const auto stormy = weft::signals({SIGUSR1});
    const auto calm = weft::signals({SIGTERM});
    const auto both = weft::signals({SIGUSR1, SIGTERM});
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        while (!stop.load(std::memory_order_relaxed)) raise(SIGUSR1);
      });
    for (int i = 0; i < 200; ++i) {
      // TSan holds one back that meets a thread that sleeps.
      weft_test::has_thread_sanitizer ? raise(SIGTERM) : kill(getpid(), SIGTERM);
      EXPECT_EQ(*calm.recv(), SIGTERM);
      while (*both.recv() != SIGTERM) {
      }
    }
    EXPECT_EQ(*stormy.recv(), SIGUSR1);
    stop = true;
    weft::blocking([&] {
      for (std::thread& each : threads) each.join();
    });
  });
}

TEST_F(signals, that_come_without_a_runtime_wait_for_one) {
  const auto c = weft::signals({SIGUSR1, SIGUSR2});
  raise(SIGUSR1);
  weft::run([&] { EXPECT_EQ(*c.recv(), SIGUSR1); });
  raise(SIGUSR2);
  raise(SIGUSR2);
  weft::run([&] {
    EXPECT_EQ(*c.recv(), SIGUSR2);
    EXPECT_EQ(c.size(), 0u);
  });
}

TEST_F(signals, are_awaited_as_long_as_somebody_holds_the_channel_or_the_handle) {
  EXPECT_FALSE(weft::rt::signals_are_awaited());
  auto c = weft::signals({SIGUSR1});
  auto copy = c;
  c = weft::recv_chan<int>();
  EXPECT_TRUE(weft::rt::signals_are_awaited());
  copy = weft::recv_chan<int>();
  EXPECT_FALSE(weft::rt::signals_are_awaited());
  weft::run([] {
    weft::scope s;
    auto handle = weft::cancel_on({SIGUSR1}, s);
    EXPECT_TRUE(weft::rt::signals_are_awaited());
    handle = weft::signal_handle();
    EXPECT_FALSE(weft::rt::signals_are_awaited());
  });
}

// --- refusals ---

struct sigaction action_of(int number) {
  struct sigaction found {};
  sigaction(number, nullptr, &found);
  return found;
}

TEST_F(signals, that_cannot_be_had_are_refused_and_nothing_has_changed) {
  const auto invalid = std::make_error_code(std::errc::invalid_argument);
  for (const int bad : {0, -1, 32, 33, NSIG, 1000, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    try {
      static_cast<void>(weft::signals({SIGUSR1, bad, SIGUSR2}));
      ADD_FAILURE() << bad << " was taken";
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code(), invalid) << bad;
      EXPECT_NE(std::string(error.what()).find("signal " + std::to_string(bad)), std::string::npos) << error.what();
    }
    std::error_code error;
    EXPECT_TRUE(weft::signals({SIGUSR1, bad}, error) == nullptr);
    EXPECT_EQ(error, invalid);
    EXPECT_EQ(action_of(SIGUSR1).sa_handler, SIG_DFL);
    EXPECT_EQ(action_of(SIGUSR2).sa_handler, SIG_DFL);
    EXPECT_FALSE(weft::rt::signals_are_awaited());
  }
  EXPECT_THROW(static_cast<void>(weft::signals({})), std::system_error);
  std::error_code error = invalid;
  EXPECT_TRUE(bool(weft::signals({SIGUSR1}, error)));
  EXPECT_FALSE(error);
  weft::run([&] {
    weft::scope s;
    EXPECT_THROW(static_cast<void>(weft::cancel_on({SIGTERM, SIGKILL}, s)), std::system_error);
    EXPECT_FALSE(weft::cancel_on({SIGTERM, SIGKILL}, s, error));
    EXPECT_EQ(error, invalid);
    EXPECT_EQ(action_of(SIGTERM).sa_handler, SIG_DFL);
  });
}

// --- the former action ---

std::atomic<int> counted{0};
void count(int) { counted.fetch_add(1); }

class signals_former_action : public signals {
 protected:
  signals_former_action() {
    counted = 0;
    struct sigaction counting {};
    counting.sa_handler = count;
    counting.sa_flags = SA_NODEFER | SA_RESTART;
    sigaddset(&counting.sa_mask, SIGHUP);
    sigaction(SIGUSR1, &counting, nullptr);
  }
  ~signals_former_action() override { signal(SIGUSR1, SIG_DFL); }

  static void expect_counting() {
    const struct sigaction found = action_of(SIGUSR1);
    EXPECT_EQ(found.sa_handler, count);
    EXPECT_EQ(found.sa_flags & (SA_NODEFER | SA_RESTART | SA_ONSTACK), SA_NODEFER | SA_RESTART);
    EXPECT_EQ(sigismember(&found.sa_mask, SIGHUP), 1);
  }
};

TEST_F(signals_former_action, is_back_when_the_last_channel_is_gone) {
  weft::run([] {
    {
      auto one = weft::signals({SIGUSR1});
      {
        const auto two = weft::signals({SIGUSR1, SIGUSR2});
        const auto three = two;
        raise(SIGUSR1);
        EXPECT_EQ(*one.recv(), SIGUSR1);
        EXPECT_EQ(*three.recv(), SIGUSR1);
      }
      EXPECT_EQ(action_of(SIGUSR2).sa_handler, SIG_DFL);
      raise(SIGUSR1);
      EXPECT_EQ(*one.recv(), SIGUSR1);
      EXPECT_EQ(counted, 0);
    }
    expect_counting();
    raise(SIGUSR1);
    EXPECT_EQ(counted, 1);
  });
}

TEST_F(signals_former_action, is_back_many_times) {
  weft::run([] {
    for (int i = 1; i <= 50; ++i) {
      {
        const auto c = weft::signals({SIGUSR1});
        raise(SIGUSR1);
        c.recv();
      }
      raise(SIGUSR1);
      EXPECT_EQ(counted, i);
    }
  });
}

TEST_F(signals_former_action, is_not_back_after_run_while_a_channel_lives) {
  std::optional<weft::recv_chan<int>> outside;
  weft::run([&] { outside = weft::signals({SIGUSR1}); });
  raise(SIGUSR1);
  EXPECT_EQ(counted, 0);
  outside.reset();
  expect_counting();
}

TEST_F(signals_former_action, does_not_get_what_came_while_there_was_a_channel) {
  {
    const auto c = weft::signals({SIGUSR1});
    raise(SIGUSR1);
  }
  const auto again = weft::signals({SIGUSR1, SIGUSR2});
  raise(SIGUSR2);
  weft::run([&] { EXPECT_EQ(again.recv(), SIGUSR2); });
  EXPECT_EQ(counted, 0);
}

TEST_F(signals_former_action, is_left_alone_where_the_program_has_set_another) {
  {
    const auto c = weft::signals({SIGUSR1});
    signal(SIGUSR1, SIG_IGN);
  }
  EXPECT_EQ(action_of(SIGUSR1).sa_handler, SIG_IGN);
}

TEST_F(signals_former_action, is_the_default_where_the_program_puts_back_what_it_found) {
  signal(SIGUSR1, SIG_DFL);
  struct sigaction ours {};
  {
    const auto c = weft::signals({SIGUSR1});
    ours = action_of(SIGUSR1);
  }
  sigaction(SIGUSR1, &ours, nullptr);  // nobody listens, and it must go round in no circle
  { const auto c = weft::signals({SIGUSR1}); }
  EXPECT_EQ(action_of(SIGUSR1).sa_handler, SIG_DFL);
}

TEST_F(signals_former_action, is_back_whichever_thread_drops_the_channel_under_fire) {
  std::atomic<bool> stop{false};
  std::thread fire([&] {
    while (!stop.load(std::memory_order_relaxed)) raise(SIGUSR1);
  });
  weft::run([] {
    weft::scope s;
    for (int f = 0; f < 8; ++f)
      s.go([] {
        for (int i = 0; i < 100; ++i) EXPECT_EQ(*weft::signals({SIGUSR1}).recv(), SIGUSR1);
      });
    s.join();
  });
  stop = true;
  fire.join();
  expect_counting();
}

// --- cancel_on ---

TEST_F(cancel_on, a_signal_cancels_the_scope) {
  weft::run([] {
    weft::scope s;
    const auto handle = weft::cancel_on({SIGUSR1, SIGTERM}, s);
    bool ended = false;
    s.go([&] {
      try {
        weft::chan<void>().recv();
      } catch (const weft::cancelled&) {
        ended = true;
        throw;
      }
    });
    until_waiting(1);
    EXPECT_FALSE(s.cancelled());
    raise(SIGTERM);
    s.join();
    EXPECT_TRUE(s.cancelled());
    EXPECT_TRUE(ended);
  });
}

TEST_F(cancel_on, the_scope_does_not_wait_for_the_handle) {
  weft::run([] {
    weft::scope s;
    const auto handle = weft::cancel_on({SIGTERM}, s);
    s.go([] {});
    s.join();
    EXPECT_FALSE(s.cancelled());
  });
}

TEST_F(cancel_on, only_while_the_handle_lives) {
  counted = 0;
  signal(SIGUSR1, count);
  weft::run([] {
    weft::scope s;
    {
      auto handle = weft::cancel_on({SIGUSR1}, s);
      auto moved = std::move(handle);
      EXPECT_FALSE(handle);
      EXPECT_TRUE(bool(moved));
    }
    raise(SIGUSR1);
    EXPECT_EQ(counted, 1);
    EXPECT_FALSE(s.cancelled());
  });
  signal(SIGUSR1, SIG_DFL);
}

TEST_F(cancel_on, a_channel_hears_of_it_too) {
  weft::run([] {
    weft::scope s;
    const auto c = weft::signals({SIGTERM});
    const auto handle = weft::cancel_on({SIGTERM}, s);
    raise(SIGTERM);
    EXPECT_EQ(*c.recv(), SIGTERM);
    weft_test::until([&] { return s.cancelled(); });
  });
}

TEST_F(cancel_on, a_handle_that_goes_while_signals_come_is_harmless) {
  std::atomic<bool> stop{false};
  const auto keep = weft::signals({SIGUSR1});
  std::thread fire([&] {
    while (!stop.load(std::memory_order_relaxed)) raise(SIGUSR1);
  });
  weft::run([] {
    for (int i = 0; i < 200; ++i) {
      weft::scope s;
      const auto handle = weft::cancel_on({SIGUSR1}, s);
      for (int f = 0; f < 10; ++f) s.go([] { weft::chan<void>().recv(); });
      s.join();
    }
  });
  stop = true;
  fire.join();
}

// --- blocked when the program began ---

bool is_blocked(int number) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, number) == 1;
}

bool is_pending(int number) {
  sigset_t set;
  sigpending(&set);
  return sigismember(&set, number) == 1;
}

void block(int number) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, number);
  sigprocmask(SIG_BLOCK, &mask, nullptr);
}

TEST_F(signals_of_a_process, a_blocked_one_is_received) {
  for (const bool before : {false, true}) {
    const auto end = in_child([before] {
      block(SIGTERM);
      std::optional<weft::recv_chan<int>> c;
      if (before) c = weft::signals({SIGTERM});
      kill(getpid(), SIGTERM);
      weft::run([&] {
        if (!before) c = weft::signals({SIGTERM});
        for (int i = 0; i < 20; ++i) {
          require(c->recv() == SIGTERM, "received");
          kill(getpid(), SIGTERM);
        }
        require(c->recv() == SIGTERM, "received the last");
      });
      require(is_blocked(SIGTERM), "blocked after run");
      kill(getpid(), SIGTERM);
      require(is_pending(SIGTERM), "pending after run");
      c.reset();
      require(action_of(SIGTERM).sa_handler == SIG_DFL, "the former action");
      return 7;
    });
    EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
  }
}

TEST_F(signals_of_a_process, a_blocked_one_is_unblocked_for_what_a_plain_thread_asks) {
  const auto end = in_child([] {
    block(SIGTERM);
    weft::run({.maxprocs = 1}, [] {
      weft::chan<int> got(1);
      std::thread([&] {
        const auto c = weft::signals({SIGTERM});
        kill(getpid(), SIGTERM);
        got.send(*c.recv());
      }).join();
      require(got.recv() == SIGTERM, "received");
    });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

TEST_F(signals_of_a_process, a_blocked_one_that_nobody_wants_any_more_is_pending_after_run) {
  const auto end = in_child([] {
    block(SIGTERM);
    weft::run([] {
      { const auto c = weft::signals({SIGTERM}); }
      kill(getpid(), SIGTERM);  // must not end the process: the program had blocked it
      const auto probe = weft::signals({SIGUSR1});
      raise(SIGUSR1);
      probe.recv();
    });
    require(is_pending(SIGTERM), "pending");
    require(action_of(SIGTERM).sa_handler == SIG_DFL, "the former action");
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

// --- fork ---

int end_of(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

template <class F>
pid_t forked(F body) {
  const pid_t child = fork();
  if (child != 0) return child;
  alarm(60);
  body();
  _exit(0);
}

TEST_F(signals_of_a_process, a_child_has_the_former_actions_and_its_signals_are_its_own) {
  const auto end = in_child([] {
    counted = 0;
    signal(SIGUSR2, count);
    weft::run([] {
      const auto c = weft::signals({SIGTERM, SIGUSR1, SIGUSR2});
      const pid_t killed = forked([] {
        for (;;) pause();
      });
      kill(killed, SIGTERM);
      const int status = end_of(killed);
      require(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "ended by SIGTERM");
      const pid_t counts = forked([] {
        raise(SIGUSR2);
        _exit(counted.load() == 1 && action_of(SIGTERM).sa_handler == SIG_DFL ? 3 : 4);
      });
      require(WEXITSTATUS(end_of(counts)) == 3, "its former handler ran");
      raise(SIGUSR1);
      require(c.recv() == SIGUSR1, "nothing else came before");
      require(counted.load() == 0, "nothing ran here");
    });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
TEST_F(signals_of_a_process, a_child_without_fork_handlers_has_the_former_actions_too) {
  const auto end = in_child([] {
    weft::run([] {
      const auto c = weft::signals({SIGTERM, SIGUSR1});
      const pid_t child = _Fork();
      if (child == 0) {
        raise(SIGTERM);
        _exit(0);
      }
      const int status = end_of(child);
      require(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "ended by SIGTERM");
      raise(SIGUSR1);
      require(c.recv() == SIGUSR1, "nothing else came before");
    });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}
#endif

TEST_F(signals_of_a_process, a_child_blocks_again_what_was_opened) {
  const auto end = in_child([] {
    block(SIGTERM);
    weft::run([] {
      const auto c = weft::signals({SIGTERM});
      const pid_t child = forked([] { _exit(is_blocked(SIGTERM) ? 3 : 4); });
      require(WEXITSTATUS(end_of(child)) == 3, "blocked");
    });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

TEST_F(signals_of_a_process, a_child_of_a_runtime_is_told_why_it_gets_none) {
  const auto end = in_child([] {
    weft::run([] {
      const pid_t child = forked([] {
        std::error_code error;
        try {
          static_cast<void>(weft::signals({SIGTERM}, error));
        } catch (const std::logic_error&) {
          _exit(3);
        }
      });
      require(WEXITSTATUS(end_of(child)) == 3, "refused");
    });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

TEST_F(signals_of_a_process, a_child_between_two_runs_may_ask_in_its_own) {
  const auto end = in_child([] {
    std::optional<weft::recv_chan<int>> keep;
    weft::run([&] { keep = weft::signals({SIGUSR1, SIGUSR2}); });
    const pid_t child = forked([] {
      require(action_of(SIGUSR1).sa_handler == SIG_DFL, "the former action");
      weft::run([] {
        const auto c = weft::signals({SIGUSR1, SIGTERM});
        kill(getpid(), SIGUSR1);
        require(c.recv() == SIGUSR1, "received");
        kill(getpid(), SIGTERM);
        require(c.recv() == SIGTERM, "received SIGTERM");
      });
      require(action_of(SIGTERM).sa_handler == SIG_DFL, "the former action of SIGTERM");
      _exit(3);
    });
    require(WEXITSTATUS(end_of(child)) == 3, "the child received");
    weft::run([&] {
      raise(SIGUSR2);
      require(keep->recv() == SIGUSR2, "nothing of the child's came");
    });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

TEST_F(signals_of_a_process, a_channel_goes_along_through_daemon) {
  const auto end = in_child([] {
    const auto c = weft::signals({SIGTERM, SIGUSR1});
    raise(SIGUSR1);  // the parent's, not the daemon's
    int ends[2];
    require(pipe(ends) == 0, "a pipe");
    const pid_t starter = forked([&] {
      require(daemon(0, 1) == 0, "daemon");
      alarm(60);
      weft::run([&] {
        kill(getpid(), SIGTERM);
        const int first = c.recv().value_or(0);
        require(write(ends[1], &first, sizeof first) == sizeof first, "told");
      });
      _exit(0);
    });
    end_of(starter);
    close(ends[1]);
    int first = 0;
    require(read(ends[0], &first, sizeof first) == sizeof first, "the daemon has told");
    require(first == SIGTERM, "the daemon has received");
    weft::run([&] { require(c.recv() == SIGUSR1, "the parent has received its own"); });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

TEST_F(signals_of_a_process, forks_beside_channels_that_come_and_go) {
  const auto end = in_child([] {
    weft::run({.maxprocs = 4}, [] {
      std::atomic<bool> stop{false};
      weft::scope s;
      for (int f = 0; f < 3; ++f)
        s.go([&] {
          while (!stop) {
            const auto c = weft::signals({SIGUSR1, SIGUSR2});
            weft::yield();
          }
        });
      for (int i = 0; i < 30; ++i) {
        const pid_t child = forked([] {
          _exit(action_of(SIGUSR1).sa_handler == SIG_DFL && action_of(SIGUSR2).sa_handler == SIG_DFL ? 3 : 4);
        });
        weft::blocking([&] { require(WEXITSTATUS(end_of(child)) == 3, "the former actions"); });
      }
      stop = true;
      s.join();
    });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

}  // namespace
