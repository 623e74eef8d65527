// SPDX-License-Identifier: Apache-2.0
// Waiting for a descriptor that another library reads, writes and closes: a database driver's socket, curl's, an epoll
// set.
#pragma once

#include <system_error>

#include <weft/detail/export.hpp>
#include <weft/detail/net_object.hpp>
#include <weft/net/readiness.hpp>

namespace weft {
inline namespace v0 {
namespace net {

/// watcher tells when a descriptor of somebody else's is ready. It watches a duplicate, so the owner may close its own at
/// any time, and the number may come to stand for something else: the watcher still has the old file. It changes no flag
/// of the file, and never reads from it.
///
/// Each wait asks how things are now: what the owner has left unread is seen, what it has read no longer. Fibers may wait
/// at the same time, for the same or for different things; all are woken. A regular file is always ready.
///
/// The duplicate keeps the file open. So the peer of a socket hears of its end when both the owner has closed it and the
/// watcher is closed; and where the owner replaces its descriptor by another one (a reconnect), it takes a new watcher.
///
/// ```cpp
/// weft::net::watcher w(PQsocket(connection));             // libpq; 3 microseconds a wait
/// while (PQisBusy(connection)) {
///   w.wait_readable();                                    // parks the fiber
///   if (!PQconsumeInput(connection)) return failed();     // may close its socket: the watcher stays valid
/// }
/// ```
class WEFT_EXPORT watcher : public detail::net_object {
 public:
  /// No descriptor: every operation on it fails with std::errc::bad_file_descriptor.
  watcher() noexcept = default;

  /// Watches `number`, which stays the owner's. One that is not open is std::errc::bad_file_descriptor, no room for a
  /// duplicate std::errc::too_many_files_open. Without a runtime: std::logic_error. Never waits.
  explicit watcher(int number);
  watcher(int number, std::error_code& error);

  /// Waits until a read, or a write, would not wait: also for an end or an error. Cancellable; obeys the deadlines.
  void wait_readable();
  void wait_readable(std::error_code& error);
  void wait_writable();
  void wait_writable(std::error_code& error);

  /// Waits until some of `wanted` has come, by the nearer of its deadlines; returns which. None is asked for:
  /// std::errc::invalid_argument.
  readiness wait(readiness wanted);
  readiness wait(readiness wanted, std::error_code& error);
};

}  // namespace net
}  // namespace v0
}  // namespace weft
