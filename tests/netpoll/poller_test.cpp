// SPDX-License-Identifier: Apache-2.0
//
// The poller itself, alone and under the scheduler: its wakes are not eaten, its time-outs are not early, and signals,
// forks and duplicates do not disturb it.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <weft/debug.hpp>

#include "netpoll/epoll.hpp"
#include "tests/netpoll/loopback.hpp"
#include "tests/support/exec_children.hpp"
#include "tests/support/signal_storm.hpp"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEFT_TEST_CLANG_TSAN 1
#endif
#endif

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::rt::epoll_poller;
using weft::rt::g_list;
using weft::rt::steady_now;

constexpr weft::rt::nanoseconds_t millisecond = 1'000'000;

class epoll : public testing::Test {
 protected:
  epoll() { EXPECT_EQ(net_.open(), 0); }
  ~epoll() override { net_.close(); }
  epoll_poller net_;
  g_list ready_;
};

TEST_F(epoll, a_wake_ends_a_sleep) {
  std::thread waker([&] { net_.wake(); });
  net_.poll(weft::rt::never, ready_);
  waker.join();
  EXPECT_EQ(ready_.head, nullptr);
}

TEST_F(epoll, a_wake_that_comes_first_is_kept_for_the_next_sleep) {
  net_.wake();
  net_.wake();
  net_.poll(weft::rt::never, ready_);
  net_.wake();
  net_.poll(weft::rt::never, ready_);
}

TEST_F(epoll, a_look_does_not_eat_the_sleepers_wake) {
  net_.wake();
  for (int i = 0; i < 100; ++i) net_.poll(0, ready_);
  net_.poll(weft::rt::never, ready_);
}

// Why the eventfd is level-triggered: the look of a busy M would eat an edge, and the sleeper sleep on.
TEST_F(epoll, an_edge_triggered_wake_would_be_eaten_by_a_look) {
  for (const bool edge : {false, true}) {
    const int kernels = epoll_create1(EPOLL_CLOEXEC), wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    epoll_event event{};
    event.events = EPOLLIN | (edge ? static_cast<std::uint32_t>(EPOLLET) : 0u);
    ASSERT_EQ(epoll_ctl(kernels, EPOLL_CTL_ADD, wake, &event), 0);
    ASSERT_EQ(eventfd_write(wake, 1), 0);
    EXPECT_EQ(epoll_wait(kernels, &event, 1, 0), 1);             // a busy M looks
    EXPECT_EQ(epoll_wait(kernels, &event, 1, 0), edge ? 0 : 1);  // the sleeper
    ::close(wake);
    ::close(kernels);
  }
}

// With wakes and looks at random moments nobody sleeps for ever.
TEST_F(epoll, no_wake_is_lost) {
  constexpr int rounds = 20'000;
  std::atomic<int> asked{0}, answered{0};
  std::atomic<bool> over{false};
  std::thread looker([&] {
    g_list nobody;
    while (!over.load()) net_.poll(0, nobody);
  });
  std::thread sleeper([&] {
    g_list nobody;
    while (answered.load() < rounds) {
      if (answered.load() == asked.load()) net_.poll(weft::rt::never, nobody);
      answered.store(asked.load());
    }
  });
  for (int i = 1; i <= rounds; ++i) {
    asked.store(i);
    net_.wake();
    while (answered.load() < i) std::this_thread::yield();
  }
  sleeper.join();
  over = true;
  looker.join();
}

TEST_F(epoll, sleeps_no_shorter_than_it_was_told) {
  for (const auto d : {weft::rt::nanoseconds_t{1}, millisecond / 10, millisecond, 3 * millisecond / 2}) {
    const auto before = steady_now();
    net_.poll(d, ready_);
    EXPECT_GE(steady_now() - before, d);
  }
}

TEST_F(epoll, rounds_up_where_the_kernel_counts_in_milliseconds) {
  net_.count_in_milliseconds();
  for (const auto d : {weft::rt::nanoseconds_t{1}, millisecond / 10, millisecond, 3 * millisecond / 2}) {
    const auto before = steady_now();
    net_.poll(d, ready_);
    EXPECT_GE(steady_now() - before, d);
  }
}

TEST_F(epoll, counts_events_that_come_too_late) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
  weft::rt::descriptor* d = weft::rt::take_descriptor();
  d->open(ends[0], false);
  ASSERT_EQ(net_.add(*d), 0);
  EXPECT_TRUE(net_.has_waiters());
  EXPECT_TRUE(d->close());
  give_back_descriptor(d);  // but the file is still open, and registered
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  net_.poll(weft::rt::never, ready_);
  EXPECT_EQ(net_.stale_events(), 1u);
  EXPECT_EQ(ready_.head, nullptr);
  net_.remove(*d);  // its slot keeps the number until it is taken anew
  EXPECT_FALSE(net_.has_waiters());
  close(ends[0]);
  close(ends[1]);
}

