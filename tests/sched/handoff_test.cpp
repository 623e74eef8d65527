// SPDX-License-Identifier: Apache-2.0
//
// One P, and a fiber that holds up its thread: the others go on. Each test is a deadlock without the hand-off, since
// what holds the thread up ends only after the others have made a hundred round trips.

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <weft/debug.hpp>
#include <weft/weft.hpp>

#include "runtime/sched/scheduler.hpp"
#include "tests/support/blocking_pipe.hpp"
#include "tests/support/captured_stderr.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until;

using handoff = weft_test::blocking_pipe;

void hundred_round_trips() {
  weft::chan<int> ping, pong;
  weft::scope s;
  s.go([ping, pong] {
    for (int v : ping) pong.send(v + 1);
  });
  for (int i = 0; i < 100; ++i) {
    ping.send(i);
    ASSERT_EQ(pong.recv(), i + 1);
  }
  ping.close();
  s.join();
}

// `block` begins, a hundred round trips are made, `unblock` ends it.
template <class Block, class Unblock>
void others_go_on(Block block, Unblock unblock) {
  weft::run({.maxprocs = 1}, [&] {
    std::atomic<bool> begun{false}, ended{false};
    weft::scope s;
    s.go([&] {
      begun.store(true);
      block();
      ended.store(true);
    });
    until([&] { return begun.load(); });
    hundred_round_trips();
    EXPECT_FALSE(ended.load());
    unblock();
    s.join();
    EXPECT_TRUE(ended.load());
    EXPECT_EQ(weft::maxprocs(), 1);
  });
}

TEST_F(handoff, others_go_on_while_one_is_in_read) {
  others_go_on([&] { block_in_read(); }, [&] { unblock(); });
}

// Then the system cannot be asked whether that thread sleeps. No member of a fixture is called meanwhile:
// UBSan needs a descriptor to look at one.
TEST_F(handoff, others_go_on_while_one_is_in_read_and_no_descriptor_is_free) {
  int pipe[2];
  ASSERT_EQ(pipe2(pipe, O_CLOEXEC), 0);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 256;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  ssize_t got = -1;
  int error = 0;
  others_go_on(
      [&] {
        std::vector<int> all;
        for (int fd = dup(0); fd >= 0; fd = dup(0)) all.push_back(fd);
        error = errno;
        char byte;
        got = read(pipe[0], &byte, 1);
        for (const int fd : all) close(fd);
      },
      [&] { EXPECT_EQ(write(pipe[1], "x", 1), 1); });
  EXPECT_EQ(error, EMFILE);
  EXPECT_EQ(got, 1);
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  close(pipe[0]);
  close(pipe[1]);
}

TEST_F(handoff, others_go_on_while_one_is_in_blocking) {
  others_go_on([&] { weft::blocking([&] { block_in_read(); }); }, [&] { unblock(); });
}

TEST_F(handoff, others_go_on_while_one_burns_cpu) {
  std::atomic<bool> stop{false};
  others_go_on(
      [&] {
        while (!stop.load(std::memory_order_relaxed)) {
        }
      },
      [&] { stop.store(true); });
}

TEST_F(handoff, others_go_on_while_one_waits_for_the_lock_of_a_file) {
  char name[] = "/tmp/weft_flock_XXXXXX";
  const int held = mkstemp(name);
  ASSERT_GE(held, 0);
  const int wanted = open(name, O_RDWR | O_CLOEXEC);
  ASSERT_GE(wanted, 0);
  ASSERT_EQ(flock(held, LOCK_EX), 0);
  others_go_on([&] { EXPECT_EQ(flock(wanted, LOCK_EX), 0); }, [&] { EXPECT_EQ(flock(held, LOCK_UN), 0); });
  close(wanted);
  close(held);
  unlink(name);
}

TEST_F(handoff, timers_go_on_while_one_is_in_read) {
  others_go_on([&] { block_in_read(); },
               [&] {
                 for (int i = 0; i < 10; ++i) weft::sleep_for(100us);
                 unblock();
               });
}

