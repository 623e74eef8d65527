// SPDX-License-Identifier: Apache-2.0
// A buffered writer: many small pieces, few system calls.
//
// Invariants
//  1. What was written and not handed to the stream is the first `size_` bytes of the buffer. It goes out before, or
//     together with, all that comes later.
//  2. Once a write to the stream has failed it is not known how much has arrived: nothing more is written.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <system_error>

#include <weft/detail/buffer.hpp>
#include <weft/io/stream.hpp>

namespace weft {
inline namespace v0 {
namespace io {

/// writer gathers what is written to a stream in a buffer, and hands it on when that is full, and by `flush`. It is a
/// `sink` itself. It refers to the stream, which must outlive it. For one fiber at a time.
///
/// ```cpp
/// weft::io::writer out(stream);
/// out.write(std::string_view("HTTP/1.1 200 OK\r\nContent-Length: "));
/// out.write(std::to_string(body.size()));
/// out.write(std::string_view("\r\n\r\n"));
/// out.write(body);                                       // a large one goes out with what is there, uncopied
/// out.flush();
/// ```
///
/// Each call has two forms: one throws what the stream throws, one takes a std::error_code& last. Each waits if it must,
/// cancellably. Errors are sticky: after one, which may have left a piece half sent, each later call fails with the same
/// code. (A call that finds itself cancelled at its entry has done nothing, and is no such error: what is buffered can
/// still be flushed in a `shield`.)
///
/// The destructor drops what was not flushed, as Go's bufio.Writer does: it could report no error, and would wait for the
/// peer where nothing may be cancelled.
template <sink To>
class writer {
 public:
  /// Takes a buffer of so many bytes when the first piece comes that is not larger.
  explicit writer(To& to, std::size_t buffer_size = default_buffer_size) : to_(to), capacity_(buffer_size) {}
  writer(const writer&) = delete;
  writer& operator=(const writer&) = delete;
  ~writer() = default;

  /// Writes all of it, to the buffer if there is room. What does not fit is handed to the stream with what is buffered:
  /// at once (`writev`), if the stream can do so. A string literal does not compile, since its terminating zero would go
  /// along: write(std::string_view("text")).
  void write(std::span<const std::byte> from) { put(from, nullptr); }
  void write(std::span<const std::byte> from, std::error_code& error) { put(from, &error); }
  void write(detail::const_char_buffer from) { put(from.bytes(), nullptr); }
  void write(detail::const_char_buffer from, std::error_code& error) { put(from.bytes(), &error); }

  /// As `write`: what makes it a sink.
  void write_all(std::span<const std::byte> from) { put(from, nullptr); }
  void write_all(std::span<const std::byte> from, std::error_code& error) { put(from, &error); }
  void write_all(detail::const_char_buffer from) { put(from.bytes(), nullptr); }
  void write_all(detail::const_char_buffer from, std::error_code& error) { put(from.bytes(), &error); }

  /// Hands what is buffered to the stream.
  void flush() { send({}, nullptr); }
  void flush(std::error_code& error) { send({}, &error); }

  /// Flushes, and closes the stream if it has a `close`: also if the flush fails, whose error comes out. So this is the
  /// one close that may throw `cancelled`. A second call does nothing; later writes fail with
  /// std::errc::operation_canceled.
  void close() { finish(nullptr); }
  void close(std::error_code& error) { finish(&error); }

  /// How many bytes wait for a flush. Never waits.
  [[nodiscard]] std::size_t buffered() const noexcept { return size_; }

 private:
  static constexpr bool gathers =
      requires(To & to, std::span<const std::span<const std::byte>> pieces, std::error_code& error) {
    to.writev(pieces);
    to.writev(pieces, error);
  };

  /// Returns true if the call is to do nothing.
  bool refused(std::error_code* error) {
    if (detail::cancelled_at_entry(error)) return true;
    if (!failed_) return false;
    if (error == nullptr)
      throw std::system_error(failed_, closed_
                                           ? "weft::io::writer: it is closed, after which nothing can be written"
                                           : "weft::io::writer: an earlier write has failed, so how much arrived is "
                                             "not known and nothing more is written");
    *error = failed_;
    return true;
  }

  void put(std::span<const std::byte> from, std::error_code* error) {
    if (from.size() > capacity_ - size_) {
      if (gathers || from.size() > capacity_) return send(from, error);
      send({}, error);
      if (error != nullptr && *error) return;
    }
    if (refused(error) || from.empty()) return;
    if (buffer_ == nullptr) buffer_ = std::make_unique_for_overwrite<std::byte[]>(capacity_);
    std::memcpy(buffer_.get() + size_, from.data(), from.size());
    size_ += from.size();
  }

  /// What is buffered, and then this.
  void send(std::span<const std::byte> more, std::error_code* error) {
    if (refused(error) || (size_ == 0 && more.empty())) return;
    // Unless the stream says how it went: `cancelled`, or what else a stream of the program's throws, passes through.
    failed_ = detail::io_code(std::errc::operation_canceled);
    const std::span<const std::byte> first(buffer_.get(), size_);
    if (error == nullptr) {
      try {
        hand_on(first, more);
        failed_.clear();
      } catch (const std::system_error& why) {
        if (why.code()) failed_ = why.code();
        throw;
      }
    } else {
      hand_on(first, more, *error);
      failed_ = *error;
    }
    size_ = 0;
  }

  template <class... Error>
  void hand_on(std::span<const std::byte> first, std::span<const std::byte> more, Error&... error) {
    if constexpr (gathers) {
      if (!first.empty() && !more.empty()) {
        const std::array pieces{first, more};
        to_.writev(std::span<const std::span<const std::byte>>(pieces), error...);
        return;
      }
    }
    if (!first.empty()) to_.write_all(first, error...);
    if (more.empty() || (error || ... || false)) return;
    to_.write_all(more, error...);
  }

  void finish(std::error_code* error) {
    if (error != nullptr) error->clear();
    if (closed_) return;
    try {
      send({}, error);
    } catch (...) {
      close_stream();
      throw;
    }
    close_stream();
  }
  void close_stream() {
    closed_ = true;
    if (!failed_) failed_ = detail::io_code(std::errc::operation_canceled);
    if constexpr (requires(To & to) { to.close(); }) to_.close();
  }

  To& to_;
  const std::size_t capacity_;
  std::unique_ptr<std::byte[]> buffer_;
  std::size_t size_ = 0;
  std::error_code failed_;
  bool closed_ = false;
};

}  // namespace io
}  // namespace v0
}  // namespace weft
