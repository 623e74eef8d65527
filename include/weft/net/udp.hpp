// SPDX-License-Identifier: Apache-2.0
// UDP.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <system_error>

#include <weft/detail/buffer.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/net_object.hpp>
#include <weft/net/endpoint.hpp>

namespace weft {
inline namespace v0 {
namespace net {

/// bind_options is what `udp_socket::bind` takes beside the address.
struct bind_options {
  /// Several sockets may have the port, if all of them ask for it; the kernel shares the datagrams out by their senders
  /// (SO_REUSEPORT).
  bool reuse_port = false;

  /// Several sockets may have the port, if all of them ask for it; each gets what is sent to a group or a broadcast
  /// address, and the last one what is sent to the port alone (SO_REUSEADDR).
  bool reuse_address = false;
};

/// datagram is what `udp_socket::recv_from` tells of one: `auto [bytes, sender] = socket.recv_from(buffer);`
struct datagram {
  std::size_t bytes = 0;   ///< how many are in the buffer
  net::endpoint endpoint;  ///< who has sent them
};

/// udp_socket sends and receives datagrams. Its destructor closes it. Any number of fibers may use it at once; one
/// sends and one receives at a time, the others queue.
class WEFT_EXPORT udp_socket : public detail::net_object {
 public:
  /// No socket: every operation on it fails with std::errc::bad_file_descriptor.
  udp_socket() noexcept = default;

  /// bind opens a socket on an address of this machine: "127.0.0.1:5353", "[::1]:0"; ":5353" is every address, by IPv6
  /// and IPv4; port 0 is any free one. It takes one address, as `listen` does, and what is in use is
  /// std::errc::address_in_use. Waits where a name is to be resolved (net::resolve). Without a runtime: std::logic_error.
  static udp_socket bind(std::string_view where, const bind_options& options = {});
  static udp_socket bind(std::string_view where, const bind_options& options, std::error_code& error);
  static udp_socket bind(std::string_view where, std::error_code& error) { return bind(where, {}, error); }
  static udp_socket bind(const endpoint& where, const bind_options& options = {});
  static udp_socket bind(const endpoint& where, const bind_options& options, std::error_code& error);
  static udp_socket bind(const endpoint& where, std::error_code& error) { return bind(where, {}, error); }

  /// The largest payload of a datagram over IPv4.
  static constexpr std::size_t largest = 65507;

  /// Sends one datagram (an empty span: an empty one), whole or not at all; waits while the socket's buffer is full.
  /// What is too large is std::errc::message_size. That it was sent does not mean that it arrives.
  std::size_t send_to(std::span<const std::byte> from, const endpoint& to);
  std::size_t send_to(std::span<const std::byte> from, const endpoint& to, std::error_code& error);
  std::size_t send_to(detail::const_char_buffer from, const endpoint& to) { return send_to(from.bytes(), to); }
  std::size_t send_to(detail::const_char_buffer from, const endpoint& to, std::error_code& error) {
    return send_to(from.bytes(), to, error);
  }

  /// Waits for a datagram, and takes it. What does not fit into `to` is lost, and nothing says so: anybody can send
  /// large ones, and that should be no error of the program. A buffer of `largest` bytes always suffices for IPv4; one
  /// byte more than the protocol allows tells a datagram that is too long (it fills the buffer). 0 bytes: an empty one.
  datagram recv_from(std::span<std::byte> to);
  datagram recv_from(std::span<std::byte> to, std::error_code& error);
  datagram recv_from(detail::char_buffer to) { return recv_from(to.bytes()); }
  datagram recv_from(detail::char_buffer to, std::error_code& error) { return recv_from(to.bytes(), error); }

  /// Where it is bound, with the port that port 0 became. Never waits.
  [[nodiscard]] endpoint local_endpoint() const noexcept { return local_; }

 private:
  friend struct rt::net_access;
  udp_socket(rt::descriptor* adopted, const endpoint& local, bool v6) noexcept
      : net_object(adopted), local_(local), v6_(v6) {}

  endpoint local_;
  bool v6_ = false;  // takes IPv4 addresses only wrapped
};

}  // namespace net
}  // namespace v0
}  // namespace weft
