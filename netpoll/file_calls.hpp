// SPDX-License-Identifier: Apache-2.0
// System calls on open files, each with its errno in one piece, as in netpoll/calls.hpp: the result, or minus the errno.
// What goes past the limit on the size of files is EFBIG and no signal.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

namespace weft::rt {

/// For at most IOV_MAX pieces. `at_once`: only what needs no wait (RWF_NOWAIT). Else: EAGAIN, or EOPNOTSUPP where the
/// file cannot tell.
ssize_t read_file_now(int fd, const iovec* to, std::size_t pieces, std::uint64_t offset, bool at_once) noexcept;
ssize_t write_file_now(int fd, const iovec* from, std::size_t pieces, std::uint64_t offset, bool at_once) noexcept;
int sync_file_now(int fd) noexcept;
int sync_data_now(int fd) noexcept;
/// fallocate(2) with `mode`.
int allocate_now(int fd, int mode, std::uint64_t offset, std::uint64_t length) noexcept;
int truncate_now(int fd, std::uint64_t size) noexcept;
/// Close-on-exec. Waits for no one at the other end of a FIFO, or for the carrier of a line: that may take for ever.
int open_file_now(const char* path, int flags, mode_t mode) noexcept;
void close_file_now(int fd) noexcept;
int open_flags_now(int fd) noexcept;                // O_APPEND and the like
int set_nonblocking_now(int fd, bool on) noexcept;  // 1: it was not so before
int file_size_now(int fd, std::uint64_t& size) noexcept;
/// Returns true if its data is never behind a device or a network: tmpfs, /proc, /sys and the like.
bool lives_in_memory_now(int fd) noexcept;

}  // namespace weft::rt
