// SPDX-License-Identifier: Apache-2.0
//
// select over descriptors beside channels, events and times: the case says that it is worth while to try, and one case
// happens.

#include <gtest/gtest.h>

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <optional>
#include <string>
#include <system_error>
#include <thread>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::fd;
using weft::net::watcher;

struct two_ends {
  two_ends() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) abort();
    ours = fd(ends[0]);
    peers = fd(ends[1]);
  }
  fd ours, peers;
};

TEST(select_ready, takes_what_is_ready_and_runs_its_handler) {
  weft::run([] {
    two_ends s;
    weft::chan<int> c(1);
    int ran = 0;
    EXPECT_EQ(weft::select(weft::on_recv(c), weft::on_writable(s.ours, [&] { ran = 1; })), 1u);
    EXPECT_EQ(ran, 1);
    write_text(s.peers, "x");
    EXPECT_EQ(weft::select(weft::on_recv(c), weft::on_readable(s.ours, [&] { ran = 2; })), 1u);
    EXPECT_EQ(ran, 2);
    EXPECT_EQ(read_text(s.ours, 1), "x");
    c.send(7);
    EXPECT_EQ(weft::select(weft::on_readable(s.ours, [&] { ran = 3; }), weft::on_recv(c)), 1u);
    EXPECT_EQ(ran, 2);
  });
}

TEST(select_ready, waits_for_the_first_of_a_descriptor_and_a_channel) {
  weft::run([] {
    two_ends s;
    weft::chan<int> c;
    for (int i = 0; i < 100; ++i) {
      auto selecting = weft::spawn([&] { return weft::select(weft::on_readable(s.ours), weft::on_recv(c)); });
      until_waiting(1);
      if (i % 2 == 0) {
        write_text(s.peers, "x");
        EXPECT_EQ(selecting.join(), 0u);
        EXPECT_EQ(read_text(s.ours, 1), "x");
      } else {
        c.send(i);
        EXPECT_EQ(selecting.join(), 1u);
      }
    }
  });
}

TEST(select_ready, a_default_answers_by_how_things_are_now) {
  weft::run([] {
    two_ends s;
    const auto readable = [&] { return weft::select(weft::on_readable(s.ours), weft::on_default()) == 0; };
    EXPECT_FALSE(readable());
    write_text(s.peers, "x");
    EXPECT_TRUE(readable());
    EXPECT_TRUE(readable());  // as long as nobody reads
    read_text(s.ours, 1);
    EXPECT_FALSE(readable());
    EXPECT_EQ(weft::select(weft::on_readable(s.ours), weft::on_timeout(0s)), 1u);
    EXPECT_EQ(weft::select(weft::on_writable(s.ours), weft::on_default()), 0u);
  });
}

TEST(select_ready, beside_times) {
  weft::run([] {
    two_ends s;
    EXPECT_EQ(weft::select(weft::on_readable(s.ours), weft::on_timeout(1ms)), 1u);
    EXPECT_EQ(weft::select(weft::on_deadline(weft::clock::now() + 1ms), weft::on_readable(s.ours)), 0u);
    // The descriptor's own deadline is its case: a read would fail at once.
    s.ours.set_read_deadline(weft::clock::now() + 1ms);
    EXPECT_EQ(weft::select(weft::on_readable(s.ours), weft::on_timeout(1h)), 0u);
    EXPECT_EQ(weft::select(weft::on_readable(s.ours), weft::on_default()), 0u);
    s.ours.set_read_deadline(weft::clock::time_point::max());
    auto selecting = weft::spawn([&] { return weft::select(weft::on_readable(s.ours), weft::on_timeout(1h)); });
    until_waiting(1);
    s.ours.set_read_deadline(weft::clock::now() + 1h);  // moved, and nothing has come of it
    until_waiting(1);
    s.ours.set_read_deadline(weft::clock::now() - 1s);
    EXPECT_EQ(selecting.join(), 0u);
  });
}

TEST(select_ready, ends_with_a_close_that_waits_for_it_and_with_cancellation) {
  weft::run([] {
    two_ends s;
    weft::chan<int> never;
    std::atomic<bool> left{false};
    auto selecting = weft::spawn([&] {
      return weft::select(weft::on_recv(never), weft::on_readable(s.ours, [&] {
                            std::array<char, 1> one;
                            EXPECT_EQ(code_of([&] { s.ours.read_some(one); }), std::errc::operation_canceled);
                            left = true;
                          }));
    });
    until_waiting(1);
    s.ours.close();
    EXPECT_EQ(selecting.join(), 1u);
    EXPECT_TRUE(left);
    EXPECT_EQ(weft::select(weft::on_recv(never), weft::on_readable(s.ours)), 1u);  // closed before: the try tells
    EXPECT_EQ(weft::select(weft::on_writable(s.ours), weft::on_default()), 0u);
    fd none;
    EXPECT_EQ(weft::select(weft::on_recv(never), weft::on_readable(none)), 1u);

    two_ends t;
    EXPECT_THROW(weft::with_timeout(1ms, [&] { weft::select(weft::on_recv(never), weft::on_readable(t.ours)); }),
                 weft::timed_out);
    t.ours.close();  // nothing of the cancelled select is left on it
  });
}

