// SPDX-License-Identifier: Apache-2.0
//
// Accepting when it fails: connections that died in the queue are passed over; without descriptors or memory the
// listener waits by the clock, not by burning the CPU, takes in everybody once there is room again, and can be closed
// or cancelled meanwhile.
//
// The failures are made: this program's own accept4 stands before the C library's. As with a real one nothing leaves
// the queue, so no new edge comes.

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

#include "tests/netpoll/loopback.hpp"

namespace {

std::atomic<int> failing{0};   // with this errno, if not 0
std::atomic<int> failures{0};  // so many are left; negative: no end
std::atomic<int> attempts{0};

}  // namespace

extern "C" int accept4(int fd, sockaddr* peer, socklen_t* length, int flags) {
  ++attempts;
  if (failing.load() != 0 && failures.fetch_sub(1) != 0) {
    errno = failing.load();
    return -1;
  }
  failures.fetch_add(1);
  return static_cast<int>(syscall(SYS_accept4, fd, peer, length, flags));
}

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::tcp_stream;

/// While it lives accept4 fails, for ever or so many times.
class failing_accept {
 public:
  explicit failing_accept(int error, int times = -1) {
    attempts = 0;
    failures = times;
    failing = error;
  }
  ~failing_accept() { failing = 0; }
};

/// Sockets that have asked for a connection, and need no more descriptors to get it.
std::vector<int> callers(const weft::net::endpoint& at, int count) {
  std::vector<int> sockets;
  for (int i = 0; i < count; ++i) sockets.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(at.port());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (const int each : sockets) EXPECT_EQ(connect(each, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  return sockets;
}

void hang_up(const std::vector<int>& sockets) {
  for (const int each : sockets) ::close(each);
}

constexpr int scarce[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};

TEST(accept, without_descriptors_tries_again_by_the_clock) {
  weft::run([] {
    for (const int error : scarce) {
      auto listener = weft::net::listen("127.0.0.1:0");
      const auto waiting_callers = callers(listener.local_endpoint(), 3);
      const failing_accept none(error, 4);  // pauses of 5, 10, 20, 40 ms
      const auto before = weft::clock::now();
      static_cast<void>(*listener.accept());
      EXPECT_GE(weft::clock::now() - before, 75ms);
      EXPECT_EQ(attempts.load(), 5);
      static_cast<void>(*listener.accept());
      static_cast<void>(*listener.accept());
      EXPECT_EQ(attempts.load(), 7);
      hang_up(waiting_callers);
    }
  });
}

// Callers who come meanwhile make edges; those must not set it spinning.
TEST(accept, without_descriptors_is_not_hurried_by_callers) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const failing_accept none(EMFILE, 3);
    std::vector<int> all = callers(listener.local_endpoint(), 1);
    auto acceptor = weft::spawn([&] { return listener.accept().has_value(); });
    for (int i = 0; i < 30; ++i) {
      const auto more = callers(listener.local_endpoint(), 1);
      all.insert(all.end(), more.begin(), more.end());
      weft::sleep_for(1ms);
    }
    EXPECT_TRUE(acceptor.join());
    EXPECT_EQ(attempts.load(), 4);
    hang_up(all);
  });
}

TEST(accept, without_descriptors_can_be_closed) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const auto waiting_callers = callers(listener.local_endpoint(), 1);
    const failing_accept none(EMFILE);
    auto acceptor = weft::spawn([&] { return listener.accept().has_value(); });
    until([] { return attempts.load() >= 4; });
    listener.close();
    EXPECT_FALSE(acceptor.join());
    hang_up(waiting_callers);
  });
}

TEST(accept, without_descriptors_can_be_cancelled_and_has_its_deadline) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const auto waiting_callers = callers(listener.local_endpoint(), 1);
    {
      const failing_accept none(EMFILE);
      EXPECT_THROW(weft::with_timeout(1ms, [&] { static_cast<void>(listener.accept()); }), weft::timed_out);
      listener.set_deadline(weft::clock::now() + 1ms);
      std::error_code error;
      EXPECT_FALSE(listener.accept(error).has_value());
      EXPECT_EQ(error, std::errc::timed_out);
      listener.set_deadline(weft::clock::time_point::max());
      auto acceptor = weft::spawn([&] {
        static_cast<void>(listener.accept(error));
        return error;
      });
      until([] { return attempts.load() >= 4; });
      listener.set_deadline(weft::clock::now() - 1s);  // moved under the pause
      EXPECT_EQ(acceptor.join(), std::errc::timed_out);
    }
    listener.set_deadline(weft::clock::time_point::max());
    {
      const failing_accept none(EMFILE);
      listener.set_timeout(1ms);
      std::error_code error;
      EXPECT_FALSE(listener.accept(error).has_value());
      EXPECT_EQ(error, std::errc::timed_out);
      listener.set_timeout(0ns);
    }
    EXPECT_TRUE(listener.accept().has_value());
    hang_up(waiting_callers);
  });
}