TEST_F(epoll, refuses_what_is_always_ready) {
  char name[] = "/tmp/weft_poller_test_XXXXXX";
  const int file = mkstemp(name);
  ASSERT_GE(file, 0);
  unlink(name);
  weft::rt::descriptor* d = weft::rt::take_descriptor();
  d->open(file, false);
  EXPECT_EQ(net_.add(*d), EPERM);
  d->close();
  give_back_descriptor(d);
  close(file);
}

// The M that sleeps in the poller with a far timer must hear of a nearer one, from a fiber and from a thread.
TEST(poller, an_earlier_timer_gets_the_sleeper_up) {
  weft::run({.maxprocs = 2}, [] {
    auto [ours, peers] = connected_pair();
    auto far = weft::spawn([] { weft::sleep_for(1h); });
    until_waiting(1);
    for (int i = 0; i < 20; ++i) {
      weft::sleep_for(1ms);  // everybody idles meanwhile
      std::thread sleeper([] { weft::sleep_for(1ms); });
      weft::blocking([&] { sleeper.join(); });
    }
    far.cancel();
  });
}

TEST(poller, a_thread_gets_an_idle_runtime_up) {
  weft::run([] {
    auto [ours, peers] = connected_pair();  // so that the sleeper sleeps in epoll
    weft::chan<int> c;
    std::thread sender([=] {
      for (int i = 0; i < 5'000; ++i) c.send(i);
      c.close();
    });
    int expected = 0;
    for (int i : c) EXPECT_EQ(i, expected++);
    EXPECT_EQ(expected, 5'000);
    weft::blocking([&] { sender.join(); });
  });
}

/// As they have with io_uring.
bool sockets_have_a_thread_of_their_own() {
  const char* backend = std::getenv("WEFT_NETPOLL");
  return backend != nullptr && std::string_view(backend) == "io_uring";
}

void echo_for(weft::net::tcp_stream& ours, weft::net::tcp_stream& peers, int rounds) {
  weft::scope s;
  s.go([&peers, rounds] {
    for (int i = 0; i < rounds; ++i) write_text(peers, read_text(peers, 1));
  });
  for (int i = 0; i < rounds; ++i) {
    const char c = static_cast<char>(i);
    write_text(ours, std::string_view(&c, 1));
    ASSERT_EQ(read_text(ours, 1)[0], c);
  }
  s.join();
}

TEST(poller, a_storm_of_signals_surfaces_nowhere) {
  const weft_test::signal_storm storm;
  weft::run([] {
    auto [ours, peers] = connected_pair();
    echo_for(ours, peers, 5'000);
    weft::sleep_for(5ms);
    for (int i = 0; i < 50; ++i) static_cast<void>(connected_pair());
    // Pipes, datagrams and Unix-domain sockets.
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    weft::net::fd out(ends[0]), in(ends[1]);
    auto udp = weft::net::udp_socket::bind("127.0.0.1:0");
    auto listener = weft::net::listen_unix("@weft-storm-" + std::to_string(getpid()));
    for (int i = 0; i < 1000; ++i) {
      write_text(in, "x");
      out.wait_readable();
      EXPECT_EQ(read_text(out, 1), "x");
      udp.send_to(std::string_view("x"), udp.local_endpoint());
      char c;
      EXPECT_EQ(udp.recv_from(std::span(&c, 1)).bytes, 1u);
      auto caller = weft::net::connect_unix(listener.path());
      EXPECT_TRUE(listener.accept());
    }
    auto writer = weft::spawn([&] {
      in.write_all(std::string(1'000'000, 'x'));
      in.close();
    });
    auto reader = weft::spawn([&peers = peers] { return read_text(peers, 1'000'000).size(); });
    EXPECT_EQ(weft::io::copy(out, ours), 1'000'000u);
    writer.join();
    EXPECT_EQ(reader.join(), 1'000'000u);
  });
}

TEST(poller, a_child_that_is_forked_and_execs_takes_no_edges_along) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    weft_test::beside_children_that_exec([&, &ours = ours, &peers = peers] { echo_for(ours, peers, 50); });
  });
}

TEST(poller, a_child_without_exec_is_told) {
#if defined(__SANITIZE_THREAD__) || WEFT_TEST_CLANG_TSAN
  GTEST_SKIP() << "ThreadSanitizer ends such a child with a status of its own";
#endif
  weft::run([] {
    static_cast<void>(connected_pair());
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = fork();
    if (child == 0) {
      dup2(ends[1], 2);
      static_cast<void>(weft::net::listen("127.0.0.1:0"));
      _exit(0);
    }
    close(ends[1]);
    std::string said;
    char room[512];
    for (ssize_t n; (n = read(ends[0], room, sizeof room)) > 0;) said.append(room, static_cast<std::size_t>(n));
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 2) << status;
    EXPECT_NE(said.find("after fork()"), std::string::npos) << said;
  });
}

// A fiber that computes without pause, on the only P there is: the sockets' fibers go on beside it.
TEST(poller, is_asked_while_a_fiber_burns_the_only_p) {
  weft::run({.maxprocs = 1}, [] {
    auto [ours, peers] = connected_pair();
    std::atomic<bool> over{false};
    auto hog = weft::spawn([&] {
      while (!over.load(std::memory_order_relaxed)) {
      }
    });
    echo_for(ours, peers, 20);
    over = true;
    hog.join();
  });
}

