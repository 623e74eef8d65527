// SPDX-License-Identifier: Apache-2.0
//
// thread_pin: a fiber that keeps its thread, whatever it waits for, and a runtime that goes on beside any number of them.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "tests/support/blocking_pipe.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/threads.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::this_thread;
using weft_test::until;

using thread_pin = weft_test::blocking_pipe;

// Two hogs hand it from P to P, all the time.
TEST_F(thread_pin, stays_on_its_thread_through_every_wait) {
  for (const int processors : {1, 2, 4}) {
    weft::run({.maxprocs = processors}, [&] {
      std::atomic<bool> over{false};
      weft::chan<int> ping, pong;
      weft::mutex m;
      int ends[2];
      ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
      weft::net::fd here(ends[0]), there(ends[1]);
      weft::scope s;
      s.go([ping, pong] {
        for (int v : ping) pong.send(v + 1);
      });
      s.go([&] {
        char byte;
        while (there.read_some(std::span(&byte, 1)) == 1) there.write_some(std::span(&byte, 1));
      });
      for (int i = 0; i < 2; ++i) {
        s.go([&] {
          while (!over.load(std::memory_order_relaxed)) {
            m.lock();
            weft::yield();
            m.unlock();
          }
        });
      }
      auto pinned = weft::spawn([&] {
        const weft::thread_pin stays;
        const pid_t thread = this_thread();
        for (int i = 0; i < 20; ++i) {
          ping.send(i);
          EXPECT_EQ(pong.recv(), i + 1);
          EXPECT_EQ(this_thread(), thread) << "a channel";
          weft::yield();
          EXPECT_EQ(this_thread(), thread) << "yield";
          weft::sleep_for(10us);
          EXPECT_EQ(this_thread(), thread) << "a sleep";
          m.lock();
          m.unlock();
          EXPECT_EQ(this_thread(), thread) << "a mutex";
          char byte = 'b';
          here.write_some(std::span(&byte, 1));
          here.read_some(std::span(&byte, 1));
          EXPECT_EQ(this_thread(), thread) << "a socket";
          weft::blocking([] {});
          weft::spawn([] {}).join();
          EXPECT_EQ(this_thread(), thread) << "a join";
        }
      });
      pinned.join();
      over.store(true);
      ping.close();
      here.close();
      s.join();
    });
  }
}

TEST_F(thread_pin, more_pinned_fibers_than_processors_have_a_thread_each) {
  weft::run({.maxprocs = 2}, [] {
    std::set<pid_t> threads;
    weft::mutex m;
    weft::latch all_are_pinned(16);
    weft::scope s;
    for (int i = 0; i < 16; ++i) {
      s.go([&] {
        const weft::thread_pin stays;
        {
          const std::lock_guard lock(m);
          threads.insert(this_thread());
        }
        all_are_pinned.arrive_and_wait();
      });
    }
    s.join();
    EXPECT_EQ(threads.size(), 16u);
  });
}

// Its P goes to the others while it waits, and while it blocks.
TEST_F(thread_pin, others_go_on_beside_a_pinned_main_that_blocks) {
  weft::run({.maxprocs = 1}, [&] {
    const weft::thread_pin stays;
    weft::chan<void> ran;
    weft::go([&, ran] {
      unblock();
      ran.send();
    });
    block_in_read();
    ran.recv();
  });
}

TEST_F(thread_pin, nests_and_is_given_back_by_the_outermost) {
  weft::run({.maxprocs = 1}, [] {
    auto outer = std::make_unique<weft::thread_pin>();
    auto inner = std::make_unique<weft::thread_pin>();
    outer.reset();  // in any order
    const pid_t thread = this_thread();
    std::atomic<bool> ran{false};
    weft::go([&] {
      EXPECT_NE(this_thread(), thread) << "the thread is still the pinned fiber's";
      ran.store(true);
    });
    until([&] { return ran.load(); });
    inner.reset();
    until([&] {  // now it is anybody's
      return weft::spawn([] { return this_thread(); }).join() == thread;
    });
  });
}

TEST_F(thread_pin, ends_with_an_exception_and_with_its_fiber) {
  weft::run({.maxprocs = 2}, [] {
    for (int i = 0; i < 200; ++i) {
      auto throws = weft::spawn([] {
        const weft::thread_pin stays;
        weft::yield();
        throw std::runtime_error("ended");
      });
      EXPECT_THROW(throws.join(), std::runtime_error);
      auto waits = weft::spawn([] {
        const weft::thread_pin stays;
        weft::chan<void>().recv();
      });
      waits.cancel();
      EXPECT_THROW(waits.join(), weft::fiber_cancelled);
    }
  });
}

TEST_F(thread_pin, does_nothing_on_a_plain_thread) {
  const weft::thread_pin without_a_runtime;
  weft::run([] {
    std::thread plain([] { const weft::thread_pin stays; });
    weft::blocking([&] { plain.join(); });
  });
}

TEST_F(thread_pin, in_a_pinned_main_leaves_it_pinned) {
  const pid_t caller = this_thread();
  weft::run({.maxprocs = 2, .pin_main = true}, [&] {
    { const weft::thread_pin stays; }
    for (int i = 0; i < 100; ++i) {
      weft::spawn([] { weft::yield(); }).join();
      EXPECT_EQ(this_thread(), caller);
    }
  });
}

TEST_F(thread_pin, more_than_there_may_be_threads_go_on) {
  weft::run({.maxprocs = 2, .max_threads = 2}, [] {
    weft::chan<int> there, back;
    weft::scope s;
    for (int i = 0; i < 6; ++i) {
      s.go([=] {
        std::optional<weft::thread_pin> stays;
        try {
          stays.emplace();
        } catch (const std::system_error& e) {
          EXPECT_EQ(e.code(), std::errc::resource_unavailable_try_again);
        }
        for (int v : there) back.send(v);
      });
    }
    s.go([=] {
      for (int i = 0; i < 300; ++i) there.send(i);
      there.close();
    });
    for (int i = 0; i < 300; ++i) EXPECT_TRUE(back.recv().has_value());
    s.join();
  });
}

TEST_F(thread_pin, is_gone_in_the_child_of_a_fork) {
  if (weft_test::has_thread_sanitizer) GTEST_SKIP() << "it holds the child back";
  weft::run([] {
    pid_t child = 0;
    {
      const weft::thread_pin stays;
      child = fork();
    }
    if (child == 0) _exit(7);
    int status = 0;
    weft::blocking([&] { waitpid(child, &status, 0); });
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  });
}

TEST(thread_pin_death, destroyed_in_another_fiber_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(weft::run([] {
                auto pin = weft::spawn([] { return std::make_unique<weft::thread_pin>(); }).join();
                pin.reset();
              }),
              testing::ExitedWithCode(2), "thread_pin: destroyed in another fiber");
}

}  // namespace