// Two fibers select over the same descriptor while a third reads from it: every byte is taken once, by one of them.
TEST(select_ready, another_reader_may_be_quicker) {
  weft::run([] {
    two_ends s;
    weft::chan<void> stop;
    std::atomic<int> got{0};
    weft::scope readers;
    for (int i = 0; i < 2; ++i)
      readers.go([&] {
        for (;;) {
          const auto which = weft::select(weft::on_recv(stop), weft::on_readable(s.ours, [&] {
                                            char c = 0;
                                            if (recv(s.ours.native_handle(), &c, 1, MSG_DONTWAIT) == 1) ++got;
                                          }));
          if (which == 0) return;
        }
      });
    readers.go([&] {
      std::array<char, 1> one;
      std::error_code error;
      while (s.ours.read_some(one, error) == 1) ++got;
    });
    constexpr int sent = 3000;
    for (int i = 0; i < sent; ++i) write_text(s.peers, "x");
    until([&] { return got == sent; });
    stop.close();
    s.peers.close();
    readers.join();
    EXPECT_EQ(got, sent);
  });
}

TEST(select_ready, both_directions_of_one_descriptor_and_several_descriptors) {
  weft::run([] {
    two_ends s, t;
    fill(s.ours);
    const auto choose = [&] {
      return weft::select(weft::on_readable(s.ours), weft::on_writable(s.ours), weft::on_readable(t.ours));
    };
    auto selecting = weft::spawn(choose);
    until_waiting(1);
    write_text(s.peers, "x");
    EXPECT_EQ(selecting.join(), 0u);
    read_text(s.ours, 1);
    selecting = weft::spawn(choose);
    until_waiting(1);
    write_text(t.peers, "x");
    EXPECT_EQ(selecting.join(), 2u);
    read_text(t.ours, 1);
    selecting = weft::spawn(choose);
    until_waiting(1);
    std::array<char, 64 * 1024> much;
    std::atomic<bool> enough{false};
    weft::scope drain;
    drain.go([&] {
      std::error_code error;
      while (!enough && s.peers.read_some(much, error) != 0) {
      }
    });
    EXPECT_EQ(selecting.join(), 1u);
    enough = true;
    s.ours.close();
    drain.join();
  });
}

TEST(select_ready, no_byte_is_missed_that_comes_as_it_falls_asleep) {
  weft::run({.maxprocs = 2}, [] {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    watcher w(ends[0]);
    weft::chan<int> never;
    std::thread sender([&] {
      char c = 'x';
      for (int i = 0; i < 10'000; ++i) {
        EXPECT_EQ(send(ends[1], &c, 1, 0), 1);
        EXPECT_EQ(recv(ends[1], &c, 1, 0), 1);
      }
    });
    for (int i = 0; i < 10'000; ++i) {
      char c = 0;
      EXPECT_EQ(weft::select(weft::on_recv(never), weft::on_readable(w)), 1u);
      EXPECT_EQ(recv(ends[0], &c, 1, MSG_DONTWAIT), 1);
      EXPECT_EQ(send(ends[0], &c, 1, 0), 1);
    }
    sender.join();
    close(ends[0]);
    close(ends[1]);
  });
}

TEST(select_ready, a_listener_has_a_connection_and_a_selector_takes_such_cases) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    two_ends s;
    weft::chan<int> c;
    const auto choose = [&](bool biased) {
      weft::selector any;
      any.on_recv(c).on_readable(s.ours).on_readable(listener).on_timeout(1h);
      return biased ? any.run_biased() : any.run();
    };
    auto selecting = weft::spawn([&] { return choose(false); });
    until_waiting(1);
    auto client = weft::net::connect(listener.local_endpoint());
    EXPECT_EQ(selecting.join(), 2u);
    EXPECT_EQ(choose(true), 2u);
    write_text(s.peers, "x");
    EXPECT_EQ(choose(true), 1u);  // the first in order
    EXPECT_TRUE(listener.accept());
    auto server = weft::spawn([&] {
      weft::selector writes;
      return writes.on_writable(client).on_default().run();
    });
    EXPECT_EQ(server.join(), 0u);
  });
}

TEST(select_ready, each_of_the_ready_has_the_same_chance) {
  weft::run([] {
    two_ends s;
    write_text(s.peers, "x");
    weft::event set;
    set.set();
    std::array<int, 3> count{};
    for (int i = 0; i < 3000; ++i)
      ++count[weft::select(weft::on_readable(s.ours), weft::on_event(set), weft::on_writable(s.ours))];
    for (const int each : count) EXPECT_GT(each, 700);
    for (int i = 0; i < 100; ++i)
      EXPECT_EQ(weft::select_biased(weft::on_event(set), weft::on_readable(s.ours), weft::on_writable(s.ours)), 0u);
  });
}

// No poller would ever wake it.
TEST(select_ready, that_a_plain_thread_begins_after_the_end_is_ended) {
  std::optional<two_ends> s;
  weft::run([&] { s.emplace(); });
  EXPECT_EQ(code_of([&] { weft::select(weft::on_readable(s->ours)); }), std::errc::operation_canceled);
}

TEST(select_ready, a_plain_thread_selects_as_a_fiber_does) {
  weft::run([] {
    two_ends s;
    weft::chan<int> c;
    std::atomic<bool> taken{false};
    std::thread thread([&] {
      EXPECT_EQ(weft::select(weft::on_recv(c), weft::on_readable(s.ours)), 1u);
      std::error_code error;
      std::array<char, 1> one;
      s.ours.read_some(one, error);
      taken = true;
      EXPECT_EQ(weft::select(weft::on_recv(c), weft::on_readable(s.ours)), 0u);
    });
    until_waiting(1);
    write_text(s.peers, "x");
    until([&] { return taken.load(); });
    c.send(1);
    thread.join();
  });
}

}  // namespace
