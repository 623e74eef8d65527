// SPDX-License-Identifier: Apache-2.0
// Any other descriptor that can be polled: a pipe, a terminal, a pidfd, an eventfd, a database driver's socket.
#pragma once

#include <system_error>

#include <weft/detail/export.hpp>
#include <weft/net/byte_stream.hpp>

namespace weft {
inline namespace v0 {
namespace net {

/// fd owns a descriptor and closes it in the end. It is switched to O_NONBLOCK, and back in the end if it was not so
/// before: that is a property of the open file, which others may share (the shell a terminal).
/// So of two objects for one open file (a terminal's 0 and 1) the one that was made first is to end last.
///
/// `read_some` on the reading end of a pipe gives 0 once nobody has the writing end open; a write into a pipe that
/// nobody reads fails with std::errc::broken_pipe, and raises no SIGPIPE.
///
/// ```cpp
/// weft::net::fd child(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
/// child.wait_readable();          // the process has ended; waitid(P_PIDFD, ...) takes its status
/// ```
class WEFT_EXPORT fd : public byte_stream {
 public:
  /// No descriptor: every operation on it fails with std::errc::bad_file_descriptor.
  fd() noexcept = default;

  /// Takes `number` over. One that cannot be polled (a regular file or a directory, which weft::file is for) is
  /// std::errc::operation_not_permitted, one that another object has already std::errc::file_exists; then the number
  /// stays the caller's. Without a runtime: std::logic_error. Never waits.
  explicit fd(int number);
  fd(int number, std::error_code& error);

  /// Waits until a read, or a write, would not wait: also for an end or an error.
  void wait_readable();
  void wait_readable(std::error_code& error);
  void wait_writable();
  void wait_writable(std::error_code& error);

  /// Gives the number back to the caller, open; wakes and fails all who wait, as `close` does, and waits until they
  /// have left. -1 if there is none, or it is closed.
  [[nodiscard]] int release() noexcept;
};

}  // namespace net
}  // namespace v0
}  // namespace weft
