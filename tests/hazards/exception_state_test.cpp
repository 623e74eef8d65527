// SPDX-License-Identifier: Apache-2.0
//
// Hazard: libstdc++ keeps the caught and the uncaught exceptions per thread. A fiber that waits in a handler or in a
// destructor that unwinding runs would find another fiber's exceptions when it goes on, or leave its own with a thread
// it has left.

#include <gtest/gtest.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/stress.hpp"
#include "tests/support/threads.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using weft_test::hop;
using weft_test::scaled;
using weft_test::this_thread;

[[gnu::noinline]] int uncaught() noexcept {
  int n = std::uncaught_exceptions();
  asm volatile("" : "+r"(n)::"memory");
  return n;
}

std::string caught_text() {
  const std::exception_ptr current = std::current_exception();
  if (current == nullptr) return "nothing";
  try {
    std::rethrow_exception(current);
  } catch (const std::exception& error) {
    return error.what();
  }
}

TEST(exception_state, two_fibers_that_wait_in_handlers_rethrow_their_own) {
  weft::run({.maxprocs = 1}, [] {
    weft::chan<void> gate_a, gate_b;
    weft::mutex lock;
    std::vector<std::string> rethrown;
    auto parked_in_handler = [&](weft::chan<void> gate, const char* text) {
      try {
        try {
          throw std::runtime_error(text);
        } catch (const std::runtime_error&) {
          gate.recv();
          EXPECT_EQ(caught_text(), text);
          throw;
        }
      } catch (const std::runtime_error& error) {
        const std::lock_guard guard(lock);
        rethrown.emplace_back(error.what());
      }
    };
    weft::scope s;
    s.go([&] { parked_in_handler(gate_a, "from a"); });
    s.go([&] { parked_in_handler(gate_b, "from b"); });
    weft_test::until_waiting(2);
    gate_a.send();
    gate_b.send();
    s.join();
    std::sort(rethrown.begin(), rethrown.end());
    EXPECT_EQ(rethrown, (std::vector<std::string>{"from a", "from b"}));
  });
}

TEST(exception_state, a_handler_that_goes_on_elsewhere_rethrows) {
  weft::run([] {
    for (int i = 0; i < scaled(200); ++i) {
      const std::string text = "round " + std::to_string(i);
      bool came = false;
      try {
        try {
          throw std::runtime_error(text);
        } catch (const std::runtime_error& error) {
          const pid_t before = this_thread();
          hop();
          ASSERT_NE(this_thread(), before);
          EXPECT_EQ(error.what(), text);
          EXPECT_EQ(caught_text(), text);
          throw;
        }
      } catch (const std::runtime_error& error) {
        came = error.what() == text;
      }
      ASSERT_TRUE(came);
      EXPECT_EQ(std::current_exception(), nullptr);
    }
  });
}

TEST(exception_state, nested_handlers_are_left_elsewhere_in_order) {
  weft::run([] {
    for (int i = 0; i < scaled(100); ++i) {
      try {
        throw std::runtime_error("outer");
      } catch (const std::runtime_error&) {
        hop();
        try {
          throw std::logic_error("inner");
        } catch (const std::logic_error&) {
          hop();
          EXPECT_EQ(caught_text(), "inner");
        }
        EXPECT_EQ(caught_text(), "outer");
        hop();
        EXPECT_EQ(caught_text(), "outer");
      }
      EXPECT_EQ(caught_text(), "nothing");
    }
  });
}

TEST(exception_state, a_destructor_that_goes_on_elsewhere_keeps_the_count_of_what_is_uncaught) {
  weft::run([] {
    struct hopper {
      ~hopper() {
        EXPECT_EQ(uncaught(), 1);
        hop();
        EXPECT_EQ(uncaught(), 1);
        EXPECT_EQ(caught_text(), "nothing");
        // An exception that comes and goes inside does not disturb the one that unwinds.
        try {
          throw std::logic_error("inside");
        } catch (const std::logic_error&) {
          hop();
          EXPECT_EQ(uncaught(), 1);
          EXPECT_EQ(caught_text(), "inside");
        }
        EXPECT_EQ(uncaught(), 1);
      }
    };
    for (int i = 0; i < scaled(100); ++i) {
      try {
        const hopper h;
        throw std::runtime_error("unwinds");
      } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "unwinds");
        EXPECT_EQ(uncaught(), 0);
      }
      ASSERT_EQ(uncaught(), 0);
    }
  });
  EXPECT_EQ(uncaught(), 0);
}

TEST(exception_state, the_thread_that_was_left_has_nothing_of_it) {
  weft::run({.maxprocs = 1}, [] {
    weft::chan<void> gate;
    struct waits {
      weft::chan<void> gate;
      ~waits() { gate.recv(); }
    };
    auto f = weft::spawn([gate] {
      try {
        const waits w{gate};
        throw 1;
      } catch (int) {
        weft::yield();
        EXPECT_EQ(uncaught(), 0);
      }
    });
    weft_test::until_waiting(1);
    // A new fiber, an old one and whoever the runner serves next see none of the exception that is on its way.
    EXPECT_EQ(uncaught(), 0);
    weft::spawn([] {
      EXPECT_EQ(uncaught(), 0);
      EXPECT_EQ(std::current_exception(), nullptr);
    }).join();
    EXPECT_EQ(std::current_exception(), nullptr);
    gate.send();
    f.join();
    EXPECT_EQ(uncaught(), 0);
  });
}

TEST(exception_state, one_exception_may_be_rethrown_by_many_fibers) {
  weft::run({.maxprocs = 4}, [] {
    const std::exception_ptr shared = std::make_exception_ptr(std::runtime_error("shared"));
    weft::scope s;
    for (int f = 0; f < 16; ++f) {
      s.go([shared] {
        for (int i = 0; i < scaled(500); ++i) {
          try {
            std::rethrow_exception(shared);
          } catch (const std::runtime_error& error) {
            weft::yield();
            EXPECT_STREQ(error.what(), "shared");
          }
        }
      });
    }
    s.join();
  });
}

}  // namespace
