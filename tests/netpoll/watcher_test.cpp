// SPDX-License-Identifier: Apache-2.0
//
// Waiting for what another library owns: it reads when it likes, closes when it likes, and nothing of it is changed.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::readable;
using weft::net::watcher;
using weft::net::writable;

/// A library with a protocol of its own over a blocking socket: a request is a number of bytes, the answer as many. As
/// libpq has it, `flush` and `consume` never wait, and an error closes the socket at once.
class driver {
 public:
  explicit driver(int number) : number_(number) {}
  ~driver() { close_now(); }
  driver(const driver&) = delete;
  driver& operator=(const driver&) = delete;

  int socket() const { return number_; }
  void ask(std::size_t bytes) {
    unsent_ = bytes;
    missing_ = bytes;
  }
  bool flush() {  // all is sent
    const std::string block(std::min<std::size_t>(unsent_, 64 * 1024), 'q');
    const ssize_t n = unsent_ != 0 ? send(number_, block.data(), block.size(), MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (n > 0) unsent_ -= static_cast<std::size_t>(n);
    return unsent_ == 0;
  }
  bool busy() const { return missing_ != 0; }
  bool consume() {
    std::array<char, 4096> some;
    const ssize_t n = recv(number_, some.data(), std::min(some.size(), missing_), MSG_DONTWAIT);
    if (n > 0) missing_ -= static_cast<std::size_t>(n);
    if (n == 0 || (n < 0 && errno != EAGAIN)) close_now();
    return number_ >= 0;
  }
  void close_now() {
    if (number_ >= 0) close(number_);
    number_ = -1;
  }

 private:
  int number_;
  std::size_t unsent_ = 0, missing_ = 0;
};

struct socket_pair {
  socket_pair() {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) abort();
  }
  int ends[2];
};

void send_byte(int to) { EXPECT_EQ(send(to, "x", 1, MSG_NOSIGNAL), 1); }
void take_byte(int from) {
  char c = 0;
  EXPECT_EQ(recv(from, &c, 1, MSG_DONTWAIT), 1);
}

TEST(watcher, drives_a_driver_that_both_reads_and_writes) {
  const socket_pair s;
  weft::run([&] {
    driver d(s.ends[0]);
    weft::scope server;
    server.go([&] {
      weft::net::fd peer(s.ends[1]);
      std::error_code error;
      weft::io::copy(peer, peer);
    });
    watcher w(d.socket());
    for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{1'000'000}, std::size_t{1}}) {
      d.ask(size);
      while (!d.flush()) {
        const auto found = w.wait(readable | writable);
        if (found & readable) {
          EXPECT_TRUE(d.consume());
        }
      }
      while (d.busy()) {
        w.wait_readable();
        ASSERT_TRUE(d.consume());
      }
    }
    EXPECT_EQ(fcntl(d.socket(), F_GETFL) & O_NONBLOCK, 0);  // as the driver has it
    d.close_now();
    w.close();  // only now the peer hears the end
    server.join();
  });
}

TEST(watcher, sees_what_is_there_however_often_it_was_seen) {
  const socket_pair s;
  weft::run([&] {
    watcher w(s.ends[0]);
    send_byte(s.ends[1]);
    for (int i = 0; i < 300; ++i) w.wait_readable();
    take_byte(s.ends[0]);
    w.set_read_deadline(weft::clock::now() + 1ms);
    EXPECT_EQ(code_of([&] { w.wait_readable(); }), std::errc::timed_out);
    w.set_read_deadline(weft::clock::time_point::max());
    send_byte(s.ends[1]);
    send_byte(s.ends[1]);
    w.wait_readable();
    take_byte(s.ends[0]);
    w.wait_readable();  // the rest, for which no edge comes
    take_byte(s.ends[0]);
    w.wait_writable();
    EXPECT_EQ(w.wait(readable | writable), writable);
  });
  close(s.ends[0]);
  close(s.ends[1]);
}