TEST(accept, passes_over_what_the_kernel_reports_of_the_dead) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    for (const int error : {ECONNABORTED, EPROTO, EINTR}) {
      const auto caller = callers(listener.local_endpoint(), 1);
      const failing_accept dead(error, 3);
      EXPECT_TRUE(listener.accept().has_value());
      EXPECT_EQ(attempts.load(), 4);
      hang_up(caller);
    }
  });
}

// A kernel that reports it of one after the other, for ever: no fiber that shares the P may starve.
TEST(accept, what_is_passed_over_without_end_can_be_cancelled_and_closed) {
  weft::run({.maxprocs = 1}, [] {
    for (const int error : {ECONNABORTED, EPROTO, EINTR}) {
      auto listener = weft::net::listen("127.0.0.1:0");
      const auto caller = callers(listener.local_endpoint(), 1);
      const failing_accept dead(error);
      EXPECT_THROW(weft::with_timeout(1ms, [&] { static_cast<void>(listener.accept()); }), weft::timed_out);
      auto acceptor = weft::spawn([&] { return listener.accept().has_value(); });
      until([] { return attempts.load() >= 4; });
      listener.close();
      EXPECT_FALSE(acceptor.join());
      hang_up(caller);
    }
  });
}

TEST(accept, reports_what_it_cannot_mend) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    for (const int errno_of_it : {EINVAL, EHOSTUNREACH, ENETDOWN, EPERM}) {
      const auto caller = callers(listener.local_endpoint(), 1);
      const failing_accept broken(errno_of_it, 2);
      std::error_code error;
      EXPECT_FALSE(listener.accept(error).has_value());
      EXPECT_EQ(error.value(), errno_of_it);
      EXPECT_THROW(static_cast<void>(listener.accept()), std::system_error);
      EXPECT_TRUE(listener.accept().has_value());
      hang_up(caller);
    }
  });
}

// By the clock alone it would take 45 s: its pause is soon a second.
TEST(accept, without_descriptors_tries_at_once_when_one_is_closed) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const auto waiting_callers = callers(listener.local_endpoint(), 1);
    std::vector<weft::net::fd> ours;
    for (int i = 0; i < 50; ++i) ours.emplace_back(eventfd(0, EFD_CLOEXEC));
    const failing_accept none(EMFILE);
    auto acceptor = weft::spawn([&] { return listener.accept().has_value(); });
    until([] { return attempts.load() >= 2; });
    weft::with_timeout(20s, [&] {
      for (weft::net::fd& each : ours) {
        until_waiting(1);
        const int before = attempts.load();
        each.close();
        until([&] { return attempts.load() > before; });
      }
    });
    failing = 0;
    EXPECT_TRUE(acceptor.join());
    hang_up(waiting_callers);
  });
}

TEST(accept, does_not_block_when_others_made_the_listener_blocking) {
  weft::run({.maxprocs = 1}, [] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const int number = listener.native_handle();
    fcntl(number, F_SETFL, fcntl(number, F_GETFL) & ~O_NONBLOCK);
    EXPECT_THROW(weft::with_timeout(1ms, [&] { static_cast<void>(listener.accept()); }), weft::timed_out);
    auto acceptor = weft::spawn([&] { return listener.accept().has_value(); });
    until_waiting(1);
    listener.close();
    EXPECT_FALSE(acceptor.join());
  });
}

// Whether the kernel reports the ones that are gone, or hands them out dead: the listener lives on.
TEST(accept, passes_over_connections_that_died_in_the_queue) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const auto dead = callers(listener.local_endpoint(), 20);
    for (const int each : dead) {
      const linger at_once{1, 0};
      setsockopt(each, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    hang_up(dead);
    const auto alive = callers(listener.local_endpoint(), 1);
    ASSERT_EQ(::send(alive[0], "!", 1, 0), 1);
    for (bool found = false; !found;) {
      auto s = *listener.accept();
      std::error_code error;
      char c = 0;
      found = s.read_some(std::span(&c, 1), error) == 1 && c == '!';
    }
    hang_up(alive);
  });
}

TEST(accept, is_shared_by_several_fibers) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    constexpr int each = 20;
    weft::scope s;
    for (int i = 0; i < 4; ++i)
      s.go([&] {
        for (int k = 0; k < each; ++k) {
          auto stream = *listener.accept();
          write_text(stream, "x");
        }
      });
    for (int i = 0; i < 4 * each; ++i)
      s.go([&] {
        auto stream = weft::net::connect(listener.local_endpoint().to_string());
        EXPECT_EQ(read_text(stream, 1), "x");
      });
    s.join();
  });
}

}  // namespace
