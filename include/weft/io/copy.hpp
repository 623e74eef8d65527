// SPDX-License-Identifier: Apache-2.0
// From one stream to another, until its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>
#include <type_traits>

#include <weft/detail/export.hpp>
#include <weft/io/reader.hpp>
#include <weft/io/stream.hpp>

namespace weft {
inline namespace v0 {
namespace net {
class byte_stream;
class fd;
class tcp_stream;
class unix_stream;
}  // namespace net
}  // namespace v0
}  // namespace weft

namespace weft {
inline namespace v0 {
namespace detail {
/// Not one that the program has derived from them: it may read and write in its own way.
template <class S>
inline constexpr bool is_own_stream =
    std::is_same_v<S, net::tcp_stream> || std::is_same_v<S, net::unix_stream> || std::is_same_v<S, net::fd>;

/// As io::copy. Without places for the errors it throws.
WEFT_EXPORT std::uint64_t copy_streams(net::byte_stream& from, net::byte_stream& to, std::error_code* from_error,
                                       std::error_code* to_error);
}  // namespace detail
}  // namespace v0
}  // namespace weft

namespace weft {
inline namespace v0 {
namespace io {

inline constexpr std::size_t copy_buffer_size = std::size_t{32} << 10;

/// copy writes to `to` what it reads from `from`, until its end; returns how many bytes were written. Cancellable. It
/// does not tell `to` that there is no more: that is the caller's (`shutdown_write`). `from` and `to` may be the same
/// stream. From a `reader` it takes what is buffered, and then goes on with the stream itself.
///
/// Others may read from `from` and write to `to` in between: nothing is held while the other one is waited for. Between
/// two streams of weft's a close of either, and a read deadline of `from` or a write deadline of `to`, end it at once,
/// also while it waits for the other one; a close returns when the copy has left. (A stream that the program has made
/// is only asked by its `read_some` and `write_all`, in turn.)
///
/// At the end of `from` everything has been written. If the copy ends early (an error, a deadline, a close, a
/// cancellation), up to `copy_buffer_size` bytes that were read and not written are lost (and what a reader had
/// buffered): the count tells what has arrived. None are, if one of the two is a pipe and the other a stream socket: there nothing is in between.
///
/// Throws what the two throw; the message says which of them it was.
template <source From, sink To>
std::uint64_t copy(From& from, To& to) {
  if constexpr (detail::is_own_stream<From> && detail::is_own_stream<To>) {
    return detail::copy_streams(from, to, nullptr, nullptr);
  } else if constexpr (detail::is_reader<From>) {
    this_fiber::check_cancelled();
    const std::span<const std::byte> first = detail::reader_access::take_buffered(from);
    if (!first.empty()) to.write_all(first);
    if (detail::reader_access::take_end(from)) return first.size();
    return first.size() + io::copy(detail::reader_access::stream(from), to);
  } else {
    std::uint64_t total = 0;
    const auto buffer = std::make_unique_for_overwrite<std::byte[]>(copy_buffer_size);
    while (const std::size_t n = from.read_some(std::span(buffer.get(), copy_buffer_size))) {
      to.write_all(std::span<const std::byte>(buffer.get(), n));
      total += n;
    }
    return total;
  }
}

/// The same; returns how much was copied before an error, and which of the two it came from. A cancelled scope is
/// std::errc::operation_canceled in both.
template <source From, sink To>
std::uint64_t copy(From& from, To& to, std::error_code& from_error, std::error_code& to_error) {
  from_error.clear();
  to_error.clear();
  if constexpr (detail::is_own_stream<From> && detail::is_own_stream<To>) {
    return detail::copy_streams(from, to, &from_error, &to_error);
  } else if constexpr (detail::is_reader<From>) {
    if (detail::cancelled_at_entry(&from_error)) {
      to_error = from_error;
      return 0;
    }
    const std::span<const std::byte> first = detail::reader_access::take_buffered(from);
    if (!first.empty()) to.write_all(first, to_error);
    if (to_error) return 0;
    if (detail::reader_access::take_end(from)) return first.size();
    return first.size() + io::copy(detail::reader_access::stream(from), to, from_error, to_error);
  } else {
    std::uint64_t total = 0;
    const auto buffer = std::make_unique_for_overwrite<std::byte[]>(copy_buffer_size);
    while (const std::size_t n = from.read_some(std::span(buffer.get(), copy_buffer_size), from_error)) {
      to.write_all(std::span<const std::byte>(buffer.get(), n), to_error);
      if (to_error) break;
      total += n;
    }
    return total;
  }
}

/// The same, if it does not matter from which.
template <source From, sink To>
std::uint64_t copy(From& from, To& to, std::error_code& error) {
  std::error_code to_error;
  const std::uint64_t total = io::copy(from, to, error, to_error);
  if (!error) error = to_error;
  return total;
}

}  // namespace io
}  // namespace v0
}  // namespace weft
