// SPDX-License-Identifier: Apache-2.0
#include "netpoll/process_calls.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace weft::rt {

namespace {

int or_errno(long result) noexcept { return result >= 0 ? static_cast<int>(result) : -errno; }

// <linux/pidfd.h> has these from Linux 6.13 and 6.15 on.
struct pidfd_status {
  std::uint64_t mask;
  std::uint64_t cgroup;
  std::uint32_t ids[11];
  std::int32_t wait_status;
};
static_assert(sizeof(pidfd_status) == 64, "the first version of the kernel's struct pidfd_info");
constexpr std::uint64_t status_wanted = 1U << 3;
constexpr unsigned long get_pidfd_status = _IOWR(0xFF, 11, pidfd_status);

/// -EAGAIN: there will be one.
int kept_status_now(int pidfd, int& wait_status) noexcept {
  pidfd_status found{};
  found.mask = status_wanted;
  if (ioctl(pidfd, get_pidfd_status, &found) != 0) return -errno;
  if ((found.mask & status_wanted) == 0) return -EAGAIN;
  wait_status = found.wait_status;
  return 1;
}

}  // namespace

[[gnu::noinline]] int open_pidfd_now(pid_t of) noexcept { return or_errno(syscall(SYS_pidfd_open, of, 0)); }

[[gnu::noinline]] int signal_pidfd_now(int pidfd, int signal) noexcept {
  return or_errno(syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

[[gnu::noinline]] int signal_process_now(pid_t to, int signal) noexcept { return or_errno(kill(to, signal)); }

[[gnu::noinline]] int look_at_child_now(child_name which, after_look then, int& wait_status) noexcept {
  siginfo_t how{};
  const int keep = then == after_look::keep ? WNOWAIT : 0;
  if (waitid(which.kind, which.id, &how, WEXITED | WNOHANG | keep) != 0) return -errno;
  if (how.si_pid == 0) return 0;
  wait_status = how.si_code == CLD_EXITED   ? (how.si_status & 0xff) << 8
                : how.si_code == CLD_DUMPED ? how.si_status | WCOREFLAG
                                            : how.si_status;
  return 1;
}

[[gnu::noinline]] void await_child_now(pid_t which, after_look then) noexcept {
  siginfo_t how{};
  const int keep = then == after_look::keep ? WNOWAIT : 0;
  while (waitid(P_PID, static_cast<id_t>(which), &how, WEXITED | keep) != 0 && errno == EINTR) {
  }
}

[[gnu::noinline]] int status_from_pidfd_now(int pidfd, int& wait_status) noexcept {
  const int found = kept_status_now(pidfd, wait_status);
  if (found != -EAGAIN) return found;
  // It has ended, but whoever reaps it is still at it: the kernel tells their end by a hang-up.
  constexpr int long_enough = 100;  // milliseconds; kernels without the status may have no such hang-up either
  pollfd reaped{pidfd, 0, 0};
  poll(&reaped, 1, long_enough);
  return kept_status_now(pidfd, wait_status);
}

[[gnu::noinline]] int spawn_now(pid_t& child, const posix_spawn_file_actions_t& actions,
                                const posix_spawnattr_t& attributes, char* const* argv,
                                char* const* environment) noexcept {
  // Threads that run fibers sleep exactly (a timer slack of 1 ns), and a child inherits that from its thread.
  constexpr int exact = 1;
  constexpr unsigned long usual = 50'000;
  const bool exactly = prctl(PR_GET_TIMERSLACK) == exact;
  if (exactly) prctl(PR_SET_TIMERSLACK, usual);
  const int error = posix_spawnp(&child, argv[0], &actions, &attributes, argv, environment);
  if (exactly) prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(exact));
  return -error;
}

[[gnu::noinline]] int blocking_pipe_now(int ends[2]) noexcept { return or_errno(pipe2(ends, O_CLOEXEC)); }

[[gnu::noinline]] int copy_above_streams_now(int fd) noexcept {
  return or_errno(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

[[gnu::noinline]] bool is_open_now(int fd) noexcept { return fcntl(fd, F_GETFD) >= 0; }

[[gnu::noinline]] int may_enter_now(const char* folder) noexcept {
  struct stat found {};
  if (stat(folder, &found) != 0) return -errno;
  if (!S_ISDIR(found.st_mode)) return -ENOTDIR;
  return or_errno(faccessat(AT_FDCWD, folder, X_OK, AT_EACCESS));
}

[[gnu::noinline]] bool exists_now(const char* path) noexcept { return access(path, F_OK) == 0; }

}  // namespace weft::rt
