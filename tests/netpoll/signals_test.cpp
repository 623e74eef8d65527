// SPDX-License-Identifier: Apache-2.0
//
// Signals arrive on every channel that asked for them, in a runtime and without one.

#include <gtest/gtest.h>

#include <signal.h>

#include <stdexcept>
#include <thread>

#include <weft/signals.hpp>
#include <weft/weft.hpp>

#include "netpoll/signals.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using weft_test::until_waiting;

TEST(signals, wake_a_fiber) {
  weft::run([] {
    auto received = weft::spawn([] { return *weft::signals({SIGUSR1, SIGUSR2}).recv(); });
    until_waiting(1);
    raise(SIGUSR2);
    EXPECT_EQ(received.join(), SIGUSR2);
  });
}

TEST(signals, reach_every_channel_that_asked) {
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

TEST(signals, wait_for_a_slow_reader) {
  weft::run([] {
    auto c = weft::signals({SIGUSR1});
    for (std::size_t i = 1; i <= 5; ++i) {
      raise(SIGUSR1);
      weft_test::until([&] { return c.size() == i; });
    }
    for (int i = 0; i < 5; ++i) EXPECT_EQ(*c.recv(), SIGUSR1);
  });
}

TEST(signals, need_no_runtime) {
  auto c = weft::signals({SIGUSR1});
  raise(SIGUSR1);
  EXPECT_EQ(*c.recv(), SIGUSR1);
}

TEST(signals, stay_harmless_when_nobody_listens_any_more) {
  { auto c = weft::signals({SIGTERM}); }
  auto probe = weft::signals({SIGUSR1});
  raise(SIGTERM);
  raise(SIGUSR1);
  EXPECT_EQ(*probe.recv(), SIGUSR1);
}

// The thread that delivers may hold a channel for a moment longer.
void until_nobody_listens() {
  while (weft::rt::signals_are_awaited()) std::this_thread::yield();
}

TEST(signals, are_awaited_as_long_as_somebody_holds_the_channel) {
  until_nobody_listens();
  auto c = weft::signals({SIGUSR1});
  auto copy = c;
  EXPECT_TRUE(weft::rt::signals_are_awaited());
  c = weft::chan<int>(nullptr);
  EXPECT_TRUE(weft::rt::signals_are_awaited());
  copy = weft::chan<int>(nullptr);
  until_nobody_listens();
}

TEST(signals, refuses_what_cannot_be) {
  EXPECT_THROW(static_cast<void>(weft::signals({})), std::invalid_argument);
  for (const int bad : {0, -1, 1000, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL})
    EXPECT_THROW(static_cast<void>(weft::signals({SIGUSR1, bad})), std::invalid_argument) << bad;
}

}  // namespace