// It may hold what the others wait for, so it does not queue behind thousands that were there before it.
TEST_F(handoff, a_fiber_that_has_lost_its_processor_goes_on_ahead_of_the_global_queue) {
  weft::run({.maxprocs = 1}, [&] {
    int ran_before_it = 0;
    for (bool disturbed = true; disturbed;) {
      weft::sleep_for(11ms);  // more than a slice: after an earlier turn of such a fiber the others have had theirs
      std::atomic<bool> begun{false}, back{false};
      std::atomic<int> ran{0}, ran_when_back{0};
      weft::scope s;
      const auto before = weft::debug::stats().handoffs;
      s.go([&] {
        begun.store(true);
        block_in_read();
        weft::yield();  // without a P
        ran_when_back.store(ran.load());
        back.store(true);
      });
      until([&] { return begun.load() && weft::debug::stats().handoffs != before; });
      const auto after = weft::debug::stats().handoffs;
      for (int i = 0; i < 2000; ++i) s.go([&] { ran.fetch_add(1); });
      unblock();
      while (!weft::rt::sched.urgent_in_global() && !back.load()) {
      }
      s.join();
      ran_before_it = ran_when_back.load();
      disturbed = weft::debug::stats().handoffs != after;  // some ran beside this fiber while it had lost its P
    }
    EXPECT_LT(ran_before_it, 1000);
  });
}

// Nobody else is runnable when the thread blocks: the timer alone must bring the P back.
TEST_F(handoff, a_sleeper_wakes_though_the_only_processor_is_held_by_a_read) {
  weft::run({.maxprocs = 1}, [&] {
    weft::scope s;
    s.go([&] { block_in_read(); });
    weft::sleep_for(5ms);
    unblock();
    s.join();
  });
}

TEST_F(handoff, a_plain_thread_is_served_though_the_only_processor_is_held_by_a_read) {
  weft::run({.maxprocs = 1}, [&] {
    weft::chan<int> c;
    std::thread thread([&, c] {
      for (int i = 0; i < 100; ++i) c.send(i);
      unblock();
    });
    weft::scope s;
    long sum = 0;
    s.go([&, c] {
      for (int i = 0; i < 100; ++i) sum += *c.recv();
    });
    block_in_read();
    s.join();
    EXPECT_EQ(sum, 4950);
    weft::blocking([&] { thread.join(); });
  });
}

TEST_F(handoff, two_burners_on_one_processor_both_come_to_their_end) {
  weft::run({.maxprocs = 1}, [] {
    // Each burns until the other has begun, so each must run while the other does.
    std::atomic<int> begun{0};
    weft::scope s;
    for (int i = 0; i < 2; ++i) {
      s.go([&] {
        begun.fetch_add(1);
        while (begun.load(std::memory_order_relaxed) < 2) {
        }
      });
    }
    s.join();
  });
}

int threads_of_process() {
  int count = 0;
  DIR* tasks = opendir("/proc/self/task");
  while (const dirent* entry = readdir(tasks)) count += entry->d_name[0] != '.';
  closedir(tasks);
  return count;
}

TEST_F(handoff, no_more_threads_than_max_threads_and_that_is_said_once_in_a_run) {
  constexpr int most = 4, readers = 20;
  const int before = threads_of_process();
  weft_test::captured_stderr said;
  weft::run({.maxprocs = 2, .max_threads = most}, [&] {
    std::atomic<int> begun{0}, ended{0};
    int seen = 0;
    // All but the first few readers can only begin once others have been let go; the plain thread does that in the end.
    std::thread observer([&] {
      while (begun.load() < most + 1) std::this_thread::yield();  // with the caller's
      said.read_until("\n");
      while (ended.load() < readers) {
        seen = std::max(seen, threads_of_process());
        const int so_far = ended.load();
        unblock();
        while (ended.load() == so_far) std::this_thread::yield();
      }
    });
    weft::scope s;
    for (int i = 0; i < readers; ++i) {
      s.go([&] {
        begun.fetch_add(1);
        block_in_read();
        ended.fetch_add(1);
      });
    }
    s.join();
    weft::blocking([&] { observer.join(); });
    EXPECT_EQ(ended.load(), readers);
    EXPECT_LE(seen, before + most + 2) << "beside the program's: the monitor, and the observer";
  });
  const std::string text = said.read_all();
  EXPECT_TRUE(text.starts_with("weft: options::max_threads = 4 is reached: ")) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  EXPECT_NE(text.find("raise it"), std::string::npos) << text;
}

