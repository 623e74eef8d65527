// SPDX-License-Identifier: Apache-2.0
#include "netpoll/file_calls.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

namespace weft::rt {

template <class Result>
static Result or_errno(Result result) noexcept {
  return result >= 0 ? result : -static_cast<Result>(errno);
}

// What may block is asked for by the plain calls: a filter may know only those.
[[gnu::noinline]] ssize_t read_file_now(int fd, void* to, std::size_t n, std::uint64_t offset, bool at_once) noexcept {
  const auto where = static_cast<off_t>(offset);
  if (!at_once) return or_errno(::pread(fd, to, n, where));
  const iovec piece{to, n};
  return or_errno(::preadv2(fd, &piece, 1, where, RWF_NOWAIT));
}

[[gnu::noinline]] ssize_t write_file_now(int fd, const void* from, std::size_t n, std::uint64_t offset,
                                         bool at_once) noexcept {
  const auto where = static_cast<off_t>(offset);
  if (!at_once) return or_errno(::pwrite(fd, from, n, where));
  const iovec piece{const_cast<void*>(from), n};
  return or_errno(::pwritev2(fd, &piece, 1, where, RWF_NOWAIT));
}

[[gnu::noinline]] int sync_file_now(int fd) noexcept { return or_errno(::fsync(fd)); }

[[gnu::noinline]] int open_file_now(const char* path, int flags, mode_t mode) noexcept {
  return or_errno(::open(path, flags | O_CLOEXEC, mode));
}

[[gnu::noinline]] void close_file_now(int fd) noexcept { ::close(fd); }

[[gnu::noinline]] int clear_nonblocking_now(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  return or_errno(flags < 0 ? flags : ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK));
}

[[gnu::noinline]] int file_size_now(int fd, std::uint64_t& size) noexcept {
  struct stat found {};
  const int result = or_errno(::fstat(fd, &found));
  if (result == 0) size = static_cast<std::uint64_t>(found.st_size);
  return result;
}

[[gnu::noinline]] bool lives_in_memory_now(int fd) noexcept {
  struct statfs found {};
  if (::fstatfs(fd, &found) != 0) return false;
  switch (static_cast<unsigned long>(found.f_type)) {
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
    case HUGETLBFS_MAGIC:
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case SECURITYFS_MAGIC:
      return true;
    default:
      return false;
  }
}

}  // namespace weft::rt
