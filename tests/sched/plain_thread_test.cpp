// SPDX-License-Identifier: Apache-2.0
//
// Plain threads that wait among fibers: for a socket while every P is busy or main is in blocking(f), in destructors of
// their thread_locals, and while the runtime ends; and a plain thread that changes the number of Ps then.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <weft/debug.hpp>
#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "runtime/sched/scheduler.hpp"
#include "tests/support/until_waiting.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until;
using weft_test::until_waiting;

class plain_thread : public testing::Test {
 private:
  weft_test::watchdog watchdog_{60s};
};

void until_raised(const std::atomic<bool>& flag) {
  while (!flag.load()) std::this_thread::yield();
}

// One P. Main loses it to another thread, which finds nothing to do and waits for sockets; main takes it back and keeps
// it, so that the other thread has none when the byte comes.
TEST_F(plain_thread, gets_what_it_reads_while_no_processor_is_idle) {
  weft::run({.maxprocs = 1}, [] {
    constexpr int rounds = 30;
    int socket[2], hold[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket), 0);
    ASSERT_EQ(pipe2(hold, O_CLOEXEC), 0);
    weft::net::fd ours(socket[0]);
    std::atomic<int> got{0};
    std::thread reader([&] {
      char byte;
      while (got.load() < rounds) {
        EXPECT_EQ(ours.read_some(std::span(&byte, 1)), 1u);
        got.fetch_add(1);
      }
    });
    std::atomic<std::int64_t> taken{0};  // how often a P had been taken when main went into its read
    std::atomic<int> holds{0};
    std::thread releaser([&] {
      for (int i = 1; i <= rounds; ++i) {
        while (holds.load() < i || weft::debug::stats().handoffs == taken.load()) usleep(50);
        usleep(300);  // no event says that the other thread waits for sockets
        EXPECT_EQ(write(hold[1], "x", 1), 1);
      }
    });
    for (int i = 1; i <= rounds; ++i) {
      taken.store(
          weft::debug::stats().handoffs);  // before it gets its P back, which is then the last one that it loses
      weft::yield();
      holds.store(i);
      char byte;
      EXPECT_EQ(read(hold[0], &byte, 1), 1);
      weft::go([] {});  // takes the idle P back
      EXPECT_EQ(write(socket[1], "x", 1), 1);
      while (got.load() < i) {
      }
    }
    weft::blocking([&] {
      releaser.join();
      reader.join();
    });
    for (const int each : {socket[1], hold[0], hold[1]}) close(each);
  });
}

// Main is the only fiber, and keeps its P; beside idle Ps nobody has slept in the poller before. An echo takes two
// edges, so 10 ms and more if only the monitor looked there. Enough quick ones: a loaded machine may delay some.
TEST_F(plain_thread, hears_of_sockets_at_once_while_main_is_in_blocking) {
  for (const int processors : {1, 2, 4, 16}) {
    weft::run({.maxprocs = processors}, [&] {
      constexpr int enough = 10;
      int quick = 0;
      auto listener = weft::net::listen("127.0.0.1:0");
      std::thread server([&] {
        auto stream = *listener.accept();
        char byte;
        while (stream.read_some(std::span(&byte, 1)) == 1) stream.write_all(std::span<const char>(&byte, 1));
      });
      std::thread client([&, where = listener.local_endpoint().to_string()] {
        auto stream = weft::net::connect(where);
        char byte = 'x';
        for (int i = 0; i < 40 * enough && quick < enough; ++i) {
          const auto began = weft::clock::now();
          stream.write_all(std::span<const char>(&byte, 1));
          stream.read_exactly(std::span(&byte, 1));
          if (weft::clock::now() - began < 5ms) ++quick;
        }
      });
      weft::blocking([&] {
        client.join();
        server.join();
      });
      EXPECT_EQ(quick, enough) << processors << " Ps";
    });
  }
}

// ---- destructors of thread_locals ----