// A byte comes while the fiber is anywhere between its question and its sleep.
TEST(watcher, misses_no_byte_that_comes_as_it_falls_asleep) {
  const socket_pair s;
  weft::run({.maxprocs = 2}, [&] {
    watcher w(s.ends[0]);
    std::thread sender([&] {
      char c = 0;
      for (int i = 0; i < 20'000; ++i) {
        send_byte(s.ends[1]);
        while (recv(s.ends[1], &c, 1, 0) != 1) {
        }
      }
    });
    for (int i = 0; i < 20'000; ++i) {
      w.wait_readable();
      take_byte(s.ends[0]);
      send_byte(s.ends[0]);
    }
    sender.join();
  });
  close(s.ends[0]);
  close(s.ends[1]);
}

TEST(watcher, outlives_the_owners_descriptor) {
  const socket_pair s;
  weft::run([&] {
    watcher w(s.ends[0]);
    close(s.ends[0]);
    auto listener = weft::net::listen("127.0.0.1:0");
    auto client = weft::net::connect(listener.local_endpoint());
    auto server = listener.accept();
    ASSERT_TRUE(server);
    // Of these, one has the number that the driver had.
    EXPECT_TRUE(listener.native_handle() == s.ends[0] || client.native_handle() == s.ends[0] ||
                server->native_handle() == s.ends[0] || !is_open(s.ends[0]));
    send_byte(s.ends[1]);
    w.wait_readable();  // still the old one
    { const watcher gone = std::move(w); }
    write_text(client, "abc");
    EXPECT_EQ(read_text(*server, 3), "abc");
    EXPECT_EQ(send(s.ends[1], "x", 1, MSG_NOSIGNAL), -1);  // nobody has the other end by now
  });
  close(s.ends[1]);
}

TEST(watcher, stands_beside_another_object_of_the_runtime) {
  const socket_pair s;
  weft::run([&] {
    weft::net::fd owner(s.ends[0]);
    watcher first(s.ends[0]), second(s.ends[0]);
    auto reader = weft::spawn([&] { return read_text(owner, 1); });
    weft::scope both;
    both.go([&] { first.wait_readable(); });
    until_waiting(2);
    send_byte(s.ends[1]);
    send_byte(s.ends[1]);
    EXPECT_EQ(reader.join(), "x");
    both.join();
    second.wait_readable();
  });
  close(s.ends[1]);
}

TEST(watcher, wakes_all_who_wait) {
  const socket_pair s;
  weft::run([&] {
    watcher w(s.ends[0]);
    weft::scope all;
    for (int i = 0; i < 5; ++i) all.go([&] { w.wait_readable(); });
    for (int i = 0; i < 5; ++i) all.go([&] { EXPECT_TRUE(w.wait(readable | writable) & writable); });
    until_waiting(5);
    send_byte(s.ends[1]);
    all.join();
  });
  close(s.ends[0]);
  close(s.ends[1]);
}

TEST(watcher, close_deadlines_and_cancellation_end_a_wait) {
  const socket_pair s;
  weft::run([&] {
    watcher w(s.ends[0]);
    const auto wait = [&] { return code_of([&] { w.wait_readable(); }); };
    auto waiter = weft::spawn(wait);
    until_waiting(1);
    w.set_deadline(weft::clock::now() + 1h);
    until_waiting(1);
    w.set_deadline(weft::clock::now() - 1s);
    EXPECT_EQ(waiter.join(), std::errc::timed_out);
    send_byte(s.ends[1]);
    EXPECT_EQ(wait(), std::errc::timed_out);  // beats what is ready
    w.set_deadline(weft::clock::time_point::max());
    EXPECT_EQ(wait(), std::error_code());
    take_byte(s.ends[0]);
    EXPECT_THROW(weft::with_timeout(1ms, wait), weft::timed_out);
    weft::scope cancelled;
    cancelled.go([&] {
      std::error_code error;
      w.wait_readable(error);
      EXPECT_EQ(error, std::errc::operation_canceled);
    });
    until_waiting(1);
    cancelled.cancel();
    try {
      cancelled.join();
    } catch (const weft::cancelled&) {
    }
    weft::scope closed;
    for (int i = 0; i < 3; ++i) closed.go([&] { EXPECT_EQ(wait(), std::errc::operation_canceled); });
    until_waiting(3);
    w.close();
    closed.join();
    EXPECT_EQ(wait(), std::errc::operation_canceled);
    w.close();
    EXPECT_TRUE(is_open(s.ends[0]));
  });
  close(s.ends[0]);
  close(s.ends[1]);
}

