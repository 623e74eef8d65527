// SPDX-License-Identifier: Apache-2.0
// TCP: streams and listeners.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>

#include <weft/detail/export.hpp>
#include <weft/net/byte_stream.hpp>
#include <weft/net/endpoint.hpp>
#include <weft/net/from_fd.hpp>

namespace weft {
inline namespace v0 {

/// asio_executor is the executor that streams show to Asio; weft/asio.hpp completes it.
class asio_executor;

namespace net {

/// tcp_stream is a connection. Its destructor closes it. Small writes are not delayed: TCP_NODELAY is on from the start;
/// so is keep-alive, after 15 s of silence and each 15 s: a peer that has vanished is noticed.
class WEFT_EXPORT tcp_stream : public byte_stream {
 public:
  /// No connection: every operation on it fails with std::errc::bad_file_descriptor.
  tcp_stream() noexcept = default;

  /// Takes over a connection (net::from_fd says what that means). TCP_NODELAY and keep-alive stay as they are.
  tcp_stream(from_fd_t, int number) { adopt(number, nullptr); }
  tcp_stream(from_fd_t, int number, std::error_code& error) { adopt(number, &error); }

  using byte_stream::read_some;
  using byte_stream::write_some;

  /// Tells the peer that nothing more will come: it reads an end. Reading goes on. Never waits.
  void shutdown_write();
  void shutdown_write(std::error_code& error);

  /// TCP_NODELAY: true (as it is from the start) sends small writes at once, false lets the kernel gather them. Never
  /// waits.
  void set_no_delay(bool on = true);
  void set_no_delay(bool on, std::error_code& error);

  /// Asks a silent peer whether it is still there: first after `idle`, then every `interval`; after `count` questions
  /// without an answer the connection has failed (std::errc::timed_out). Whole seconds, rounded up, of at least 1 and at
  /// most 32767; `count` up to 127: else std::errc::invalid_argument. From the start: 15 s, 15 s, and the kernel's
  /// count. Never waits.
  void set_keep_alive(std::chrono::nanoseconds idle, std::chrono::nanoseconds interval, int count);
  void set_keep_alive(std::chrono::nanoseconds idle, std::chrono::nanoseconds interval, int count,
                      std::error_code& error);
  /// Switches it off, or on as it was set last.
  void set_keep_alive(bool on);
  void set_keep_alive(bool on, std::error_code& error);

  /// How long the kernel tries to send what is still to be sent once the stream is closed; 0 s: not at all, the peer
  /// sees a reset (whole seconds, rounded up). nullopt, as it is from the start: `close` does not wait for it and the
  /// kernel goes on in the background. With a time `close` may block its thread as long. Never waits itself.
  void set_linger(std::optional<std::chrono::seconds> time);
  void set_linger(std::optional<std::chrono::seconds> time, std::error_code& error);

  /// Our end of the connection. Never waits.
  [[nodiscard]] endpoint local_endpoint() const;
  [[nodiscard]] endpoint local_endpoint(std::error_code& error) const;
  /// The peer's end, also after it has gone.
  [[nodiscard]] endpoint remote_endpoint() const noexcept;

  // An Asio SyncReadStream and SyncWriteStream, as Boost.Beast and boost::asio::ssl want it; defined in weft/asio.hpp.
  // An end is boost::asio::error::eof there. The form without an error code throws boost::system::system_error.
  using executor_type = asio_executor;
  using lowest_layer_type = tcp_stream;
  executor_type get_executor() noexcept;
  lowest_layer_type& lowest_layer() noexcept { return *this; }
  const lowest_layer_type& lowest_layer() const noexcept { return *this; }
  template <class MutableBuffers>
  requires(!detail::any_span<MutableBuffers>) std::size_t read_some(const MutableBuffers& to);
  template <class MutableBuffers, class AsioError>
  requires(!detail::any_span<MutableBuffers>) std::size_t read_some(const MutableBuffers& to, AsioError& error);
  template <class ConstBuffers>
  requires(!detail::any_span<ConstBuffers>) std::size_t write_some(const ConstBuffers& from);
  template <class ConstBuffers, class AsioError>
  requires(!detail::any_span<ConstBuffers>) std::size_t write_some(const ConstBuffers& from, AsioError& error);

 private:
  friend struct rt::net_access;
  explicit tcp_stream(rt::descriptor* adopted) noexcept : byte_stream(adopted) {}
  void adopt(int number, std::error_code* error);
};

/// tcp_listener takes in connections. Its destructor closes it.
class WEFT_EXPORT tcp_listener : public detail::net_object {
 public:
  tcp_listener() noexcept = default;

  /// Takes over a socket that listens (net::from_fd says what that means). What it accepts inherits its options, such as
  /// TCP_NODELAY and keep-alive, which stay as they are.
  tcp_listener(from_fd_t, int number) { adopt(number, nullptr); }
  tcp_listener(from_fd_t, int number, std::error_code& error) { adopt(number, &error); }

  /// Waits for a connection. nullopt: the listener is closed (the form with an error code then also says
  /// operation_canceled).
  ///
  /// Connections that died while they queued are passed over. When there are no descriptors or no memory (EMFILE,
  /// ENFILE, ENOBUFS, ENOMEM) it tries again, first after 5 ms, then ever later, up to 1 s: others may close theirs; and
  /// at once when a socket or descriptor of weft's is closed. Every other error is reported; a server may go on.
  std::optional<tcp_stream> accept();
  std::optional<tcp_stream> accept(std::error_code& error);

  /// Where it listens, with the port that port 0 became. Never waits.
  [[nodiscard]] endpoint local_endpoint() const noexcept { return local_; }

 private:
  friend struct rt::net_access;
  tcp_listener(rt::descriptor* adopted, const endpoint& local) noexcept : net_object(adopted), local_(local) {}
  void adopt(int number, std::error_code* error);

  endpoint local_;
};

/// listen_options is what `listen` takes beside the address.
struct listen_options {
  /// How many connections may wait for `accept`, up to net.core.somaxconn. 0: as many as that.
  int backlog = 0;

  /// Several listeners may have the port, if all of them ask for it; the kernel shares the connections out among them
  /// (SO_REUSEPORT).
  bool reuse_port = false;

  /// IPv6 alone: "[::]:80" and ":80" take no IPv4 then, a name is that of its IPv6 addresses, and an IPv4 address is
  /// std::errc::invalid_argument.
  bool v6_only = false;

  /// Called with the socket before it is bound, for each address that is tried, to set options of its own. What it
  /// throws comes out of `listen`. The descriptor stays the library's.
  std::function<void(int fd)> before_bind{};
};

/// listen opens a port for connections: "127.0.0.1:8080", "[::1]:8080", "localhost:http"; ":8080" is every address of
/// the machine, by IPv6 and IPv4; port 0 is any free one. It takes one address: of a name with several the first, IPv4's
/// ahead of IPv6's. The next one is tried only where a family is not to be had. A port that is in use is
/// std::errc::address_in_use, also if it is by one family alone; a text that is no address is invalid_argument. Waits
/// where a name is to be resolved (net::resolve). Without a runtime: std::logic_error.
///
/// ```cpp
/// auto ln = weft::net::listen(":8080", {.backlog = 128, .reuse_port = true});
/// ```
WEFT_EXPORT tcp_listener listen(std::string_view where, const listen_options& options = {});
WEFT_EXPORT tcp_listener listen(std::string_view where, const listen_options& options, std::error_code& error);
inline tcp_listener listen(std::string_view where, std::error_code& error) { return listen(where, {}, error); }
WEFT_EXPORT tcp_listener listen(const endpoint& where, const listen_options& options = {});
WEFT_EXPORT tcp_listener listen(const endpoint& where, const listen_options& options, std::error_code& error);
inline tcp_listener listen(const endpoint& where, std::error_code& error) { return listen(where, {}, error); }

/// connect_options is what `connect` takes beside the address.
struct connect_options {
  /// The address of this machine to connect from; port 0 is any free one. Addresses of the other family are not tried
  /// (std::errc::address_family_not_supported if there is no other). endpoint(): as the kernel chooses.
  endpoint local{};

  /// Called with the socket before it connects, for each attempt, to set options of its own; by one attempt at a time.
  /// What it throws comes out of `connect`. The descriptor stays the library's.
  std::function<void(int fd)> before_connect{};
};

/// connect waits until a connection stands: to "host:port" as above (an empty host is this machine). Of a name with
/// several addresses the first one that answers wins (RFC 8305): IPv6 and IPv4 in turn, the next one starts when one has
/// failed or has not answered for 250 ms; the losers are closed. The error is that of the first address. Put a limit on
/// it with with_timeout, which holds for the lookup of the name as well. Without a runtime: std::logic_error.
WEFT_EXPORT tcp_stream connect(std::string_view where, const connect_options& options = {});
WEFT_EXPORT tcp_stream connect(std::string_view where, const connect_options& options, std::error_code& error);
inline tcp_stream connect(std::string_view where, std::error_code& error) { return connect(where, {}, error); }
WEFT_EXPORT tcp_stream connect(const endpoint& where, const connect_options& options = {});
WEFT_EXPORT tcp_stream connect(const endpoint& where, const connect_options& options, std::error_code& error);
inline tcp_stream connect(const endpoint& where, std::error_code& error) { return connect(where, {}, error); }

}  // namespace net
}  // namespace v0
}  // namespace weft