// A fiber that yields all the time has the only P to itself, but for those that sockets make ready: the poller is asked
// at each 61st pick, so an echo waits for so many turns at most. (If nobody asked but the monitor, every 10 ms, it
// would be some ten thousand.) The kernel may be slow to deliver for once: the best of several rounds counts.
TEST(poller, is_asked_beside_a_fiber_that_never_parks) {
  if (sockets_have_a_thread_of_their_own()) GTEST_SKIP() << "it is asked by nobody else";
  weft::run({.maxprocs = 1}, [] {
    auto [ours, peers] = connected_pair();
    std::atomic<bool> over{false};
    std::atomic<std::int64_t> turns{0};
    auto hog = weft::spawn([&] {
      while (!over.load(std::memory_order_relaxed)) {
        turns.fetch_add(1, std::memory_order_relaxed);
        weft::yield();
      }
    });
    constexpr int echoes = 20;
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (int round = 0; round < 50; ++round) {
      const std::int64_t before = turns.load();
      echo_for(ours, peers, echoes);
      least = std::min(least, turns.load() - before);
    }
    EXPECT_LE(least, std::int64_t{echoes} * 2 * 61 * 2);
    over = true;
    hog.join();
  });
}

// So many fibers yield that they fill the ring, and the global queue never runs empty. The reader's turn comes after
// the rest of a round of 61 picks and what is in the ring before it. (If nobody asked but the monitor, every 10 ms, it
// would come after more than ten thousand turns.) The best of several bytes counts, as above.
TEST(poller, is_asked_beside_more_yielding_fibers_than_a_queue_holds) {
  if (sockets_have_a_thread_of_their_own()) GTEST_SKIP() << "it is asked by nobody else";
  weft::run({.maxprocs = 1}, [] {
    constexpr int yielders = 700;
    auto [ours, peers] = connected_pair();
    std::atomic<bool> over{false};
    std::atomic<std::int64_t> turns{0}, read_at{0};
    weft::scope s;
    for (int i = 0; i < yielders; ++i)
      s.go([&] {
        while (!over.load(std::memory_order_relaxed)) {
          turns.fetch_add(1, std::memory_order_relaxed);
          weft::yield();
        }
      });
    constexpr int bytes = 20;
    s.go([&, &peers = peers] {
      for (int i = 0; i < bytes; ++i) {
        read_text(peers, 1);
        read_at.store(turns.load());
      }
    });
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (int i = 0; i < bytes; ++i) {
      until_waiting(1);
      read_at.store(0);
      const std::int64_t before = turns.load();
      write_text(ours, "x");
      until([&] { return read_at.load() != 0; });
      least = std::min(least, read_at.load() - before);
    }
    EXPECT_LE(least, 2 * yielders);
    over = true;
    s.join();
  });
}

/// The fiber and main keep their threads, as if they computed for long, and Ps are idle: before the fiber begins, its
/// thread has sent another to sleep in the poller, where it may have slept itself. The monitor comes much later.
template <class Heard>
void another_sleeper_before_a_woken_thread_begins_to_work(Heard to_hear) {
  for (const int processors : {3, 4, 16}) {
    weft::run({.maxprocs = processors}, [&] {
      const auto heard = to_hear();
      std::atomic<int> threads{0};
      weft::go([&] { threads.store(weft::debug::stats().threads); });
      while (threads.load() == 0) {
      }
      EXPECT_GE(threads.load(), 4) << "main's, the fiber's, the sleeper's and the monitor's";
    });
  }
}

TEST(poller, has_another_sleeper_for_a_timer_before_a_woken_thread_begins_to_work) {
  another_sleeper_before_a_woken_thread_begins_to_work([] { return weft::timer(1h); });
}

TEST(poller, has_another_sleeper_for_a_socket_before_a_woken_thread_begins_to_work) {
  if (sockets_have_a_thread_of_their_own()) GTEST_SKIP() << "it sleeps there for good";
  another_sleeper_before_a_woken_thread_begins_to_work([] { return weft::net::listen("127.0.0.1:0"); });
}

// Streams that always have data, and a fiber that only wants its turn: it gets it, though nobody ever parks.
TEST(poller, data_that_is_always_there_keeps_nobody_from_running) {
  weft::run({.maxprocs = 1}, [] {
    auto [ours, peers] = connected_pair();
    std::atomic<bool> over{false};
    weft::scope s;
    for (auto* each : {&ours, &peers})
      s.go([each, &over] {
        while (!over.load(std::memory_order_relaxed)) {
          write_text(*each, "x");
          char room[64];
          std::error_code error;
          each->set_read_deadline(weft::clock::now() + 1h);
          each->read_some(std::span(room), error);
          if (error) return;
        }
        each->shutdown_write();
      });
    for (int i = 0; i < 1000; ++i) weft::yield();
    over = true;
    s.join();
  });
}

}  // namespace