TEST(watcher, a_plain_thread_waits_as_a_fiber_does) {
  const socket_pair s;
  weft::run([&] {
    watcher w(s.ends[0]);
    std::thread waiter([&] {
      w.wait_readable();
      take_byte(s.ends[0]);
      std::error_code error;
      w.wait_readable(error);
      EXPECT_EQ(error, std::errc::operation_canceled);
    });
    until_waiting(1);
    send_byte(s.ends[1]);
    until([&] {
      pollfd what{s.ends[0], POLLIN, 0};
      return poll(&what, 1, 0) == 0;
    });
    until_waiting(1);
    w.close();
    waiter.join();
  });
  close(s.ends[0]);
  close(s.ends[1]);
}

TEST(watcher, hears_of_the_peers_end) {
  const socket_pair s;
  weft::run([&] {
    watcher w(s.ends[0]);
    auto waiter = weft::spawn([&] { w.wait_readable(); });
    until_waiting(1);
    close(s.ends[1]);
    waiter.join();
    EXPECT_EQ(w.wait(readable | writable), readable | writable);
  });
  close(s.ends[0]);
}

// curl_multi and the like: the driver's own epoll set, level-triggered.
TEST(watcher, watches_an_epoll_set) {
  const socket_pair s;
  weft::run([&] {
    const int set = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN;
    ASSERT_EQ(epoll_ctl(set, EPOLL_CTL_ADD, s.ends[0], &event), 0);
    watcher w(set);
    for (int i = 0; i < 100; ++i) {
      auto waiter = weft::spawn([&] { w.wait_readable(); });
      until_waiting(1);
      send_byte(s.ends[1]);
      waiter.join();
      w.wait_readable();  // as long as nobody reads
      EXPECT_EQ(epoll_wait(set, &event, 1, 0), 1);
      take_byte(s.ends[0]);
      EXPECT_EQ(epoll_wait(set, &event, 1, 0), 0);
    }
    close(set);
  });
  close(s.ends[0]);
  close(s.ends[1]);
}

TEST(watcher, what_is_always_ready_is_so) {
  weft::run([] {
    const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (const int number : {file, null}) {
      watcher w(number);
      close(number);
      w.wait_readable();
      EXPECT_EQ(w.wait(readable | writable), readable | writable);
      w.close();
      EXPECT_EQ(code_of([&] { w.wait_readable(); }), std::errc::operation_canceled);
    }
  });
}

TEST(watcher, says_what_it_cannot_watch) {
  EXPECT_THROW(watcher unused(0), std::logic_error);  // no runtime
  weft::run([] {
    EXPECT_EQ(code_of([] { watcher unused(-1); }), std::errc::bad_file_descriptor);
    EXPECT_NE(message_of([] { watcher unused(-1); }).find("watcher(-1): it is not open"), std::string::npos);
    std::error_code error;
    watcher none(1 << 20, error);
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
    EXPECT_FALSE(none);
    EXPECT_EQ(code_of([&] { none.wait_readable(); }), std::errc::bad_file_descriptor);
    none.close();
    const int number = eventfd(0, EFD_CLOEXEC);
    watcher w(number);
    EXPECT_EQ(code_of([&] { w.wait({}); }), std::errc::invalid_argument);
    close(number);
  });
}

}  // namespace
