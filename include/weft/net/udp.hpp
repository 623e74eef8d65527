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
#include <weft/net/from_fd.hpp>

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

/// datagram is what `udp_socket::recv_from` tells of one: `auto [bytes, from, truncated] = socket.recv_from(buffer);`
struct datagram {
  std::size_t bytes = 0;   ///< how many are in the buffer
  net::endpoint from{};    ///< the sender
  bool truncated = false;  ///< it was longer than the buffer; the rest is lost
};

/// received is what `udp_socket::recv` tells of a datagram of the peer.
struct received {
  std::size_t bytes = 0;   ///< how many are in the buffer
  bool truncated = false;  ///< it was longer than the buffer; the rest is lost
};

/// incoming is room for one datagram of `udp_socket::recv_many`, which fills the other members in.
struct incoming {
  detail::any_buffer buffer{};  ///< a std::span<std::byte>; takes what converts to a span of characters as well
  std::size_t bytes = 0;        ///< how many are in the buffer
  net::endpoint from{};         ///< the sender
  bool truncated = false;       ///< it was longer than the buffer; the rest is lost
};

/// outgoing is one datagram of `udp_socket::send_many`.
struct outgoing {
  detail::any_const_buffer
      data{};          ///< a std::span<const std::byte>; takes what converts to a span of characters as well
  net::endpoint to{};  ///< endpoint(): the peer that the socket is connected to
};

/// udp_socket sends and receives datagrams. Its destructor closes it. Any number of fibers may use it at once; one
/// sends and one receives at a time, the others queue.
///
/// ```cpp
/// auto socket = weft::net::udp_socket::bind(":5353");
/// std::array<char, 1500> buffer;
/// const auto [bytes, from, truncated] = socket.recv_from(buffer);
/// if (!truncated) socket.send_to(std::span<const char>(buffer).first(bytes), from);
/// ```
class WEFT_EXPORT udp_socket : public detail::net_object {
 public:
  /// No socket: every operation on it fails with std::errc::bad_file_descriptor.
  udp_socket() noexcept = default;

  /// Takes over a UDP socket (net::from_fd says what that means).
  udp_socket(from_fd_t, int number) { adopt(number, nullptr); }
  udp_socket(from_fd_t, int number, std::error_code& error) { adopt(number, &error); }

  /// bind opens a socket on an address of this machine: "127.0.0.1:5353", "[::1]:0"; ":5353" is every address, by IPv6
  /// and IPv4; port 0 is any free one. It takes one address, as `listen` does, and what is in use is
  /// std::errc::address_in_use. Waits where a name is to be resolved (net::resolve). Without a runtime: std::logic_error.
  static udp_socket bind(std::string_view where, const bind_options& options = {});
  static udp_socket bind(std::string_view where, const bind_options& options, std::error_code& error);
  static udp_socket bind(std::string_view where, std::error_code& error) { return bind(where, {}, error); }
  static udp_socket bind(const endpoint& where, const bind_options& options = {});
  static udp_socket bind(const endpoint& where, const bind_options& options, std::error_code& error);
  static udp_socket bind(const endpoint& where, std::error_code& error) { return bind(where, {}, error); }

  /// The largest payload of a datagram over IPv4. (Over IPv6 it is 20 bytes more.)
  static constexpr std::size_t largest = 65507;

  /// Sends one datagram (an empty span: an empty one), whole or not at all; waits while the socket's buffer is full.
  /// What is too large is std::errc::message_size, a broadcast address permission_denied until `set_broadcast(true)`,
  /// port 0 invalid_argument. That it was sent does not mean that it arrives. On a connected socket, too, it goes to
  /// `to`.
  std::size_t send_to(std::span<const std::byte> from, const endpoint& to);
  std::size_t send_to(std::span<const std::byte> from, const endpoint& to, std::error_code& error);
  std::size_t send_to(detail::const_char_buffer from, const endpoint& to) { return send_to(from.bytes(), to); }
  std::size_t send_to(detail::const_char_buffer from, const endpoint& to, std::error_code& error) {
    return send_to(from.bytes(), to, error);
  }

  /// Waits for a datagram, and takes it. What does not fit into `to` is lost, and `truncated` says so: anybody can send
  /// large ones, and that should be no error of the program. A buffer of `largest` bytes cuts none of IPv4. 0 bytes: an
  /// empty one; an empty buffer takes one as well, and cuts it. On a connected socket it gives what the peer has sent,
  /// and what others had sent before the `connect`.
  datagram recv_from(std::span<std::byte> to);
  datagram recv_from(std::span<std::byte> to, std::error_code& error);
  datagram recv_from(detail::char_buffer to) { return recv_from(to.bytes()); }
  datagram recv_from(detail::char_buffer to, std::error_code& error) { return recv_from(to.bytes(), error); }

