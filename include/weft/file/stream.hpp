// SPDX-License-Identifier: Apache-2.0
// A file that is read and written in sequence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include <weft/detail/buffer.hpp>
#include <weft/detail/export.hpp>
#include <weft/file.hpp>
#include <weft/mutex.hpp>

namespace weft {
namespace rt {
struct failure;
}  // namespace rt

inline namespace v0 {

/// file_stream reads and writes a file in sequence, from a position that moves on, and goes wherever a stream does:
///
/// ```cpp
/// auto page = weft::file::open("index.html", O_RDONLY);
/// weft::file_stream from(page);
/// weft::io::copy(from, connection);
/// ```
///
/// Reading and writing share the position; several streams of one file have one each. The file must outlive the stream
/// and stay where it is. One operation at a time, others wait their turn, from fibers and plain threads; each is
/// cancelled, fails and throws as those of weft::file. On a file that was opened with O_APPEND writes land at its end,
/// wherever the position is, which moves on by their length all the same.
class WEFT_EXPORT file_stream {
 public:
  /// `position`: in bytes from the start. Never waits.
  explicit file_stream(file& of, std::uint64_t position = 0) noexcept : file_(of), position_(position) {}
  file_stream(const file_stream&) = delete;
  file_stream& operator=(const file_stream&) = delete;

  /// Reads `to.size()` bytes, or what is left of the file; 0: its end (or `to` is empty).
  std::size_t read_some(std::span<std::byte> to);
  std::size_t read_some(std::span<std::byte> to, std::error_code& error);
  std::size_t read_some(detail::char_buffer to) { return read_some(to.bytes()); }
  std::size_t read_some(detail::char_buffer to, std::error_code& error) { return read_some(to.bytes(), error); }

  /// Fills `to`. An end before that is std::errc::connection_aborted, as on every stream; what was left is read then.
  /// Returns how much was read, which is less only with an error.
  std::size_t read_exactly(std::span<std::byte> to);
  std::size_t read_exactly(std::span<std::byte> to, std::error_code& error);
  std::size_t read_exactly(detail::char_buffer to) { return read_exactly(to.bytes()); }
  std::size_t read_exactly(detail::char_buffer to, std::error_code& error) { return read_exactly(to.bytes(), error); }

  /// As `read_some`, into several pieces.
  std::size_t readv(std::span<const std::span<std::byte>> to);
  std::size_t readv(std::span<const std::span<std::byte>> to, std::error_code& error);

  /// Writes all of it, as the next two do. Returns how much was written, which is less only with an error.
  std::size_t write_some(std::span<const std::byte> from) { return write_all(from); }
  std::size_t write_some(std::span<const std::byte> from, std::error_code& error) { return write_all(from, error); }
  std::size_t write_some(detail::const_char_buffer from) { return write_all(from.bytes()); }
  std::size_t write_some(detail::const_char_buffer from, std::error_code& error) {
    return write_all(from.bytes(), error);
  }
  std::size_t write_all(std::span<const std::byte> from);
  std::size_t write_all(std::span<const std::byte> from, std::error_code& error);
  std::size_t write_all(detail::const_char_buffer from) { return write_all(from.bytes()); }
  std::size_t write_all(detail::const_char_buffer from, std::error_code& error) {
    return write_all(from.bytes(), error);
  }
  std::size_t writev(std::span<const std::span<const std::byte>> from);
  std::size_t writev(std::span<const std::span<const std::byte>> from, std::error_code& error);

  /// Where the next operation begins. Waits for one that is under way, not cancellably; so does `seek`.
  [[nodiscard]] std::uint64_t position() noexcept;
  /// Has the next operation begin there. Past the end a read finds nothing, and a write leaves a hole.
  void seek(std::uint64_t position) noexcept;

 private:
  template <class Pieces>
  std::size_t read(Pieces to, rt::failure& why) noexcept;
  template <class Pieces>
  std::size_t write(Pieces from, rt::failure& why) noexcept;

  file& file_;
  mutex turn_;
  std::uint64_t position_;  // guarded by turn_
};

}  // namespace v0
}  // namespace weft
