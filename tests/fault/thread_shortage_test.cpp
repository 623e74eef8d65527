// SPDX-License-Identifier: Apache-2.0
//
// The system has no thread to give, for a while or for the whole of a run: what there is goes on with the threads that
// there are, and no wake is lost between a thread that could not be had and the next one that can. pthread_create is
// this program's own; it refuses while a `shortage` lasts.

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <span>
#include <string>
#include <thread>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "tests/support/blocking_pipe.hpp"
#include "tests/support/captured_stderr.hpp"
#include "tests/support/until_waiting.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until;

std::atomic<bool> none_to_be_had{false};
std::atomic<int> but_for{0};  // so many all the same
std::atomic<int> refused{0};
std::atomic<void (*)()> before_refusal{nullptr};  // called in place of starting the thread

int start_thread(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument);

}  // namespace

extern "C" {

// ThreadSanitizer's own, which has to hear of every thread; where it is a library of its own, RTLD_NEXT finds it.
[[gnu::weak]] int __interceptor_pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument) {
  return start_thread(thread, attributes, body, argument);
}

}  // extern "C"

namespace {

int start_thread(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument) {
  if (none_to_be_had.load() && but_for.fetch_sub(1) <= 0) {
    if (void (*f)() = before_refusal.load()) f();
    refused.fetch_add(1);
    return EAGAIN;
  }
  if (__interceptor_pthread_create != nullptr) return __interceptor_pthread_create(thread, attributes, body, argument);
  static const auto real = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return real(thread, attributes, body, argument);
}

class shortage {
 public:
  shortage() { refused.store(0); }
  ~shortage() { end(); }
  shortage(const shortage&) = delete;
  shortage& operator=(const shortage&) = delete;

