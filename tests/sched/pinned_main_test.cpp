// SPDX-License-Identifier: Apache-2.0
//
// options::pin_main: the main fiber runs on the thread that called `run` and on no other, whatever it waits for, with a
// P and without; and it is as little forgotten as any other fiber.

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <random>
#include <span>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "tests/support/blocking_pipe.hpp"
#include "tests/support/threads.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::this_thread;
using weft_test::until;

using pinned_main = weft_test::blocking_pipe;

// The P is with the child's thread, which goes idle at about the moment at which main joins the queue.
TEST_F(pinned_main, that_yields_without_a_processor_is_not_forgotten) {
  weft::run({.maxprocs = 1, .pin_main = true}, [&] {
    std::minstd_rand random(1);
    for (int round = 0; round < 3000; ++round) {
      std::atomic<bool> yields{false}, ended{false};
      const int turns = static_cast<int>(random() % 1000);
      weft::go([&, turns] {
        unblock();
        while (!yields.load(std::memory_order_acquire)) {
        }
        volatile int turn = 0;
        while (turn < turns) turn = turn + 1;
        ended.store(true, std::memory_order_release);
      });
      block_in_read();  // it loses its P to the child
      yields.store(true, std::memory_order_release);
      while (!ended.load(std::memory_order_acquire)) weft::yield();
    }
  });
}

TEST_F(pinned_main, stays_on_the_thread_that_called_run) {
  for (const int processors : {1, 2}) {
    const pid_t caller = this_thread();
    weft::run({.maxprocs = processors, .pin_main = true}, [&] {
      weft::chan<int> ping, pong;
      weft::mutex m;
      std::atomic<bool> over{false};
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
      for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(this_thread(), caller) << "at the beginning";
        ping.send(i);
        EXPECT_EQ(pong.recv(), i + 1);
        EXPECT_EQ(this_thread(), caller) << "after a channel";
        weft::yield();
        EXPECT_EQ(this_thread(), caller) << "after yield";
        weft::sleep_for(100us);
        EXPECT_EQ(this_thread(), caller) << "after sleep_for";
        weft::blocking([&] { EXPECT_EQ(this_thread(), caller) << "in blocking"; });
        EXPECT_EQ(this_thread(), caller) << "after blocking";
        weft::go([&] { unblock(); });
        block_in_read();
        EXPECT_EQ(this_thread(), caller) << "after a read that held the thread up";
        m.lock();
        EXPECT_EQ(this_thread(), caller) << "after a mutex";
        m.unlock();
        char byte = 'x';
        here.write_some(std::span(&byte, 1));
        here.read_some(std::span(&byte, 1));
        EXPECT_EQ(this_thread(), caller) << "after a socket";
        weft::spawn([] { weft::sleep_for(50us); }).join();
        EXPECT_EQ(this_thread(), caller) << "after join";
      }
      over.store(true);
      ping.close();
      here.close();
      s.join();
      EXPECT_EQ(this_thread(), caller) << "in the end";
    });
    EXPECT_EQ(this_thread(), caller);
  }
}

TEST_F(pinned_main, goes_on_after_each_of_many_yields_beside_hogs) {
  weft::run({.maxprocs = 1, .pin_main = true}, [] {
    std::atomic<bool> over{false};
    std::atomic<int> begun{0};
    weft::scope s;
    for (int i = 0; i < 3; ++i) {
      s.go([&] {
        begun.fetch_add(1);
        while (!over.load(std::memory_order_relaxed)) {
        }
      });
    }
    until([&] { return begun.load() == 3; });
    for (int i = 0; i < 10; ++i) weft::yield();
    for (int i = 0; i < 10; ++i) weft::sleep_for(1ms);
    over.store(true);
    s.join();
  });
}

}  // namespace
