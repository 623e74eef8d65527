// SPDX-License-Identifier: Apache-2.0
#include "netpoll/file_calls.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "netpoll/without_signals.hpp"

namespace weft::rt {

template <class Result>
static Result or_errno(Result result) noexcept {
  return result >= 0 ? result : -static_cast<Result>(errno);
}

/// To ask costs a call, to hold a signal back two. Where the limit is set in the moment between this and a write, the
/// signal still comes.
static bool has_file_size_limit() noexcept {
  rlimit limit{};
  return ::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
}

// What may block is asked for by the plain calls: a filter may know only those.
[[gnu::noinline]] ssize_t read_file_now(int fd, const iovec* to, std::size_t pieces, std::uint64_t offset,
                                        bool at_once) noexcept {
  const auto where = static_cast<off_t>(offset);
  const auto count = static_cast<int>(pieces);
  if (at_once) return or_errno(::preadv2(fd, to, count, where, RWF_NOWAIT));
  return or_errno(count == 1 ? ::pread(fd, to->iov_base, to->iov_len, where) : ::preadv(fd, to, count, where));
}

[[gnu::noinline]] ssize_t write_file_now(int fd, const iovec* from, std::size_t pieces, std::uint64_t offset,
                                         bool at_once) noexcept {
  const auto where = static_cast<off_t>(offset);
  const auto count = static_cast<int>(pieces);
  const auto write = [=] {
    if (at_once) return ::pwritev2(fd, from, count, where, RWF_NOWAIT);
    return count == 1 ? ::pwrite(fd, from->iov_base, from->iov_len, where) : ::pwritev(fd, from, count, where);
  };
  return has_file_size_limit() ? without_write_signals(write) : or_errno(write());
}

[[gnu::noinline]] int sync_file_now(int fd) noexcept { return or_errno(::fsync(fd)); }
[[gnu::noinline]] int sync_data_now(int fd) noexcept { return or_errno(::fdatasync(fd)); }

[[gnu::noinline]] int allocate_now(int fd, int mode, std::uint64_t offset, std::uint64_t length) noexcept {
  return static_cast<int>(without_write_signals(
      [=] { return ::fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length)); }));
}

[[gnu::noinline]] int truncate_now(int fd, std::uint64_t size) noexcept {
  return static_cast<int>(without_write_signals([=] { return ::ftruncate(fd, static_cast<off_t>(size)); }));
}

[[gnu::noinline]] int open_file_now(const char* path, int flags, mode_t mode) noexcept {
  int fd = ::open(path, flags | O_CLOEXEC | O_NONBLOCK, mode);
  // A file that another process has a lease on: worth waiting for, and the kernel ends that.
  if (fd < 0 && errno == EWOULDBLOCK) fd = ::open(path, flags | O_CLOEXEC, mode);
  if (fd >= 0 && (flags & O_NONBLOCK) == 0) ::fcntl(fd, F_SETFL, flags);
  return or_errno(fd);
}

[[gnu::noinline]] void close_file_now(int fd) noexcept { ::close(fd); }

[[gnu::noinline]] int open_flags_now(int fd) noexcept { return or_errno(::fcntl(fd, F_GETFL)); }

[[gnu::noinline]] int set_nonblocking_now(int fd, bool on) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return or_errno(flags);
  const int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (wanted == flags) return 0;
  return ::fcntl(fd, F_SETFL, wanted) == 0 ? 1 : -errno;
}

[[gnu::noinline]] int file_size_now(int fd, std::uint64_t& size) noexcept {
  struct stat found {};
  const int result = or_errno(::fstat(fd, &found));
  if (result != 0) return result;
  size = static_cast<std::uint64_t>(found.st_size);
  return S_ISBLK(found.st_mode) ? or_errno(::ioctl(fd, BLKGETSIZE64, &size)) : 0;
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
