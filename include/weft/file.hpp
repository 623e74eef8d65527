// SPDX-License-Identifier: Apache-2.0
// Files for fibers: reads and writes at an offset that park the fiber instead of its thread.
//
// ```cpp
// auto log = weft::file::open("/var/log/syslog", O_RDONLY);
// std::array<char, 4096> room;
// const std::size_t n = log.read_at(0, room);
// ```
//
// What is in the page cache is copied at once, without a park; after each MiB other fibers get a turn. Everything else
// goes to the kernel by io_uring, or to a few threads where that is refused (`options::netpoll`); the fiber waits, and
// others run.
//
// Every call has two forms, as in <filesystem>: one throws std::system_error that names the file (and weft::cancelled,
// if the scope is cancelled), one takes a std::error_code last (then a cancellation is std::errc::operation_canceled).
// Cancellation is looked at on entry: an operation that has begun is waited for, since the kernel writes into the
// caller's buffer. For the same reason there are no deadlines. From a plain thread, while a runtime runs, the calls
// block that thread. To go past the limit on the size of files (RLIMIT_FSIZE) is std::errc::file_too_large and no
// SIGXFSZ.
//
// To read or write in sequence: weft::file_stream (weft/file/stream.hpp). Whole files: weft::read_file and
// weft::write_file (weft/file/whole.hpp). Both come with this header.
//
// A file may be used, and closed, by several fibers at once, and nothing is queued: who needs an order between a write
// and a read of the same place makes it. Moving and destroying is for one that knows that the others have left;
// only one that closes may still be at it: the destructor waits for it.
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include <weft/detail/buffer.hpp>
#include <weft/detail/export.hpp>
#include <weft/net/from_fd.hpp>

namespace weft {
namespace rt {
struct open_file;
struct file_access;
}  // namespace rt

inline namespace v0 {

/// file is an open file. Its destructor closes it.
class WEFT_EXPORT file {
 public:
  /// No file: every operation on it fails with std::errc::bad_file_descriptor.
  file() noexcept = default;
  file(file&& other) noexcept : f_(std::exchange(other.f_, nullptr)) {}
  file& operator=(file&& other) noexcept {
    if (this != &other) {
      reset();
      f_ = std::exchange(other.f_, nullptr);
    }
    return *this;
  }
  ~file() { reset(); }

  /// Opens `path` as open(2) does: `flags` are O_RDONLY, O_WRONLY or O_RDWR, with O_CREAT, O_TRUNC, O_DIRECT and so on;
  /// `mode`, less the umask, is for a file that is created. Close-on-exec. May block its thread, announced as
  /// weft::blocking does. For files that can be read at an offset: pipes and sockets are not. Throws std::logic_error
  /// without a runtime.
  [[nodiscard]] static file open(std::string_view path, int flags, mode_t mode = 0644);
  [[nodiscard]] static file open(std::string_view path, int flags, std::error_code& error) {
    return open(path, flags, 0644, error);
  }
  [[nodiscard]] static file open(std::string_view path, int flags, mode_t mode, std::error_code& error);

  /// Takes `number`, a regular file or a block device that is open, over. A directory is std::errc::is_a_directory, what
  /// else it may be std::errc::invalid_seek (weft::net::fd is for pipes, sockets and terminals), a number that is not
  /// open std::errc::bad_file_descriptor; then the number stays the caller's. O_NONBLOCK, which others that share the
  /// open file would see, is off until `close` or `release`. Without a runtime: std::logic_error. Never waits.
  file(net::from_fd_t, int number);
  file(net::from_fd_t, int number, std::error_code& error);

  /// Reads `to.size()` bytes from `offset` (in bytes from the start). Returns how many: fewer only at the end of the
  /// file, or with an error. With O_DIRECT offset, size and address must be multiples of the device's block.
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> to);
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> to, std::error_code& error);
  std::size_t read_at(std::uint64_t offset, detail::char_buffer to) { return read_at(offset, to.bytes()); }
  std::size_t read_at(std::uint64_t offset, detail::char_buffer to, std::error_code& error) {
    return read_at(offset, to.bytes(), error);
  }