  void begin(int first_give = 0) {
    but_for.store(first_give);
    none_to_be_had.store(true);
  }
  void end() { none_to_be_had.store(false); }
};

using thread_shortage = weft_test::blocking_pipe;

struct shape {
  int processors;
  bool pinned;
};

std::string name_of(const testing::TestParamInfo<shape>& info) {
  return std::string(info.param.pinned ? "pinned" : "free") + "_main_on_" + std::to_string(info.param.processors);
}

// No thread beside the caller's and the monitor's.
class no_thread_ever : public thread_shortage, public testing::WithParamInterface<shape> {
 protected:
  template <class F>
  void run_alone(F f) {
    shortage none;
    none.begin(1);
    weft::run({.maxprocs = GetParam().processors, .pin_main = GetParam().pinned}, f);
  }
};

TEST_P(no_thread_ever, main_that_yields_and_the_other_fiber_go_on) {
  run_alone([] {
    std::atomic<int> turns{0};
    weft::go([&] {
      for (int i = 0; i < 10; ++i) {
        turns.fetch_add(1);
        weft::yield();
      }
      turns.fetch_add(1);
    });
    until([&] { return turns.load() == 11; });
  });
}

TEST_P(no_thread_ever, main_sleeps) {
  run_alone([] {
    for (int i = 0; i < 5; ++i) weft::sleep_for(1ms);
  });
}

TEST_P(no_thread_ever, main_sleeps_beside_a_fiber_that_yields) {
  run_alone([] {
    std::atomic<bool> over{false};
    weft::scope s;
    s.go([&] { until([&] { return over.load(); }); });
    for (int i = 0; i < 5; ++i) weft::sleep_for(1ms);
    over.store(true);
    s.join();
  });
}

TEST_P(no_thread_ever, main_hears_from_a_fiber) {
  run_alone([] {
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
  });
}

TEST_P(no_thread_ever, main_reads_what_a_fiber_writes) {
  run_alone([] {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    weft::net::fd here(ends[0]), there(ends[1]);
    weft::scope s;
    s.go([&] {
      for (int i = 0; i < 20; ++i) {
        char byte = static_cast<char>(i);
        EXPECT_EQ(there.write_some(std::span(&byte, 1)), 1u);
        EXPECT_EQ(there.read_some(std::span(&byte, 1)), 1u);
      }
    });
    for (int i = 0; i < 20; ++i) {
      char byte = -1;
      EXPECT_EQ(here.read_some(std::span(&byte, 1)), 1u);
      EXPECT_EQ(byte, i);
      EXPECT_EQ(here.write_some(std::span(&byte, 1)), 1u);
    }
    s.join();
  });
}

TEST_P(no_thread_ever, main_joins_fibers_that_block_and_sleep_and_yield) {
  run_alone([] {
    int sum = 0;
    for (int i = 0; i < 10; ++i) {
      auto f = weft::spawn([i] {
        weft::blocking([] { usleep(100); });
        weft::sleep_for(100us);
        weft::yield();
        return i;
      });
      sum += f.join();
    }
    EXPECT_EQ(sum, 45);
  });
}

TEST_P(no_thread_ever, what_main_leaves_behind_comes_to_its_end) {
  std::atomic<int> ended{0};
  run_alone([&] {
    for (int i = 0; i < 10; ++i) {
      weft::go([&ended] {
        struct at_the_end {
          std::atomic<int>& count;
          ~at_the_end() {
            weft::shield([] { weft::sleep_for(100us); });
            count.fetch_add(1);
          }
        } const counted{ended};
        weft::chan<void>().recv();
      });
    }
    while (weft_test::waiting() < 10) weft::sleep_for(100us);
  });
  EXPECT_EQ(ended.load(), 10);
}

INSTANTIATE_TEST_SUITE_P(run, no_thread_ever,
                         testing::Values(shape{1, true}, shape{2, true}, shape{1, false}, shape{2, false}), name_of);

TEST_F(thread_shortage, a_pinned_main_that_yields_goes_on_once_threads_are_to_be_had_again) {
  shortage none;
  before_refusal.store([] {
    if (refused.load() == 3) none_to_be_had.store(false);
  });
  weft::run({.maxprocs = 1, .pin_main = true}, [&] {
    none.begin();
    std::atomic<bool> ran{false};
    weft::go([&] { ran.store(true); });
    until([&] { return ran.load(); });
  });
  before_refusal.store(nullptr);
}

// Nothing happens any more in this run but that a thread could be had: main holds its own up, until the fiber that
// waits for another has run.
void goes_on_when_threads_come_back(const weft::options& with, int blocked, auto block_in_read, auto unblock) {
  shortage none;
  std::atomic<bool> over{false};  // a runtime that has a thread in store asks for none
  std::thread lifter([&] {
    while (refused.load() == 0 && !over.load()) usleep(100);
    none.end();
  });
  weft::run(with, [&] {
    std::atomic<int> begun{0};
    weft::scope s;
    for (int i = 1; i < blocked; ++i) {
      s.go([&] {
        begun.fetch_add(1);
        block_in_read();
      });
    }
    until([&] { return begun.load() == blocked - 1; });
    none.begin();
    s.go([&] {
      for (int i = 0; i < blocked; ++i) unblock();
    });
    block_in_read();
    s.join();
  });
  over.store(true);
  lifter.join();
}

TEST_F(thread_shortage, a_fiber_that_waits_for_a_thread_runs_once_one_is_to_be_had) {
  for (int round = 0; round < 3; ++round)
    goes_on_when_threads_come_back(
        {.maxprocs = 1}, 1, [&] { block_in_read(); }, [&] { unblock(); });
}

TEST_F(thread_shortage, a_fiber_that_waits_for_a_thread_beside_several_that_block_runs_once_one_is_to_be_had) {
  for (int round = 0; round < 3; ++round)
    goes_on_when_threads_come_back(
        {.maxprocs = 2}, 3, [&] { block_in_read(); }, [&] { unblock(); });
}

TEST_F(thread_shortage, a_fiber_runs_beside_a_pinned_main_once_a_thread_is_to_be_had) {
  for (int round = 0; round < 3; ++round) {
    goes_on_when_threads_come_back(
        {.maxprocs = 1, .pin_main = true}, 1, [&] { block_in_read(); }, [&] { unblock(); });
  }
}

// Two threads beside main's, both held up; what main does must need neither.
class beside_a_pinned_main : public thread_shortage, public testing::WithParamInterface<int> {
 protected:
  template <class F>
  void main_goes_on(F what_main_does) {
    weft::run({.maxprocs = GetParam(), .max_threads = 2, .pin_main = true}, [&] {
      std::atomic<int> begun{0};
      weft::scope s;
      for (int i = 0; i < 2; ++i) {
        s.go([&] {
          begun.fetch_add(1);
          block_in_read();
        });
      }
      until([&] { return begun.load() == 2; });
      s.go([&] {  // has no thread to run on until one comes back
        while (!over_.load()) {
        }
      });
      what_main_does();
      over_.store(true);
      for (int i = 0; i < 2; ++i) unblock();
      s.join();
    });
  }