// Threads that block are replaced while there are some to be had, and nobody is told.
TEST_F(handoff, as_long_as_threads_are_to_be_had_nothing_is_said) {
  weft_test::captured_stderr said;
  weft::run({.maxprocs = 1, .max_threads = 3}, [&] {
    weft::scope s;
    for (int i = 0; i < 2; ++i) s.go([&] { block_in_read(); });
    hundred_round_trips();
    for (int i = 0; i < 2; ++i) unblock();
    s.join();
  });
  EXPECT_EQ(said.read_all(), "");
}

// They never wait, so all threads are theirs, and at the limit there are no others. One P more than there are threads: it
// lies idle; one P alone: it is that of the fiber that begins its next call, and what waits is in the global queue.
TEST_F(handoff, others_go_on_beside_short_calls_that_have_all_threads) {
  weft_test::captured_stderr said;
  for (const int procs : {1, 4}) {
    weft::run({.maxprocs = procs, .max_threads = 3}, [&] {
      std::atomic<bool> over{false};
      weft::scope s;
      for (int i = 0; i < 8; ++i) {
        s.go([&] {
          while (!over.load()) weft::blocking([] { usleep(200); });
        });
      }
      hundred_round_trips();
      for (int i = 0; i < 10; ++i) weft::sleep_for(1ms);
      over.store(true);
      s.join();
    });
  }
}

// One thread is left to two fibers, so while one of them runs the other waits for its turn at the begin of a call, of which
// nothing has begun yet.
TEST_F(handoff, a_call_that_waits_for_its_turn_hears_of_its_cancellation) {
  weft_test::captured_stderr said;
  weft::run({.maxprocs = 1, .max_threads = 1}, [&] {
    std::atomic<bool> held{false}, cancelled{false}, began_after_it{false};
    std::atomic<int> calls{0};
    weft::scope s;
    s.go([&] {
      held.store(true);
      block_in_read();  // beside the caller's there is one thread
    });
    until([&] { return held.load(); });
    auto victim = weft::spawn([&] {
      for (;;) {
        weft::blocking([&] {
          if (cancelled.load()) began_after_it.store(true);
          calls.fetch_add(1);
          usleep(200);
        });
      }
    });
    while (calls.load() < 3) weft::blocking([] { usleep(200); });
    cancelled.store(true);
    victim.cancel();
    EXPECT_THROW(victim.join(), weft::fiber_cancelled);
    EXPECT_FALSE(began_after_it.load());
    unblock();
    s.join();
  });
}

// Several are due at once, behind many that have not begun, and each of these holds up the only place until it is taken.
TEST_F(handoff, those_that_are_due_go_ahead_of_many_that_have_not_begun) {
  constexpr int readers = 100, sleepers = 4;
  weft::run({.maxprocs = 1}, [&] {
    std::atomic<int> begun{0}, begun_when_back{0};
    weft::scope s;
    weft::wait_group back;
    for (int i = 0; i < sleepers; ++i) {
      back.add();
      s.go([&] {
        weft::sleep_for(2ms);
        begun_when_back.store(std::max(begun_when_back.load(), begun.load()));
        back.done();
      });
    }
    weft::yield();  // they sleep
    for (int i = 0; i < readers; ++i) {
      s.go([&] {
        begun.fetch_add(1);
        block_in_read();
      });
    }
    back.wait();
    EXPECT_LT(begun_when_back.load(), readers);
    for (int i = 0; i < readers; ++i) unblock();
    s.join();
  });
}

TEST_F(handoff, a_pinned_main_goes_on_with_two_threads_while_one_blocks) {
  weft::run({.maxprocs = 1, .max_threads = 2, .pin_main = true}, [&] {
    weft::chan<void> begun;
    weft::scope s;
    s.go([&, begun] {
      begun.send();
      weft::blocking([&] { block_in_read(); });
    });
    begun.recv();
    hundred_round_trips();
    unblock();
    s.join();
  });
}

}  // namespace
