// SPDX-License-Identifier: Apache-2.0
// System calls on files, each with its errno in one piece, as in netpoll/calls.hpp: the result, or minus the errno.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace weft::rt {

/// `at_once`: only what needs no wait (RWF_NOWAIT). Else: EAGAIN, or EOPNOTSUPP where the file cannot tell.
ssize_t read_file_now(int fd, void* to, std::size_t n, std::uint64_t offset, bool at_once) noexcept;
ssize_t write_file_now(int fd, const void* from, std::size_t n, std::uint64_t offset, bool at_once) noexcept;
int sync_file_now(int fd) noexcept;
int open_file_now(const char* path, int flags, mode_t mode) noexcept;  // close-on-exec
void close_file_now(int fd) noexcept;
int clear_nonblocking_now(int fd) noexcept;
int file_size_now(int fd, std::uint64_t& size) noexcept;
/// Returns true if its data is never behind a device or a network: tmpfs, /proc, /sys and the like.
bool lives_in_memory_now(int fd) noexcept;

}  // namespace weft::rt