struct at_thread_end {
  std::function<void()> then;
  ~at_thread_end() {
    if (then) then();
  }
};

thread_local at_thread_end made_first,
    made_second;  // so destroyed in the other order, and after whatever weft made later

/// A thread that has them, and then waits in weft, or has not.
template <class F>
std::thread with_destructors(std::function<void()> last, std::function<void()> last_but_one, F body) {
  return std::thread([last = std::move(last), last_but_one = std::move(last_but_one), body]() mutable {
    made_first.then = std::move(last);
    made_second.then = std::move(last_but_one);
    body();
  });
}

void wait_a_little() { EXPECT_FALSE(weft::chan<int>().recv_for(100us).value.has_value()); }

template <class Body>
void two_wait_and_each_gets_its_own(Body before) {
  weft::run({.maxprocs = 2, .deadlock = weft::deadlock_policy::off}, [&] {
    weft::chan<int> a, b;
    std::atomic<bool> ending{false};
    std::atomic<int> got_a{-1}, got_b{-1};
    std::thread one = with_destructors(
        [&, a] {
          ending.store(true);
          got_a.store(a.recv().value_or(-2));
        },
        nullptr, before);
    until([&] { return ending.load(); });
    until_waiting(1);
    std::thread another([&, b] { got_b.store(b.recv().value_or(-2)); });
    until_waiting(2);
    a.send(1);
    b.send(2);
    weft::blocking([&] {
      one.join();
      another.join();
    });
    EXPECT_EQ(got_a.load(), 1);
    EXPECT_EQ(got_b.load(), 2);
  });
}

TEST_F(plain_thread, that_waits_once_more_in_the_destructor_of_a_thread_local_gets_its_own) {
  two_wait_and_each_gets_its_own(wait_a_little);
}

TEST_F(plain_thread, that_waits_for_the_first_time_in_the_destructor_of_a_thread_local_gets_its_own) {
  two_wait_and_each_gets_its_own([] {});
}

TEST_F(plain_thread, that_waits_in_two_destructors_gets_its_own_in_each) {
  for (const bool waited_before : {false, true}) {
    weft::run({.maxprocs = 2, .deadlock = weft::deadlock_policy::off}, [&] {
      constexpr int count = 4;
      std::vector<weft::chan<int>> first(count), second(count);
      std::vector<std::thread> threads;
      for (int i = 0; i < count; ++i) {
        first[i] = weft::chan<int>();
        second[i] = weft::chan<int>();
        threads.push_back(with_destructors([c = second[i], i] { EXPECT_EQ(c.recv(), 100 + i); },
                                           [c = first[i], i] { EXPECT_EQ(c.recv(), i); },
                                           [waited_before] {
                                             if (waited_before) wait_a_little();
                                           }));
      }
      for (auto* round : {&first, &second}) {
        until_waiting(count);
        for (int i = count - 1; i >= 0; --i) (*round)[i].send(round == &first ? i : 100 + i);
      }
      weft::blocking([&] {
        for (std::thread& t : threads) t.join();
      });
    });
  }
}

// ---- at the end of a run ----

/// True if `wait` was ended by the end of the runtime.
template <class F>
bool is_called_off(F wait) {
  try {
    wait();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::operation_canceled) << error.what();
    return true;
  }
  return false;
}

/// Leaves a fiber behind that is still at its clean-up when main has returned and everybody has been cancelled: `f` is
/// that clean-up, shielded.
template <class F>
void at_the_cancelling(F f) {
  weft::chan<void> begun;
  weft::go([begun, f]() mutable {
    struct clean_up {
      F& what;
      ~clean_up() { weft::shield(what); }
    } const last{f};
    begun.send();
    weft::chan<void>().recv();
  });
  begun.recv();
}

TEST_F(plain_thread, that_waits_when_main_returns_is_called_off) {
  weft::chan<int> never;
  std::atomic<bool> called_off{false};
  std::thread thread;
  weft::run({.maxprocs = 2}, [&] {
    thread = std::thread([&] { called_off.store(is_called_off([&] { never.recv(); })); });
    until_waiting(1);
  });
  thread.join();
  EXPECT_TRUE(called_off.load());
}

