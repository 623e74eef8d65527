// SPDX-License-Identifier: Apache-2.0
// Between "host:port", net::endpoint and the kernel's socket addresses.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <weft/net/endpoint.hpp>

namespace weft::rt {

struct endpoint_access {
  /// An IPv4 address that is wrapped in an IPv6 one comes out as IPv4.
  static net::endpoint from(const sockaddr_storage& address) noexcept;
  /// Fills `out`. Returns its length.
  static socklen_t to(const net::endpoint& e, sockaddr_storage& out) noexcept;
  /// For an IPv6 socket: an IPv4 address is wrapped.
  static socklen_t to_v6(const net::endpoint& e, sockaddr_storage& out) noexcept;
  /// Parses a numeric address. Returns false if it is none.
  static bool parse(const std::string& host, std::uint16_t port, net::endpoint& out);
};

/// What a lookup found: endpoints in the order in which they are to be tried, or why there are none.
struct lookup {
  std::vector<net::endpoint> found;
  std::error_code error;
  bool cancelled = false;
  std::string detail;  ///< completes the message, if there is more to say than the code
};

/// "host:port", "[v6]:port"; the host may be a name, which is resolved under weft::blocking. An empty host: with
/// `passive` every local address (IPv6 and IPv4 by one socket, where there is IPv6), else this machine. `type`: a name
/// of a port may stand for others with SOCK_DGRAM.
lookup look_up(std::string_view where, bool passive, int type = SOCK_STREAM);
/// The part of it that needs no resolver. Returns false if the host or the port is a name.
bool look_up_numeric(std::string_view where, bool passive, lookup& result);

}  // namespace weft::rt
