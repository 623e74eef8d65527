// SPDX-License-Identifier: Apache-2.0
// From a file descriptor to one that fibers can wait for, and back.
#pragma once

#include "netpoll/table.hpp"

namespace weft::rt {

/// Registers `fd`. It is non-blocking, or its kind is one whose calls are told not to wait (netpoll/calls.hpp). Returns nullptr if that fails: `error` says why, and `fd` stays the caller's.
descriptor* adopt_descriptor(int fd, bool short_reads_tell, int& error) noexcept;
/// For what no reporter takes (EPERM), since it is always ready.
descriptor* adopt_always_ready(int fd, int& error) noexcept;
/// The same as `adopt_descriptor`, taking `fd` over: it is closed if that fails.
descriptor* open_descriptor(int fd, bool short_reads_tell, int& error) noexcept;
/// Wakes and fails the operations that wait, waits (shielded) until they have left, and deregisters the file. Returns
/// the program's number, which is the caller's from then on, or -1 if another thread has closed it or is closing it.
int detach_descriptor(descriptor& d) noexcept;
/// Detaches it and closes the file. A second call does nothing and returns false; the first may still be under way.
bool close_descriptor(descriptor& d) noexcept;
/// Closes it, and gives it back. No other thread may know of it, but for one that is still about to leave its `close`.
void release_descriptor(descriptor* d) noexcept;
/// Throws std::logic_error without a runtime, naming `what` was tried.
void need_runtime(const char* what);
/// Ends a process that was forked while a runtime ran, and has none of its threads: `what` it tried to do.
void refuse_after_fork(const char* what) noexcept;

}  // namespace weft::rt
