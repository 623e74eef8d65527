// SPDX-License-Identifier: Apache-2.0
// From a file descriptor to one that fibers can wait for, and back.
#pragma once

#include "netpoll/epoll.hpp"

namespace weft::inline v0::rt {

/// The process's poller; started by the first descriptor.
epoll_poller& net_poller() noexcept;

/// Takes over `fd`, which is non-blocking, and registers it. Null: `error` says why, and `fd` is closed.
descriptor* open_descriptor(int fd, bool short_reads_tell, int& error) noexcept;
/// Wakes and fails all who wait, waits (shielded) until they have left, and closes the file. A second call does
/// nothing.
void close_descriptor(descriptor& d) noexcept;
/// Closes it, and gives it back; nobody knows of it any more.
void release_descriptor(descriptor* d) noexcept;
/// Throws std::logic_error without a runtime, naming `what` was tried.
void need_runtime(const char* what);

}  // namespace weft::inline v0::rt