  /// Makes `where` the peer: `send` goes there, `recv` takes what comes from there, and what others send from here on is
  /// dropped by the kernel. Nothing is sent, so it says nothing about whether somebody is there; a peer whose machine
  /// answers that nobody has the port makes the next operation fail with std::errc::connection_refused (once: the one
  /// after that goes on). Connecting again moves to the other peer. If it fails, the former peer stays.
  ///
  /// Of a name with several addresses it takes the first of a family that the socket speaks; none of them is
  /// address_family_not_supported. Port 0 is invalid_argument. A socket that is bound to every address takes the one from
  /// which this machine reaches its first peer, and keeps it; a peer that cannot be reached from there needs a socket of
  /// its own. Waits where a name is to be resolved, and for nothing else: not for who sends and receives.
  void connect(std::string_view where);
  void connect(std::string_view where, std::error_code& error);
  void connect(const endpoint& where);
  void connect(const endpoint& where, std::error_code& error);

  /// As `send_to`, to the peer. Without one: std::errc::destination_address_required. A call that says
  /// connection_refused tells of a datagram before, and has sent nothing.
  std::size_t send(std::span<const std::byte> from);
  std::size_t send(std::span<const std::byte> from, std::error_code& error);
  std::size_t send(detail::const_char_buffer from) { return send(from.bytes()); }
  std::size_t send(detail::const_char_buffer from, std::error_code& error) { return send(from.bytes(), error); }

  /// As `recv_from`, of the peer alone: what others had sent before the `connect` is dropped. Without a peer:
  /// std::errc::not_connected.
  received recv(std::span<std::byte> to);
  received recv(std::span<std::byte> to, std::error_code& error);
  received recv(detail::char_buffer to) { return recv(to.bytes()); }
  received recv(detail::char_buffer to, std::error_code& error) { return recv(to.bytes(), error); }

  /// Waits for a datagram, then takes what else is there, one for each element; returns how many were taken, and each as
  /// `recv_from` tells it. No element: 0 at once. An error that comes after some were taken is left to the next call,
  /// which meets it again if it lasts.
  ///
  /// ```cpp
  /// std::vector<std::byte> room(16 * 1500);
  /// std::array<weft::net::incoming, 16> in;
  /// for (std::size_t i = 0; i < in.size(); ++i) in[i].buffer = std::span(room).subspan(i * 1500, 1500);
  /// for (const auto& each : std::span(in).first(socket.recv_many(in))) use(each.buffer.first(each.bytes), each.from);
  /// ```
  std::size_t recv_many(std::span<incoming> to);
  std::size_t recv_many(std::span<incoming> to, std::error_code& error);

  /// Sends the datagrams in order, waits for room for all of them, and returns how many were sent. Fewer than there are:
  /// the next one cannot be sent; that is no error of this call. Go on from there (`from.subspan(n)`): that call fails
  /// with the reason if it lasts, as it does where it lies in the datagram, in a close, a deadline or a cancellation. So
  /// an error of this call is always that of the first, and nothing was sent. No element: 0 at once.
  std::size_t send_many(std::span<const outgoing> from);
  std::size_t send_many(std::span<const outgoing> from, std::error_code& error);

  /// Takes in what is sent to a group (224.0.0.0/4, ff00::/8) and to the port of this socket; `group`'s own port is not
  /// looked at. `interface` is the name of a network interface, such as "eth0"; "": the group's zone (of IPv6), or the
  /// one that the kernel's routes lead to. From the first group on the socket takes in its own alone; a socket that
  /// was in none gets, as Linux has it, those that any other program is in.
  ///
  /// What is no group is std::errc::invalid_argument, an unknown interface or one that no route names no_such_device, a
  /// group of a family that the socket does not speak address_family_not_supported, one that it is in address_in_use
  /// (`leave_group`, one that it is not in: address_not_available). Neither waits.
  void join_group(const endpoint& group, std::string_view interface = {});
  void join_group(const endpoint& group, std::string_view interface, std::error_code& error);
  void join_group(const endpoint& group, std::error_code& error) { join_group(group, {}, error); }
  /// Ends it, with the same interface. A close ends all.
  void leave_group(const endpoint& group, std::string_view interface = {});
  void leave_group(const endpoint& group, std::string_view interface, std::error_code& error);
  void leave_group(const endpoint& group, std::error_code& error) { leave_group(group, {}, error); }

  /// Whether it may send to broadcast addresses; from the start it may not. Never waits.
  void set_broadcast(bool on);
  void set_broadcast(bool on, std::error_code& error);

  /// Where it is bound, with the port that port 0 became; once connected, with the address that it sends from (after a
  /// close again as it was bound). Never waits.
  [[nodiscard]] endpoint local_endpoint() const noexcept;

 private:
  friend struct rt::net_access;
  udp_socket(rt::descriptor* adopted, const endpoint& local, bool v6) noexcept
      : net_object(adopted), local_(local), v6_(v6) {}
  void adopt(int number, std::error_code* error);

  endpoint local_;
  bool v6_ = false;  // takes IPv4 addresses only wrapped
};

}  // namespace net
}  // namespace v0
}  // namespace weft
