// SPDX-License-Identifier: Apache-2.0
// Whole files, by their path: read into a string, and replaced.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include <weft/detail/buffer.hpp>
#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {
namespace detail {

/// Makes the room at `where` `size` bytes large, keeping what is there, and returns all of it. The string is the
/// program's alone: no container stands in what the library compiles.
using grow_room = std::span<std::byte> (*)(void* where, std::size_t size);

/// Returns how many bytes of the room are the file's. Without a place for the error it throws.
WEFT_EXPORT std::size_t read_whole_file(std::string_view path, grow_room grow, void* where, std::error_code* error);

inline std::string read_file_to_string(std::string_view path, std::error_code* error) {
  std::string content;
  const grow_room grow = [](void* where, std::size_t size) {
    std::string& all = *static_cast<std::string*>(where);
    all.resize(size);
    return std::as_writable_bytes(std::span<char>(all));
  };
  content.resize(read_whole_file(path, grow, &content, error));
  return content;
}

}  // namespace detail

/// read_file gives everything that is in the file at `path`, whatever its size is said to be: files of /proc can be
/// read, and so can a FIFO or a device, up to its end. With an error: nothing. A directory is std::errc::is_a_directory.
/// Waits, cancellably for a FIFO or a terminal, else as weft::file. Throws std::bad_alloc if it does not fit into
/// memory, std::logic_error without a runtime, and otherwise as weft::file.
///
/// ```cpp
/// const std::string config = weft::read_file("/etc/app.conf");
/// ```
[[nodiscard]] inline std::string read_file(std::string_view path) { return detail::read_file_to_string(path, nullptr); }
[[nodiscard]] inline std::string read_file(std::string_view path, std::error_code& error) {
  return detail::read_file_to_string(path, &error);
}

/// write_file makes `data` the content of the file at `path`: afterwards the file has all of it, on the device, or (with
/// an error, a cancellation, the end of the process or of the machine) what it had before. There is no moment at which
/// it is missing or has a part.
///
/// A new file is written beside it (".weft-...", in the same directory, where the caller must be allowed to write), and
/// renamed once it is on the device. It is removed if anything fails before; only the end of the process leaves it. Of
/// several writers at once the last one's content stays. A link is followed: what it names is replaced. The mode of a
/// file that is there is kept, and its owner and group where the caller may give them; a new one has mode 0644, less the
/// umask. Not kept: other names (hard links) have the former content, and access control lists and extended attributes
/// go. A file that the caller may not write is std::errc::permission_denied, a directory std::errc::is_a_directory; what
/// is neither a file nor missing, such as a FIFO, std::errc::invalid_argument.
///
/// Cancellation is looked at until the data is on the device. Throws std::logic_error without a runtime, and otherwise
/// as weft::file.
WEFT_EXPORT void write_file(std::string_view path, std::span<const std::byte> data);
WEFT_EXPORT void write_file(std::string_view path, std::span<const std::byte> data, std::error_code& error);
inline void write_file(std::string_view path, detail::const_char_buffer data) { write_file(path, data.bytes()); }
inline void write_file(std::string_view path, detail::const_char_buffer data, std::error_code& error) {
  write_file(path, data.bytes(), error);
}

}  // namespace v0
}  // namespace weft
