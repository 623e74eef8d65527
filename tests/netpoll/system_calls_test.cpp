// SPDX-License-Identifier: Apache-2.0
//
// What reading and writing cost in system calls: this program's own stand before the C library's and count.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <string>
#include <vector>

#include "tests/netpoll/loopback.hpp"

namespace {

std::atomic<int> receives{0}, gathers{0}, pipe_calls{0}, options{0};
std::atomic<std::size_t> most_pieces{0};

}  // namespace

extern "C" ssize_t recv(int fd, void* to, std::size_t n, int flags) {
  ++receives;
  return syscall(SYS_recvfrom, fd, to, n, flags, nullptr, nullptr);
}
extern "C" ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  ++gathers;
  if (message->msg_iovlen > most_pieces) most_pieces = message->msg_iovlen;
  return syscall(SYS_sendmsg, fd, message, flags);
}
extern "C" int setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
  ++options;
  return static_cast<int>(syscall(SYS_setsockopt, fd, level, name, value, length));
}
extern "C" ssize_t pwritev2(int fd, const iovec* from, int count, off_t at, int flags) {
  ++pipe_calls;
  return syscall(SYS_pwritev2, fd, from, count, at, at >> 32, flags);
}
extern "C" int pthread_sigmask(int how, const sigset_t* set, sigset_t* old) {
  ++pipe_calls;
  return syscall(SYS_rt_sigprocmask, how, set, old, 8) == 0 ? 0 : errno;
}

namespace {

using namespace weft_test;
using weft::net::tcp_stream;

// There and back; both ends read with room for more than comes.
int receives_of_echoes(tcp_stream& ours, tcp_stream& peers, int rounds) {
  auto echo = weft::spawn([&] {
    std::array<char, 64> room;
    for (int i = 0; i < rounds; ++i) peers.write_all(std::span<const char>(room.data(), peers.read_some(room)));
  });
  std::array<char, 64> room;
  const int before = receives;
  for (int i = 0; i < rounds; ++i) {
    write_text(ours, "hello");
    ours.read_some(room);
  }
  echo.join();
  return receives - before;
}

// A short read has emptied the socket: the next one waits for an edge, and asks for no EAGAIN. So it is again soon
// after the program has taken the number, for an option or for anything else.
TEST(system_calls, one_receive_a_read_also_when_the_program_has_the_number) {
  weft::run({.maxprocs = 1}, [] {
    constexpr int rounds = 500;
    auto [ours, peers] = connected_pair();
    const int plain = receives_of_echoes(ours, peers, rounds);
    for (tcp_stream* each : {&ours, &peers}) {
      const int on = 1;
      ASSERT_EQ(setsockopt(each->native_handle(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on), 0);
    }
    EXPECT_LE(receives_of_echoes(ours, peers, rounds), plain + 100);
  });
}

TEST(system_calls, many_pieces_go_as_many_at_a_time_as_the_kernel_takes) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    const std::string piece = "0123456789";
    const std::vector<std::span<const std::byte>> pieces(10'000, std::as_bytes(std::span(piece)));
    auto reader = weft::spawn([&peers = peers] { return read_text(peers, 100'000); });
    gathers = 0;
    EXPECT_EQ(ours.writev(pieces), 100'000u);
    EXPECT_EQ(most_pieces, 1024u);
    EXPECT_LE(gathers, 20);  // 10, if the peer makes room in time
    const std::string got = reader.join();
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], piece[i % piece.size()]);
  });
}

TEST(system_calls, one_a_write_into_a_pipe) {
  constexpr int no_signal = 0x100;  // RWF_NOSIGNAL
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  char c = 'x';
  const iovec piece{&c, 1};
  if (pwritev2(ends[1], &piece, 1, -1, no_signal) != 1) GTEST_SKIP() << "a kernel before 6.18";
  weft::run([&] {
    weft::net::fd out(ends[0]), in(ends[1]);
    write_text(in, "first");
    pipe_calls = 0;
    for (int i = 0; i < 100; ++i) write_text(in, "0123456789");
    EXPECT_LT(pipe_calls, 150);  // a thread that starts or ends has its signals masked, too
    EXPECT_EQ(read_text(out, 16), "xfirst0123456789");
  });
}

// Keep-alive and TCP_NODELAY come with the listener.
TEST(system_calls, none_for_the_options_of_an_accepted_connection) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    auto ours = weft::net::connect(listener.local_endpoint().to_string());
    options = 0;
    auto peers = *listener.accept();
    EXPECT_EQ(options, 0);
    for (const tcp_stream* each : {&ours, &peers}) {
      EXPECT_EQ(each->get_option<int>(SOL_SOCKET, SO_KEEPALIVE), 1);
      EXPECT_EQ(each->get_option<int>(IPPROTO_TCP, TCP_KEEPIDLE), 15);
      EXPECT_EQ(each->get_option<int>(IPPROTO_TCP, TCP_KEEPINTVL), 15);
      EXPECT_EQ(each->get_option<int>(IPPROTO_TCP, TCP_NODELAY), 1);
    }
  });
}

}  // namespace
