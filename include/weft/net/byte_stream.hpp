// SPDX-License-Identifier: Apache-2.0
// Reading and writing bytes: what tcp_stream, unix_stream and fd share.
//
// One operation reads from a stream at a time and one writes; more are queued in the order they came. A stream may be
// used, and closed, by several fibers at once; moving and destroying it is for one that knows that the others have
// left.
//
// Buffers are spans of std::byte, char or unsigned char, or what converts to one: arrays, vectors, strings. A string
// literal does not compile, since its terminating zero would go along: write_all(std::string_view("text")).
#pragma once

#include <cstddef>
#include <span>
#include <system_error>

#include <weft/detail/buffer.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/net_object.hpp>

namespace weft {
inline namespace v0 {
namespace net {

/// byte_stream is what can be read and written; never made by itself. A function that takes a `byte_stream&` works
/// with every kind. On one without a descriptor every operation fails with std::errc::bad_file_descriptor.
class WEFT_EXPORT byte_stream : public detail::net_object {
 public:
  /// Waits until something is there, and reads up to `to.size()` bytes; 0: the peer has finished sending (or `to` is
  /// empty).
  std::size_t read_some(std::span<std::byte> to);
  std::size_t read_some(std::span<std::byte> to, std::error_code& error);
  std::size_t read_some(detail::char_buffer to) { return read_some(to.bytes()); }
  std::size_t read_some(detail::char_buffer to, std::error_code& error) { return read_some(to.bytes(), error); }

  /// Fills `to`. An end before that is std::errc::connection_aborted. Nobody else reads in between. Returns how much
  /// was read, which is less only with an error.
  std::size_t read_exactly(std::span<std::byte> to);
  std::size_t read_exactly(std::span<std::byte> to, std::error_code& error);
  std::size_t read_exactly(detail::char_buffer to) { return read_exactly(to.bytes()); }
  std::size_t read_exactly(detail::char_buffer to, std::error_code& error) { return read_exactly(to.bytes(), error); }

  /// As `read_some`, into several pieces, which are filled in order by one system call (at most 1024 of them).
  std::size_t readv(std::span<const std::span<std::byte>> to);
  std::size_t readv(std::span<const std::span<std::byte>> to, std::error_code& error);

  /// As `read_some`, and leaves what it reads there for the next operation. What has come beyond `to.size()` bytes, or
  /// comes later, it does not wait for: a second call gives the same bytes at once. What is no socket keeps nothing:
  /// std::errc::not_a_socket.
  std::size_t peek(std::span<std::byte> to);
  std::size_t peek(std::span<std::byte> to, std::error_code& error);
  std::size_t peek(detail::char_buffer to) { return peek(to.bytes()); }
  std::size_t peek(detail::char_buffer to, std::error_code& error) { return peek(to.bytes(), error); }

  /// Waits until a read, or a write, would not wait: also for an end or an error. Does not wait for its turn: another
  /// fiber may be reading or writing, and take what was there.
  void wait_readable();
  void wait_readable(std::error_code& error);
  void wait_writable();
  void wait_writable(std::error_code& error);

  /// Waits until something can be written, and writes at least one byte of `from` (if there is one); returns how many.
  /// To a dead peer, or a pipe that nobody reads: std::errc::broken_pipe or connection_reset, never a signal.
  std::size_t write_some(std::span<const std::byte> from);
  std::size_t write_some(std::span<const std::byte> from, std::error_code& error);
  std::size_t write_some(detail::const_char_buffer from) { return write_some(from.bytes()); }
  std::size_t write_some(detail::const_char_buffer from, std::error_code& error) {
    return write_some(from.bytes(), error);
  }

  /// Writes all of it; nobody else writes in between. Returns how much was written, which is less only with an error.
  std::size_t write_all(std::span<const std::byte> from);
  std::size_t write_all(std::span<const std::byte> from, std::error_code& error);
  std::size_t write_all(detail::const_char_buffer from) { return write_all(from.bytes()); }
  std::size_t write_all(detail::const_char_buffer from, std::error_code& error) {
    return write_all(from.bytes(), error);
  }

  /// The same for several pieces, by as few system calls as can be.
  std::size_t writev(std::span<const std::span<const std::byte>> from);
  std::size_t writev(std::span<const std::span<const std::byte>> from, std::error_code& error);

 protected:
  byte_stream() noexcept = default;
  explicit byte_stream(rt::descriptor* adopted) noexcept : net_object(adopted) {}
  byte_stream(byte_stream&&) noexcept = default;
  byte_stream& operator=(byte_stream&&) noexcept = default;
  ~byte_stream() = default;

  /// One system call's worth of several pieces.
  std::size_t write_some_of(std::span<const std::span<const std::byte>> from, std::error_code& error);
};

}  // namespace net

namespace detail {
/// Reads, and throws away, what comes until the end; std::errc::timed_out once `limit` has come. Cancellable.
WEFT_EXPORT void read_to_end(net::byte_stream& from, clock::time_point limit, std::error_code& error);
}  // namespace detail
}  // namespace v0
}  // namespace weft
