// SPDX-License-Identifier: Apache-2.0
//
// Which system calls an operation makes: they are counted in this program's own recv, send and so on, which the library
// finds instead of libc's.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <system_error>

#include "tests/netpoll/loopback.hpp"
#include "tests/support/backend.hpp"
#include "tests/support/undisturbed.hpp"

namespace {

std::atomic<int> receives{0}, sends{0}, registrations{0}, others{0};

}  // namespace

extern "C" ssize_t recv(int fd, void* to, size_t n, int flags) {
  ++receives;
  return syscall(SYS_recvfrom, fd, to, n, flags, nullptr, nullptr);
}
extern "C" ssize_t recvfrom(int fd, void* to, size_t n, int flags, sockaddr* from, socklen_t* length) {
  ++receives;
  return syscall(SYS_recvfrom, fd, to, n, flags, from, length);
}
extern "C" ssize_t send(int fd, const void* from, size_t n, int flags) {
  ++sends;
  return syscall(SYS_sendto, fd, from, n, flags, nullptr, 0);
}
extern "C" ssize_t sendto(int fd, const void* from, size_t n, int flags, const sockaddr* to, socklen_t length) {
  ++sends;
  return syscall(SYS_sendto, fd, from, n, flags, to, length);
}
extern "C" ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  ++sends;
  return syscall(SYS_sendmsg, fd, message, flags);
}
extern "C" int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  ++sends;
  return static_cast<int>(syscall(SYS_sendmmsg, fd, messages, count, flags));
}
extern "C" int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
  ++receives;
  return static_cast<int>(syscall(SYS_recvmmsg, fd, messages, count, flags, timeout));
}
extern "C" int accept4(int fd, sockaddr* peer, socklen_t* length, int flags) {
  ++others;
  return static_cast<int>(syscall(SYS_accept4, fd, peer, length, flags));
}
extern "C" ssize_t splice(int from, off64_t* from_at, int to, off64_t* to_at, size_t n, unsigned flags) {
  ++others;
  return syscall(SYS_splice, from, from_at, to, to_at, n, flags);
}
extern "C" int epoll_ctl(int epoll, int what, int fd, epoll_event* event) noexcept {
  ++registrations;
  return static_cast<int>(syscall(SYS_epoll_ctl, epoll, what, fd, event));
}

namespace {

using namespace std::chrono_literals;
using namespace weft_test;

struct counts {
  int receives = ::receives, sends = ::sends, registrations = ::registrations, others = ::others;
};

TEST(calls, there_are_none_past_a_deadline) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    auto listener = weft::net::listen("127.0.0.1:0");
    auto caller = weft::spawn([&] { return weft::net::connect(listener.local_endpoint().to_string()); });
    auto udp = weft::net::udp_socket::bind("127.0.0.1:0");
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    weft::net::fd out(ends[0]), in(ends[1]);
    udp.send_to(std::string_view("x"), udp.local_endpoint());
    write_text(peers, "x");
    caller.join();
    const auto past = weft::clock::now() - 1ms;
    for (weft::detail::net_object* each :
         {static_cast<weft::detail::net_object*>(&ours), static_cast<weft::detail::net_object*>(&listener),
          static_cast<weft::detail::net_object*>(&udp), static_cast<weft::detail::net_object*>(&in)})
      each->set_deadline(past);
    std::array<char, 8> buffer;
    const std::array<std::span<const std::byte>, 1> pieces{std::as_bytes(std::span("x"))};
    std::error_code error;
    const counts before;
    const auto fails = [&](auto operation) {
      error.clear();
      operation();
      EXPECT_EQ(error, std::errc::timed_out);
    };
    fails([&, &ours = ours] { ours.read_some(buffer, error); });
    fails([&, &ours = ours] { ours.read_exactly(buffer, error); });
    fails([&, &ours = ours] { ours.write_some(buffer, error); });
    fails([&, &ours = ours] { ours.write_all(buffer, error); });
    fails([&, &ours = ours] { ours.writev(pieces, error); });
    fails([&, &ours = ours] { weft::io::copy(ours, in, error); });
    fails([&] { listener.accept(error); });
    fails([&] { udp.recv_from(buffer, error); });
    fails([&] { udp.send_to(buffer, udp.local_endpoint(), error); });
    fails([&] { udp.recv(buffer, error); });
    fails([&] { udp.send(buffer, error); });
    std::array<weft::net::incoming, 1> into{weft::net::incoming{buffer}};
    const std::array<weft::net::outgoing, 1> from{weft::net::outgoing{buffer, udp.local_endpoint()}};
    fails([&] { udp.recv_many(into, error); });
    fails([&] { udp.send_many(from, error); });
    const counts after;
    EXPECT_EQ(after.receives, before.receives);
    EXPECT_EQ(after.sends, before.sends);
    EXPECT_EQ(after.registrations, before.registrations);
    EXPECT_EQ(after.others, before.others);
    ours.set_deadline(weft::clock::time_point::max());
    EXPECT_EQ(ours.read_some(buffer), 1u);
    EXPECT_EQ(counts().receives, before.receives + 1);  // and the count does count
  });
}

// Under epoll: a poll of io_uring reports each change anew, and costs calls that find nothing.
//
// On one P each reader asks before the answer is there. An echo is one recv and one send on either side; with a recv
// for each EAGAIN it would be two.
TEST(calls, an_echo_is_one_recv_and_one_send_on_either_side) {
  weft::run({.maxprocs = 1, .netpoll = weft::netpoll_backend::epoll}, [] {
    auto [ours, peers] = connected_pair();
    constexpr int rounds = 1000;
    weft::scope s;
    s.go([&peers = peers] {
      std::array<char, 64> buffer;
      while (const std::size_t n = peers.read_some(buffer)) peers.write_all(std::span<const char>(buffer).first(n));
    });
    const auto echoes = [&, &ours = ours] {
      std::array<char, 64> buffer;
      const counts before;
      for (int i = 0; i < rounds; ++i) {
        write_text(ours, "x");
        EXPECT_EQ(ours.read_some(buffer), 1u);
      }
      const counts after;
      EXPECT_EQ(after.sends - before.sends, 2 * rounds);
      EXPECT_EQ(after.registrations, before.registrations);
      return after.receives - before.receives;
    };
    const int made = undisturbed(echoes);
    EXPECT_GE(made, 2 * rounds);
    // An edge of room for writing may come with data that was read already; by io_uring any edge may.
    EXPECT_LE(made, sockets_by_io_uring() ? 4 * rounds : 2 * rounds + rounds / 2);
    ours.shutdown_write();
    s.join();
  });
}

}  // namespace
