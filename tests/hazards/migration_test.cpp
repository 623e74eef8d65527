// SPDX-License-Identifier: Apache-2.0
//
// Hazard: a compiler keeps the address of a thread_local across a switch, and the fiber that goes on elsewhere reads
// the old thread's M. So whatever the runtime says of "this" thread after a wait must be said of the thread that really
// runs. The build that inlines everything into everything (-O3 -flto -fPIC) is the one that this is meant for.

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <mutex>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include <weft/weft.hpp>

#include "runtime/sched/m.hpp"
#include "runtime/sched/park.hpp"
#include "tests/netpoll/loopback.hpp"
#include "tests/support/stress.hpp"
#include "tests/support/threads.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::hop;
using weft_test::scaled;
using weft_test::this_thread;

class migration : public weft_test::stress {};

// What the runtime believes, against what the kernel says.
void expect_at_home(std::uint64_t id) {
  ASSERT_EQ(weft::this_fiber::id(), id);
  const weft::rt::M* m = weft::rt::current_m();
  ASSERT_NE(m, nullptr);
  ASSERT_EQ(m->tid.load(), this_thread());
  ASSERT_NE(m->cur, nullptr);
  ASSERT_EQ(m->cur->id.load(), id);
}

TEST_F(migration, the_runtime_knows_its_thread_after_each_hop) {
  weft::run([] {
    const std::uint64_t id = weft::this_fiber::id();
    std::set<pid_t> threads;
    for (int i = 0; i < scaled(300); ++i) {
      const pid_t before = this_thread();
      hop();
      ASSERT_NE(this_thread(), before);
      threads.insert(this_thread());
      expect_at_home(id);
    }
    EXPECT_GE(threads.size(), 2u);
  });
}

// Several waits in one function that the compiler sees whole: nothing of the first may serve for the second.
TEST_F(migration, every_kind_of_wait_may_change_the_thread) {
  const int rounds = scaled(3000);
  std::atomic<long> moves{0};
  weft::run({.maxprocs = 4}, [&] {
    weft::scope s;
    weft::mutex mutex;
    weft::chan<std::uint64_t> c;
    for (int f = 0; f < 8; ++f) {
      s.go([&, f, c] {
        const std::uint64_t id = weft::this_fiber::id();
        ASSERT_NE(id, 0u);
        const std::string name = "fiber " + std::to_string(f);
        weft::this_fiber::set_name(name);
        pid_t last = this_thread();
        const auto look = [&] {
          expect_at_home(id);
          if (this_thread() != last) moves.fetch_add(1);
          last = this_thread();
        };
        for (int i = 0; i < rounds; ++i) {
          if (f % 2 == 0)
            c.send(id);
          else
            c.recv();
          look();
          weft::yield();
          look();
          {
            const std::lock_guard guard(mutex);
            look();
            if (i % 16 == 0) weft::yield();
            look();
          }
          if (i % 64 == 0) {
            weft::sleep_for(1us);
            look();
            weft::spawn([id] { EXPECT_NE(weft::this_fiber::id(), id); }).join();
            look();
            ASSERT_EQ(weft::this_fiber::name(), name);
          }
        }
      });
    }
    s.join();
  });
#ifdef WEFT_DEBUG_CHECKS
  EXPECT_GT(moves.load(), 0);  // this build moves at each wake
#endif
}

// errno is a thread-local, too: the call that fails after a park is made on another thread than the one before it. The
// thread that both fibers share is kept busy until the reader is through, so it goes on elsewhere.
TEST_F(migration, an_error_of_a_socket_is_that_of_the_thread_that_made_the_call) {
  std::atomic<int> moves{0};
  weft::run({.maxprocs = 1}, [&] {
    for (int i = 0; i < scaled(100); ++i) {
      auto [ours, peers] = weft_test::connected_pair();
      std::atomic<bool> through{false};
      auto reader = weft::spawn([&, &ours = ours] {
        const pid_t before = this_thread();
        std::error_code error;
        char c;
        ours.read_some(std::span(&c, 1), error);  // EAGAIN, a park, ECONNRESET
        if (this_thread() != before) moves.fetch_add(1);
        through.store(true, std::memory_order_release);
        return error;
      });
      weft_test::until_waiting(1);
      weft_test::reset_on_close(peers);
      peers.close();
      weft::blocking([&] {
        while (!through.load(std::memory_order_acquire)) {
          errno = E2BIG;
          sched_yield();
        }
      });
      ASSERT_EQ(reader.join(), std::errc::connection_reset);
    }
  });
  EXPECT_GT(moves.load(), 0);
}

TEST_F(migration, a_blocked_thread_keeps_its_fiber) {
  weft::run([] {
    const std::uint64_t id = weft::this_fiber::id();
    for (int i = 0; i < scaled(200); ++i) {
      const pid_t before = this_thread();
      std::atomic<bool> other_ran{false};
      weft::go([&] { other_ran.store(true, std::memory_order_release); });
      weft::blocking([&] {
        while (!other_ran.load(std::memory_order_acquire)) usleep(10);
        ASSERT_EQ(this_thread(), before);
        expect_at_home(id);
      });
      ASSERT_EQ(this_thread(), before) << "only a wait may move a fiber";
      expect_at_home(id);
    }
  });
}

}  // namespace
