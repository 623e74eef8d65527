// SPDX-License-Identifier: Apache-2.0
// Any other descriptor: a pipe, a terminal, a pidfd, an eventfd, or what stdin happens to be.
#pragma once

#include <system_error>
#include <utility>

#include <weft/detail/export.hpp>
#include <weft/net/byte_stream.hpp>
#include <weft/net/readiness.hpp>

namespace weft {
inline namespace v0 {
namespace net {

/// fd owns a descriptor and closes it in the end. (For the socket of another library, which closes it itself, there is
/// `watcher`.)
///
/// O_NONBLOCK is a property of the open file, which others may share: the shell a terminal, the parent a pipe. It is left
/// as it was found, set or not. Deadlines, `close` and cancellation hold all the same, also if others change it later.
///
/// A regular file, a directory, a disk or /dev/null is always ready: `wait` returns at once. A read that has to go to the
/// disk, and every write, blocks the thread for that time, as in `blocking`; reads and writes move the position that the
/// open file has, and none can be interrupted.
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

  /// Takes `number` over. One that another object has already is std::errc::file_exists; then the number stays the
  /// caller's. Without a runtime: std::logic_error. Never waits.
  explicit fd(int number);
  fd(int number, std::error_code& error);

  /// Waits until some of `wanted` has come, by the nearer of its deadlines; returns which. None is asked for:
  /// std::errc::invalid_argument.
  readiness wait(readiness wanted);
  readiness wait(readiness wanted, std::error_code& error);
};

/// pipe makes one: what is written to `second` is read from `first`. Close-on-exec. Never waits. Without a runtime:
/// std::logic_error.
WEFT_EXPORT std::pair<fd, fd> pipe();
WEFT_EXPORT std::pair<fd, fd> pipe(std::error_code& error);

}  // namespace net
}  // namespace v0
}  // namespace weft
