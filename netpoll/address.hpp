// SPDX-License-Identifier: Apache-2.0
// Between "host:port", net::endpoint and the kernel's socket addresses.
//
// Texts may come from a peer or a configuration: they are read here, byte by byte, and nothing of them reaches a parser
// of the C library that takes more than it should (getaddrinfo takes "+80", " 80" and "-4294967216" as ports, and "127.1"
// and "0x7f000001" as hosts).
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <weft/net/endpoint.hpp>

namespace weft::rt {

struct endpoint_access {
  /// An IPv4 address that is wrapped in an IPv6 one comes out as IPv4.
  static net::endpoint from(const sockaddr_storage& address) noexcept;
  /// Of room that suffices for either family, and holds one of them.
  static net::endpoint from(const sockaddr_in6& address) noexcept;
  /// Fills `out`. Returns its length.
  static socklen_t to(const net::endpoint& e, sockaddr_storage& out) noexcept;
  static socklen_t to(const net::endpoint& e, sockaddr_in6& out) noexcept;
  /// For an IPv6 socket: an IPv4 address is wrapped.
  static socklen_t to_v6(const net::endpoint& e, sockaddr_storage& out) noexcept;
  static socklen_t to_v6(const net::endpoint& e, sockaddr_in6& out) noexcept;
  static net::endpoint with_port(net::endpoint e, std::uint16_t port) noexcept;
  static net::endpoint loopback_v4() noexcept;
  static net::endpoint loopback_v6() noexcept;
  static net::endpoint unspecified_v6() noexcept;
  /// Makes an IPv6 address that wraps an IPv4 one that IPv4 address. Returns false, and changes nothing, if it is none.
  static bool unwrap(net::endpoint& e) noexcept;
};

/// What "host:port" says by itself: no resolver has been asked.
struct place {
  enum class host_kind : std::uint8_t { any, address, name };

  const char* refusal = nullptr;  ///< why the text is none; then nothing else is said
  host_kind host = host_kind::any;
  net::endpoint address;  ///< of host_kind::address, without the port
  std::string name;       ///< of host_kind::name
  std::string service;    ///< the name of the port; if empty, it is `port`
  std::uint16_t port = 0;
};

place parse_place(std::string_view where);

/// What a lookup found: endpoints in the order in which they are to be tried, or why there are none.
struct lookup {
  std::vector<net::endpoint> found;
  std::error_code error;
  bool cancelled = false;
  std::string detail;  ///< completes the message, if there is more to say than the code
};

/// "host:port", "[v6]:port"; the host may be a name, which waits for the resolver, cancellably, and so may the port. An
/// empty host: with `passive` every local address (IPv6 and IPv4 by one socket, where there is IPv6; IPv4 alone behind
/// it), else this machine. With `passive` the addresses of a name have IPv4's first. `type`: a name of a port may stand
/// for others with SOCK_DGRAM.
lookup look_up(std::string_view where, bool passive, int type = SOCK_STREAM);

/// Makes it one that std::errc::invalid_argument was found in, since `why`.
void refuse(lookup& at, std::string why);

/// Throws the failure, with the message "weft::net: `what` (detail)".
[[noreturn]] void raise(const lookup& failed, const std::string& what);

/// `text` for a message: in quotes, with what cannot be printed escaped, and cut where it is long.
std::string quoted(std::string_view text);

}  // namespace weft::rt
