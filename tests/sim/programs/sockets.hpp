// SPDX-License-Identifier: Apache-2.0
// What the programs with sockets share. Every byte of a stream is accounted for: it is a function of the stream and the
// place. An operation may fail for a reset only if the simulated kernel has reset that connection.
#pragma once

#include <netinet/in.h>

#include <cerrno>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <weft/net.hpp>

#include "tests/sim/kernel.hpp"
#include "tests/sim/programs/common.hpp"

namespace sim {

namespace net = weft::net;

inline char byte_of(unsigned stream, std::size_t i) {
  return static_cast<char>(stream * 131 + i * 7 + (i >> 8) * 13 + (i >> 5));
}

inline unsigned port_of(net::tcp_stream& s) {
  std::error_code error;
  return s.local_endpoint(error).port();
}

inline bool is_reset(const std::error_code& e) {
  return e == std::errc::connection_reset || e == std::errc::broken_pipe || e == std::errc::not_connected;
}

/// Sends `total` bytes of the stream, and the end. Returns false if the connection was reset.
inline bool send_all(net::tcp_stream& s, unsigned stream, std::size_t total, unsigned port) {
  std::error_code error;
  for (std::size_t at = 0; at < total;) {
    char some[64];
    const std::size_t n = std::min<std::size_t>(total - at, 1 + choose(64));
    for (std::size_t i = 0; i < n; ++i) some[i] = byte_of(stream, at + i);
    if (maybe(4)) {
      const std::size_t half = n / 2;
      const std::span<const std::byte> all = std::as_bytes(std::span(some, n));
      const std::span<const std::byte> parts[] = {all.first(half), all.subspan(half)};
      s.writev(parts, error);
    } else {
      s.write_all(std::span<const char>(some, n), error);
    }
    if (error) {
      expect(is_reset(error) && kernel::was_reset(port), "a write fails");
      return false;
    }
    at += n;
    if (maybe(8)) weft::yield();
  }
  s.shutdown_write(error);
  return !error;
}

/// Reads the stream to its end, or to a reset. Returns how many bytes came; they are as they should be.
inline std::size_t receive_all(net::tcp_stream& s, unsigned stream, std::size_t total, unsigned port) {
  std::error_code error;
  std::size_t at = 0;
  for (;;) {
    char some[48];
    const std::size_t n = s.read_some(std::span<char>(some, 1 + choose(48)), error);
    if (error) {
      expect(is_reset(error) && kernel::was_reset(port), "a read fails");
      return at;
    }
    if (n == 0) break;
    for (std::size_t i = 0; i < n; ++i) expect(some[i] == byte_of(stream, at + i), "a byte that was not sent");
    at += n;
    expect(at <= total, "more than was sent");
  }
  expect(at == total || kernel::was_reset(port), "less than was sent");
  return at;
}

inline net::tcp_stream connect_somehow(const std::string& where) {
  for (;;) {
    std::error_code error;
    net::tcp_stream s = net::connect(where, error);
    if (!error) return s;
    expect(is_reset(error) && kernel::resets() != 0, "connect fails");
  }
}

/// Resets are not what the program is about.
inline void no_resets() { kernel::trouble().reset_one_in = kernel::trouble().aborted_one_in = 0; }
inline std::size_t some_bytes() {
  const std::size_t buffer = kernel::trouble().buffer;
  return buffer < 16 ? choose(60) : choose(600);
}

/// Whatever comes is sent back.
inline void echo(net::tcp_stream s) {
  std::error_code error;
  char some[40];
  for (;;) {
    const std::size_t n = s.read_some(std::span<char>(some, 1 + choose(40)), error);
    if (error || n == 0) break;
    s.write_all(std::span<const char>(some, n), error);
    if (error) break;
  }
}

struct echo_server {
  echo_server() : l(net::listen("127.0.0.1:0")), where(l.local_endpoint().to_string()) {
    loop.go([this] {
      while (auto s = l.accept()) each.go([s = std::move(*s)]() mutable { echo(std::move(s)); });
    });
  }
  void end() {
    l.close();
    loop.join();
    each.join();
  }
  net::tcp_listener l;
  std::string where;
  weft::scope each, loop;
};

inline void no_file_is_left() { expect(kernel::open_files() == 2, "a descriptor is left over"); }

/// The two ends of a connection.
struct pair {
  net::tcp_stream a, b;
  unsigned port = 0;
};
inline pair connected_pair() {
  auto l = net::listen("127.0.0.1:0");
  for (;;) {
    pair p;
    weft::scope s;
    s.go([&] { p.a = connect_somehow(l.local_endpoint().to_string()); });
    auto other = l.accept();
    s.join();
    p.b = std::move(*other);
    p.port = port_of(p.a);
    if (!kernel::was_reset(p.port)) return p;
  }
}

inline int raw_connect(const net::endpoint& to) {
  const int fd = kernel::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(to.port());
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  expect(kernel::connect(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0, "a raw connect");
  return fd;
}
inline void raw_send(int fd, const char* from, std::size_t n) {
  while (n > 0) {
    const ssize_t some = kernel::send(fd, from, n, 0);
    if (some < 0) {
      expect(errno == EINTR, "a raw send");
      continue;
    }
    from += some;
    n -= static_cast<std::size_t>(some);
  }
}

}  // namespace sim