struct kind_of_wait {
  const char* name;
  std::function<void()> wait;
};

std::vector<kind_of_wait> waits_without_end() {
  return {
      {"recv", [] { weft::chan<int>().recv(); }},
      {"send", [] { weft::chan<int>().send(1); }},
      {"recv_for", [] { (void)weft::chan<int>().recv_for(1h); }},
      {"recv of nil", [] { weft::chan<int>(nullptr).recv(); }},
      {"select", [] { weft::select(weft::on_recv(weft::chan<int>()), weft::on_timeout(1h)); }},
      {"sleep_for", [] { weft::sleep_for(1h); }},
      {"accept", [] { weft::net::listen("127.0.0.1:0").accept(); }},
      {"wait_group::wait",
       [] {
         weft::wait_group w;
         w.add(1);
         w.wait();
       }},
      {"semaphore::acquire", [] { weft::semaphore(0).acquire(); }},
      {"event::wait", [] { weft::event().wait(); }},
      {"latch::wait", [] { weft::latch(1).wait(); }},
      {"condition_variable::wait",
       [] {
         weft::mutex m;
         std::unique_lock lock(m);
         weft::condition_variable().wait(lock);
       }},
  };
}

// The run cannot return before: a fiber that it has cancelled is still at its clean-up.
TEST_F(plain_thread, that_begins_a_wait_between_the_end_of_main_and_that_of_the_run_is_called_off) {
  std::atomic<bool> cancelling{false}, done{false};
  std::thread thread([&] {
    until_raised(cancelling);
    for (const auto& [name, wait] : waits_without_end()) EXPECT_TRUE(is_called_off(wait)) << name;
    done.store(true);
  });
  weft::run({.maxprocs = 2}, [&] {
    at_the_cancelling([&] {
      cancelling.store(true);
      until([&] { return done.load(); });
    });
  });
  thread.join();
}

TEST_F(plain_thread, that_waits_is_called_off_though_it_waits_again_and_again) {
  std::atomic<bool> done{false};
  weft::chan<int> never;
  std::thread thread;
  weft::run({.maxprocs = 2}, [&] {
    at_the_cancelling([&] { until([&] { return done.load(); }); });
    thread = std::thread([&] {
      for (int i = 0; i < 100; ++i) EXPECT_TRUE(is_called_off([&] { never.recv(); }));
      done.store(true);
    });
    until_waiting(2);
  });
  thread.join();
}

// It waits on its thread, as a plain one would, but the end of the run waits for it.
TEST_F(plain_thread, that_a_fiber_blocks_by_a_wait_at_the_end_of_a_run_is_not_called_off) {
  weft::chan<int> c;
  std::atomic<bool> begun{false}, main_has_ended{false};
  std::optional<int> got;
  std::thread sender([&, c] {
    until_raised(main_has_ended);
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();  // while the others are cancelled
    while (c.try_send(1) != weft::chan_status::ok) std::this_thread::yield();
  });
  weft::run({.maxprocs = 2}, [&] {
    weft::go([&, c] {
      weft::blocking([&] {
        begun.store(true);
        got = c.recv();
      });
    });
    until([&] { return begun.load(); });
    until_waiting(1);
    main_has_ended.store(true);
  });
  sender.join();
  EXPECT_EQ(got, 1);
}

// Nobody has to reckon with an exception from `lock`.
TEST_F(plain_thread, that_locks_a_mutex_at_the_end_of_a_run_gets_the_lock) {
  std::atomic<bool> held{false}, locked{false};
  weft::mutex m;
  std::thread thread([&] {
    until_raised(held);
    m.lock();
    locked.store(true);
    m.unlock();
  });
  weft::run({.maxprocs = 2}, [&] {
    at_the_cancelling([&] {
      {
        const std::lock_guard lock(m);
        held.store(true);
        until_waiting(1);
      }
      until([&] { return locked.load(); });
    });
  });
  thread.join();
}