 private:
  std::atomic<bool> over_{false};
};

TEST_P(beside_a_pinned_main, all_threads_are_held_up_and_main_sleeps_on) {
  main_goes_on([] {
    for (int i = 0; i < 5; ++i) weft::sleep_for(1ms);
  });
}

TEST_P(beside_a_pinned_main, all_threads_are_held_up_and_main_yields_on) {
  main_goes_on([] {
    for (int i = 0; i < 100; ++i) weft::yield();
  });
}

TEST_P(beside_a_pinned_main, all_threads_are_held_up_and_main_hears_from_a_plain_thread) {
  main_goes_on([] {
    weft::chan<int> c;
    std::thread thread([c] {
      for (int i = 0; i < 20; ++i) c.send(i);
    });
    for (int i = 0; i < 20; ++i) EXPECT_EQ(c.recv(), i);
    thread.join();
  });
}

// It is asked for its P at calls that find no other thread.
TEST_P(beside_a_pinned_main, a_fiber_that_starts_others_and_never_waits_leaves_main_its_turn) {
  weft::run({.maxprocs = GetParam(), .max_threads = 2, .pin_main = true}, [&] {
    std::atomic<bool> over{false};
    weft::scope s;
    s.go([&] { block_in_read(); });
    for (int i = 0; i < GetParam(); ++i) {
      s.go([&] {
        while (!over.load()) {
          weft::go([] {});
          for (int k = 0; k < 10'000 && !over.load(); ++k) {
          }
        }
      });
    }
    for (int i = 0; i < 3; ++i) weft::sleep_for(1ms);
    over.store(true);
    unblock();
    s.join();
  });
}

// Threads can be had now and then; whatever main's thread would run instead of main might never let go of it.
TEST_P(beside_a_pinned_main, a_fiber_that_never_waits_does_not_get_its_thread) {
  shortage none;
  std::atomic<bool> begun{false}, over{false};
  std::thread at_whim([&] {
    while (!begun.load()) usleep(100);
    while (!over.load()) {
      none.begin();
      usleep(500);
      none.end();
      usleep(100);
    }
  });
  weft::run({.maxprocs = GetParam(), .max_threads = 6, .pin_main = true}, [&] {
    begun.store(true);
    weft::scope s;
    for (int i = 0; i < 3; ++i) {
      s.go([&] {
        while (!over.load()) {
          weft::blocking([] { usleep(500); });
          weft::go([] {});
        }
      });
    }
    for (int i = 0; i < 50; ++i) weft::sleep_for(100us);
    over.store(true);
    s.join();
  });
  at_whim.join();
}

INSTANTIATE_TEST_SUITE_P(processors, beside_a_pinned_main, testing::Values(1, 2));

// The P that nobody could take lies idle, nothing is ready, and the timer is still to come.
TEST_F(thread_shortage, a_sleeper_wakes_though_a_thread_was_refused_while_nothing_was_ready) {
  for (int round = 0; round < 5; ++round) {
    shortage none;
    before_refusal.store([] {
      if (refused.load() == 0) none_to_be_had.store(false);
    });
    weft::run({.maxprocs = 1}, [&] {
      std::atomic<bool> woke{false};
      weft::scope s;
      s.go([&] {
        weft::sleep_for(10ms);
        woke.store(true);
        unblock();
      });
      until([&] { return weft_test::waiting() == 1 || woke.load(); });
      none.begin();
      s.go([&] { block_in_read(); });
      s.join();
    });
    before_refusal.store(nullptr);
  }
}

thread_local bool may_take_its_time = false;
std::atomic<bool> main_has_ended{false};

// The plain thread's wake is refused a thread only when the run is past everything but the count of its threads.
TEST_F(thread_shortage, a_run_ends_though_a_thread_is_refused_to_a_plain_thread_at_the_end) {
  shortage none;
  main_has_ended.store(false);
  before_refusal.store([] {
    if (!may_take_its_time) return;
    while (!main_has_ended.load()) usleep(100);
    usleep(20'000);  // no event says that `run` is as far as that
  });
  weft::chan<int> c;
  std::atomic<bool> send{false};
  std::thread plain([&, c] {
    may_take_its_time = true;
    while (!send.load()) usleep(100);
    c.send(1);
  });
  weft::run({.maxprocs = 2}, [&] {
    none.begin();
    weft::scope s;
    s.go([c] { EXPECT_EQ(c.recv(), 1); });
    weft_test::until_waiting(1);
    send.store(true);
    until([&] { return weft::num_fibers() == 1; });
    s.join();
    main_has_ended.store(true);
  });
  plain.join();
  before_refusal.store(nullptr);
}

TEST_F(thread_shortage, is_said_once_in_a_run) {
  for (int run = 0; run < 2; ++run) {
    weft_test::captured_stderr said;
    shortage none;
    weft::run({.maxprocs = 2}, [&] {
      none.begin();
      weft::scope s;
      while (refused.load() < 3) {
        s.go([] {});  // for the other processor, which has no thread
        weft::yield();
      }
      s.join();
    });
    const std::string text = said.read_all();
    EXPECT_TRUE(text.starts_with("weft: cannot start a thread beside the ")) << text;
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  }
}

}  // namespace