  /// The same into several pieces, one after the other, by as few system calls as can be.
  std::size_t readv_at(std::uint64_t offset, std::span<const std::span<std::byte>> to);
  std::size_t readv_at(std::uint64_t offset, std::span<const std::span<std::byte>> to, std::error_code& error);

  /// Writes all of `from` at `offset`; a file that is shorter grows. Returns how many bytes were written, which are
  /// fewer only with an error, such as std::errc::no_space_on_device. With O_APPEND the kernel ignores the offset, and
  /// the writes of several callers do not mix, as with write(2). The data is in the page cache then, and on the device
  /// after `fsync`.
  std::size_t write_at(std::uint64_t offset, std::span<const std::byte> from);
  std::size_t write_at(std::uint64_t offset, std::span<const std::byte> from, std::error_code& error);
  std::size_t write_at(std::uint64_t offset, detail::const_char_buffer from) { return write_at(offset, from.bytes()); }
  std::size_t write_at(std::uint64_t offset, detail::const_char_buffer from, std::error_code& error) {
    return write_at(offset, from.bytes(), error);
  }

  /// The same for several pieces, by as few system calls as can be. With O_APPEND up to 1024 pieces land together.
  std::size_t writev_at(std::uint64_t offset, std::span<const std::span<const std::byte>> from);
  std::size_t writev_at(std::uint64_t offset, std::span<const std::span<const std::byte>> from, std::error_code& error);

  /// Waits until what was written, and the file's size and times, are on the device. An error of an earlier write that
  /// the kernel met only later is reported here, once.
  void fsync();
  void fsync(std::error_code& error);

  /// The same without the times of the file: fdatasync(2). Enough to read back what was written.
  void datasync();
  void datasync(std::error_code& error);

  /// The size in bytes as it is now. May block its thread, announced, as the next does.
  [[nodiscard]] std::uint64_t size() const;
  [[nodiscard]] std::uint64_t size(std::error_code& error) const;

  /// Makes the file `size` bytes long: cuts off what is past that, or adds zeros, which take no space.
  void truncate(std::uint64_t size);
  void truncate(std::uint64_t size, std::error_code& error);

  /// Has the file system set aside the space of `length` bytes from `offset`, so that a write there cannot meet a full
  /// device; a file that is shorter grows, by zeros. If it fails (std::errc::no_space_on_device), size and content are
  /// as before, and the space past the end is given back: so nobody else may extend the file at the same time.
  /// std::errc::operation_not_supported where the file system has no such thing.
  void allocate(std::uint64_t offset, std::uint64_t length);
  void allocate(std::uint64_t offset, std::uint64_t length, std::error_code& error);

  /// Fails what is begun later with std::errc::operation_canceled, waits for those inside, shielded from cancellation,
  /// and closes the file. A second call does nothing. Errors of earlier writes are `fsync`'s to tell.
  void close() noexcept;

  /// Gives the descriptor back to the caller, open; otherwise as `close`. -1 if there is none, or it is closed.
  [[nodiscard]] int release() noexcept;

  /// The file descriptor, which stays the object's; -1 if there is none, or it is closed.
  [[nodiscard]] int native_handle() const noexcept;

  /// Whether there is a file: false after default construction and after having been moved from. True once closed, too.
  explicit operator bool() const noexcept { return f_ != nullptr; }

 private:
  friend struct rt::file_access;
  explicit file(rt::open_file* adopted) noexcept : f_(adopted) {}
  void reset() noexcept {
    if (f_ != nullptr) give_back();
  }
  void give_back() noexcept;

  rt::open_file* f_ = nullptr;
};

}  // namespace v0
}  // namespace weft

#include <weft/file/stream.hpp>
#include <weft/file/whole.hpp>