// Rounds in which the end meets the thread anywhere in its loop.
TEST_F(plain_thread, that_receives_in_a_loop_is_called_off_wherever_the_end_of_the_run_meets_it) {
  for (int round = 0; round < 50; ++round) {
    weft::chan<int> c;
    std::atomic<bool> ended{false};
    std::thread thread;
    weft::run({.maxprocs = 2, .deadlock = weft::deadlock_policy::off}, [&] {
      at_the_cancelling([&] { until([&] { return ended.load(); }); });
      thread = std::thread([&, c] {
        EXPECT_TRUE(is_called_off([&] {
          while (c.recv()) {
          }
        }));
        ended.store(true);
      });
      weft::chan<void> flows;
      weft::go([c, flows] {
        for (int i = 0;; ++i) {
          c.send(i);
          if (i == 10) flows.close();
        }
      });
      flows.recv();
      for (int i = 0; i < round; ++i) weft::yield();
    });
    thread.join();
  }
}

/// Off the runtime: until `count` plain threads wait.
void watch_until_waiting(std::size_t count) {
  while (weft_test::waiting() < count) std::this_thread::yield();
}

TEST_F(plain_thread, that_was_called_off_waits_as_long_as_it_takes_afterwards) {
  weft::chan<int> never, c, d;
  std::thread receiver, sender;
  for (int run = 0; run < 2; ++run) {
    std::atomic<bool> over{false};
    weft::run({.maxprocs = 2}, [&] {
      receiver = std::thread([&] {
        EXPECT_TRUE(is_called_off([&] { never.recv(); }));
        until_raised(over);
        EXPECT_EQ(c.recv(), 1);
        d.send(2);
        EXPECT_EQ(c.recv(), 3);  // a fiber of the next run sends it
      });
      until_waiting(1);
    });
    over.store(true);
    watch_until_waiting(1);
    sender = std::thread([&] {
      c.send(1);
      EXPECT_EQ(d.recv(), 2);
    });
    sender.join();
    watch_until_waiting(1);
    weft::run({.maxprocs = 2}, [&] { c.send(3); });
    receiver.join();
  }
}

// ---- timers ----

// The kernel may take the CPU from a thread that holds a heap's lock, for as long as others have it. If the heap were a
// P's, its holder would wait for that thread at each sleep.
TEST_F(plain_thread, whose_timers_are_in_the_heap_of_no_processor) {
  using weft::rt::sched;
  weft::run({.maxprocs = 2}, [] {
    std::thread([] {
      std::vector<weft::timer> timers;
      for (int i = 0; i < 32; ++i) timers.emplace_back(1h);
      for (int i = 0; i < weft::maxprocs(); ++i) EXPECT_EQ(sched.all_ps[i].load()->timers.size(), 0u);
      unsigned found = 0;
      for (const auto& heap : sched.foreign_timers) found += heap.size();
      EXPECT_EQ(found, timers.size());
    }).join();
  });
}

// ---- the number of Ps ----

TEST_F(plain_thread, that_sets_maxprocs_at_the_end_of_a_run_leaves_no_trace) {
  std::atomic<bool> over{false};
  std::thread setter([&] {
    for (int n = 0; !over.load(); ++n) {
      try {
        weft::set_maxprocs(1 + n % 4);
      } catch (const std::logic_error&) {
      }
    }
  });
  for (int round = 0; round < 200; ++round) {
    weft::run({.maxprocs = 2}, [] {
      weft::scope s;
      for (int i = 0; i < 4; ++i) s.go(weft::yield);
      s.join();
    });
    EXPECT_EQ(weft::maxprocs(), 0) << "no runtime runs";
  }
  over.store(true);
  setter.join();
  EXPECT_EQ(weft::maxprocs(), 0);
}

}  // namespace
