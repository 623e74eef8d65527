// SPDX-License-Identifier: Apache-2.0
// TCP: streams and listeners.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>

#include <weft/detail/export.hpp>
#include <weft/net/byte_stream.hpp>
#include <weft/net/endpoint.hpp>

namespace weft {
inline namespace v0 {

/// asio_executor is the executor that streams show to Asio; weft/asio.hpp completes it.
class asio_executor;

namespace net {

/// tcp_stream is a connection. Its destructor closes it. The peer's pushes are not delayed: TCP_NODELAY is on from the
/// start.
class WEFT_EXPORT tcp_stream : public byte_stream {
 public:
  /// No connection: every operation on it fails with std::errc::bad_file_descriptor.
  tcp_stream() noexcept = default;

  using byte_stream::read_some;
  using byte_stream::write_some;

  /// Tells the peer that nothing more will come: it reads an end. Reading goes on. Never waits.
  void shutdown_write();
  void shutdown_write(std::error_code& error);

  /// TCP_NODELAY: true (as it is from the start) sends small writes at once, false lets the kernel gather them. Never
  /// waits.
  void set_no_delay(bool on = true);
  void set_no_delay(bool on, std::error_code& error);

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
};

/// tcp_listener takes in connections. Its destructor closes it.
class WEFT_EXPORT tcp_listener : public detail::net_object {
 public:
  tcp_listener() noexcept = default;

  /// Waits for a connection. nullopt: the listener is closed (the form with an error code then also says
  /// operation_canceled).
  ///
  /// Connections that died while they queued are passed over. When there are no descriptors or no memory (EMFILE,
  /// ENFILE, ENOBUFS, ENOMEM) it tries again, first after 5 ms, then ever later, up to 1 s: others may close theirs.
  std::optional<tcp_stream> accept();
  std::optional<tcp_stream> accept(std::error_code& error);

  /// Where it listens, with the port that port 0 became. Never waits.
  [[nodiscard]] endpoint local_endpoint() const noexcept { return local_; }

 private:
  friend struct rt::net_access;
  tcp_listener(rt::descriptor* adopted, const endpoint& local) noexcept : net_object(adopted), local_(local) {}

  endpoint local_;
};

/// listen opens a port for connections: "127.0.0.1:8080", "[::1]:8080", "localhost:8080"; ":8080" is every address of
/// the machine, by IPv6 and IPv4; port 0 is any free one. A name is resolved on the calling thread, under
/// weft::blocking. Without a runtime: std::logic_error.
WEFT_EXPORT tcp_listener listen(std::string_view where);
WEFT_EXPORT tcp_listener listen(std::string_view where, std::error_code& error);

/// connect waits until a connection stands: to "host:port" as above. Of a name with several addresses the first one
/// that answers wins (RFC 8305): IPv6 and IPv4 in turn, the next one starts when one has failed or has not answered for
/// 250 ms; the losers are closed. The error is that of the first address. Put a limit on it with with_timeout. Without
/// a runtime: std::logic_error.
WEFT_EXPORT tcp_stream connect(std::string_view where);
WEFT_EXPORT tcp_stream connect(std::string_view where, std::error_code& error);

}  // namespace net
}  // namespace v0
}  // namespace weft
