// SPDX-License-Identifier: Apache-2.0
// UDP between sockets of one host.
//
// A datagram is whole or not at all; one that comes where nobody is bound, or where 16 lie already, is gone. Datagrams
// overtake each other. What does not fit into the reader's buffer is cut off.
//
// Differs from Linux: sending never waits for room; no ICMP errors come back. Not modelled: connect, read and write,
// broadcast.
#pragma once

#include <deque>
#include <string>

#include "tests/sim/kernel/address.hpp"
#include "tests/sim/kernel/file.hpp"

namespace sim::kernel {

struct udp_socket : file {
  struct datagram {
    sockaddr_in from;
    std::string data;
  };

  sockaddr_in local{};
  bool bound = false, closed = false;
  std::deque<datagram> in;

  std::uint32_t state() noexcept override;
  void release() noexcept override { closed = true; }

  /// Returns its length, also where not all of it is stored.
  ssize_t take_one(char* to, std::size_t n, sockaddr_in& from) noexcept;
  void send(std::string data, const sockaddr_in& to) noexcept;
};

udp_socket* new_udp_socket();
/// Null if nobody is bound there.
udp_socket* udp_socket_at(unsigned port) noexcept;

}  // namespace sim::kernel
