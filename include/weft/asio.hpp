// SPDX-License-Identifier: Apache-2.0
// weft::net::tcp_stream as a SyncReadStream and SyncWriteStream of Boost.Asio: Boost.Beast and boost::asio::ssl::stream
// run on fibers unchanged, by their synchronous calls. The one public header that includes Boost (1.74 and newer).
//
// ```cpp
// boost::beast::flat_buffer buffer;
// boost::beast::http::request<boost::beast::http::string_body> request;
// boost::beast::http::read(stream, buffer, request);    // waits on the fiber
// ```
//
// The end of the stream is boost::asio::error::eof. The forms without an error code throw boost::system::system_error.
// Where a cancelled scope or a with_timeout has ended the wait, both forms throw what other waits throw (weft::cancelled,
// or the failed scope's error), through Asio and Beast, whichever form of theirs was called: so a clean end stays one. A
// deadline or a close of the stream itself is an error code (timed_out, operation_aborted). Nothing asynchronous works
// on such a stream: nobody runs its io_context.
#pragma once

#include <utility>  // ahead of Asio 1.74, which uses std::exchange without including it (g++ 12 notices)

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/system/system_error.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <system_error>

#include <weft/error.hpp>
#include <weft/net.hpp>
#include <weft/runtime.hpp>

namespace boost::beast {
enum class role_type;
}

namespace weft {
inline namespace v0 {

namespace detail {

/// Only so that timers inside Beast and Asio have something to belong to. (Those of a system_executor would start
/// threads.)
inline boost::asio::io_context& idle_io_context() {
  static auto* const context = new boost::asio::io_context(1);  // never destroyed: streams may be statics
  return *context;
}

/// Throws weft::cancelled, or the failed scope's error, if that is what has ended the wait.
inline boost::system::error_code to_asio(const std::error_code& error) {
  if (error == std::errc::operation_canceled) [[unlikely]]
    this_fiber::check_cancelled();
  return {error.value(), boost::system::system_category()};
}

}  // namespace detail

class asio_executor : public boost::asio::io_context::executor_type {
 public:
  asio_executor() noexcept : executor_type(detail::idle_io_context().get_executor()) {}

 private:
  using executor_type = boost::asio::io_context::executor_type;
};

namespace net {

inline asio_executor tcp_stream::get_executor() noexcept { return {}; }

template <class MutableBuffers, class AsioError>
requires(!detail::any_span<MutableBuffers>) std::size_t tcp_stream::read_some(const MutableBuffers& to,
                                                                              AsioError& error) {
  const auto end = boost::asio::buffer_sequence_end(to);
  for (auto it = boost::asio::buffer_sequence_begin(to); it != end; ++it) {
    const boost::asio::mutable_buffer first(*it);  // to fill one of several buffers is some, too
    if (first.size() == 0) continue;
    std::error_code native;
    const std::size_t n = read_some(std::span(static_cast<std::byte*>(first.data()), first.size()), native);
    error = detail::to_asio(native);
    if (n == 0 && !native) error = boost::asio::error::eof;
    return n;
  }
  error = {};
  return 0;
}

template <class MutableBuffers>
requires(!detail::any_span<MutableBuffers>) std::size_t tcp_stream::read_some(const MutableBuffers& to) {
  boost::system::error_code error;
  const std::size_t n = read_some(to, error);
  if (error) throw boost::system::system_error(error, "read_some");
  return n;
}

template <class ConstBuffers, class AsioError>
requires(!detail::any_span<ConstBuffers>) std::size_t tcp_stream::write_some(const ConstBuffers& from,
                                                                             AsioError& error) {
  std::array<std::span<const std::byte>, 16> pieces;
  std::size_t count = 0;
  const auto end = boost::asio::buffer_sequence_end(from);
  for (auto it = boost::asio::buffer_sequence_begin(from); it != end && count < pieces.size(); ++it) {
    const boost::asio::const_buffer each(*it);
    if (each.size() != 0) pieces[count++] = {static_cast<const std::byte*>(each.data()), each.size()};
  }
  std::error_code native;
  const std::size_t n = count == 1
                            ? write_some(pieces[0], native)
                            : write_some_of(std::span<const std::span<const std::byte>>(pieces.data(), count), native);
  error = detail::to_asio(native);
  return n;
}

template <class ConstBuffers>
requires(!detail::any_span<ConstBuffers>) std::size_t tcp_stream::write_some(const ConstBuffers& from) {
  boost::system::error_code error;
  const std::size_t n = write_some(from, error);
  if (error) throw boost::system::system_error(error, "write_some");
  return n;
}

/// How long a teardown waits for a peer that does not say that it has finished.
inline constexpr std::chrono::seconds teardown_limit{2};

/// teardown is what boost::beast::websocket asks for at the end of a session: says that nothing more will come, and
/// reads until the peer says so too; no longer than `teardown_limit`, or the stream's deadline (timed_out). Waits,
/// cancellably. Found by argument-dependent lookup.
inline void teardown(boost::beast::role_type, tcp_stream& stream, boost::system::error_code& error) {
  std::error_code native;
  stream.shutdown_write(native);
  if (!native) detail::read_to_end(stream, clock::now() + teardown_limit, native);
  error = detail::to_asio(native);
}

}  // namespace net
}  // namespace v0
}  // namespace weft
