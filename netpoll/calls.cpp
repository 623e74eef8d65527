// SPDX-License-Identifier: Apache-2.0
#include "netpoll/calls.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>

#include <weft/detail/atomic.hpp>

#include "netpoll/os.hpp"
#include "netpoll/without_signals.hpp"
#include "runtime/fiber/overflow.hpp"

namespace weft::rt {

template <class Result>
static Result or_errno(Result result) noexcept {
  return result >= 0 ? result : -static_cast<Result>(errno);
}

namespace {

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100  // Linux 6.18
#endif

constinit detail::atomic<bool> no_signal_can_be_had{true};  // relaxed: found out again by who comes too early

/// The file, or the kernel, knows no such flag.
bool not_supported(ssize_t result) noexcept { return result == -EOPNOTSUPP || result == -ENOSYS; }

}  // namespace

[[gnu::noinline]] ssize_t recv_now(int fd, void* to, std::size_t n) noexcept {
  const ssize_t result = or_errno(os::recv(fd, to, n, MSG_DONTWAIT));
  if (result == -EFAULT) [[unlikely]]
    fault_on_guard(to, n);
  return result;
}

[[gnu::noinline]] ssize_t send_now(int fd, const void* from, std::size_t n) noexcept {
  const ssize_t result = or_errno(os::send(fd, from, n, MSG_NOSIGNAL | MSG_DONTWAIT));
  if (result == -EFAULT) [[unlikely]]
    fault_on_guard(from, n);
  return result;
}

[[gnu::noinline]] ssize_t sendv_now(int fd, const iovec* from, std::size_t count) noexcept {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(from);
  message.msg_iovlen = count;
  const ssize_t result = or_errno(os::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT));
  if (result == -EFAULT) [[unlikely]]
    for (std::size_t i = 0; i < count; ++i) fault_on_guard(from[i].iov_base, from[i].iov_len);
  return result;
}

[[gnu::noinline]] ssize_t peek_now(int fd, void* to, std::size_t n) noexcept {
  const ssize_t result = or_errno(os::recv(fd, to, n, MSG_PEEK | MSG_DONTWAIT));
  if (result == -EFAULT) [[unlikely]]
    fault_on_guard(to, n);
  return result;
}

[[gnu::noinline]] ssize_t recvv_now(int fd, const iovec* to, std::size_t count) noexcept {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(to);
  message.msg_iovlen = count;
  const ssize_t result = or_errno(os::recvmsg(fd, &message, MSG_DONTWAIT));
  if (result == -EFAULT) [[unlikely]]
    for (std::size_t i = 0; i < count; ++i) fault_on_guard(to[i].iov_base, to[i].iov_len);
  return result;
}

[[gnu::noinline]] ssize_t readv_now(int fd, const iovec* to, std::size_t count, bool& ask_first) noexcept {
  ssize_t result = -EOPNOTSUPP;
  if (!ask_first) result = or_errno(os::preadv2(fd, to, static_cast<int>(count), -1, RWF_NOWAIT));
  if (not_supported(result)) return read_now(fd, to->iov_base, to->iov_len, ask_first);
  if (result == -EFAULT) [[unlikely]]
    for (std::size_t i = 0; i < count; ++i) fault_on_guard(to[i].iov_base, to[i].iov_len);
  return result;
}

[[gnu::noinline]] ssize_t read_now(int fd, void* to, std::size_t n, bool& ask_first) noexcept {
  ssize_t result = -EOPNOTSUPP;
  if (!ask_first) {
    const iovec room{to, n};
    result = or_errno(os::preadv2(fd, &room, 1, -1, RWF_NOWAIT));
  }
  if (not_supported(result)) {
    ask_first = true;
    if (poll_now(fd, POLLIN) == -EAGAIN) return -EAGAIN;
    result = or_errno(os::read(fd, to, n));
  }
  if (result == -EFAULT) [[unlikely]]
    fault_on_guard(to, n);
  return result;
}

namespace {

/// The first pieces, and no more than `most` bytes.
ssize_t write_a_little(int fd, const iovec* from, std::size_t count, std::size_t most) noexcept {
  for (std::size_t i = 0; i < count; ++i)
    if (from[i].iov_len != 0) return os::write(fd, from[i].iov_base, std::min(from[i].iov_len, most));
  return 0;
}

ssize_t write_asking_first(int fd, const iovec* from, std::size_t count, std::size_t sure_room) noexcept {
  const int flags = os::fcntl(fd, F_GETFL);
  if (sure_room == std::numeric_limits<std::size_t>::max() || (flags >= 0 && (flags & O_NONBLOCK) != 0))
    return without_write_signals([=] { return os::writev(fd, from, static_cast<int>(count)); });
  if (poll_now(fd, POLLOUT) == -EAGAIN) return -EAGAIN;
  return without_write_signals([=] { return write_a_little(fd, from, count, sure_room); });
}

ssize_t write_without_waiting(int fd, const iovec* from, std::size_t count) noexcept {
  if (no_signal_can_be_had.load(std::memory_order_relaxed)) {
    const ssize_t result = or_errno(os::pwritev2(fd, from, static_cast<int>(count), -1, RWF_NOWAIT | RWF_NOSIGNAL));
    if (!not_supported(result)) return result;
  }
  const ssize_t result =
      without_write_signals([=] { return os::pwritev2(fd, from, static_cast<int>(count), -1, RWF_NOWAIT); });
  if (!not_supported(result)) no_signal_can_be_had.store(false, std::memory_order_relaxed);
  return result;
}

}  // namespace

[[gnu::noinline]] ssize_t writev_now(int fd, const iovec* from, std::size_t count, std::size_t sure_room,
                                     bool& ask_first) noexcept {
  ssize_t result = ask_first ? -EOPNOTSUPP : write_without_waiting(fd, from, count);
  if (not_supported(result)) {
    ask_first = true;
    result = write_asking_first(fd, from, count, sure_room);
  }
  if (result == -EFAULT) [[unlikely]]
    for (std::size_t i = 0; i < count; ++i) fault_on_guard(from[i].iov_base, from[i].iov_len);
  return result;
}

[[gnu::noinline]] ssize_t send_to_now(int fd, const void* from, std::size_t n, const sockaddr* to,
                                      socklen_t length) noexcept {
  const ssize_t result = or_errno(os::sendto(fd, from, n, MSG_NOSIGNAL | MSG_DONTWAIT, to, length));
  if (result == -EFAULT) [[unlikely]]
    fault_on_guard(from, n);
  return result;
}

[[gnu::noinline]] ssize_t recv_from_now(int fd, void* to, std::size_t n, sockaddr_storage& from) noexcept {
  socklen_t length = sizeof from;
  const ssize_t result =
      or_errno(os::recvfrom(fd, to, n, MSG_DONTWAIT | MSG_TRUNC, reinterpret_cast<sockaddr*>(&from), &length));
  if (result == -EFAULT) [[unlikely]]
    fault_on_guard(to, n);
  return result;
}

namespace {

void fault_on_guard(const mmsghdr* messages, unsigned count) noexcept {
  for (unsigned i = 0; i < count; ++i)
    for (std::size_t piece = 0; piece < messages[i].msg_hdr.msg_iovlen; ++piece) {
      const iovec& each = messages[i].msg_hdr.msg_iov[piece];
      rt::fault_on_guard(each.iov_base, each.iov_len);
    }
}

}  // namespace

[[gnu::noinline]] int recv_messages_now(int fd, mmsghdr* to, unsigned count) noexcept {
  const int result = or_errno(os::recvmmsg(fd, to, count, MSG_DONTWAIT, nullptr));
  if (result == -EFAULT) [[unlikely]]
    fault_on_guard(to, count);
  return result;
}

[[gnu::noinline]] int send_messages_now(int fd, mmsghdr* from, unsigned count) noexcept {
  const int result = or_errno(os::sendmmsg(fd, from, count, MSG_NOSIGNAL | MSG_DONTWAIT));
  if (result == -EFAULT) [[unlikely]]
    fault_on_guard(from, count);
  return result;
}

[[gnu::noinline]] int interface_now(const char* name) noexcept {
  const unsigned index = if_nametoindex(name);
  return index != 0 ? static_cast<int>(index) : -errno;
}

[[gnu::noinline]] ssize_t send_passing_now(int fd, const void* from, std::size_t n, const int* passed,
                                           std::size_t count) noexcept {
  alignas(cmsghdr) char control[CMSG_SPACE(most_passed * sizeof(int))] = {};
  iovec data{const_cast<void*>(from), n};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (count != 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(header), passed, count * sizeof(int));
  }
  const ssize_t result = or_errno(os::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT));
  if (result == -EFAULT) [[unlikely]]
    fault_on_guard(from, n);
  return result;
}

[[gnu::noinline]] ssize_t recv_passing_now(int fd, void* to, std::size_t n, int* passed, std::size_t& count,
                                           bool& lost) noexcept {
  constexpr std::size_t for_others = 512;  // credentials or a security label, if the program has asked for them
  alignas(cmsghdr) char control[CMSG_SPACE(most_passed * sizeof(int)) + for_others];
  iovec data{to, n};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t result = or_errno(os::recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT));
  if (result == -EFAULT) [[unlikely]]
    fault_on_guard(to, n);
  count = 0;
  if (result < 0) return result;
  for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr; each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t here = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    std::memcpy(passed + count, CMSG_DATA(each), here * sizeof(int));
    count += here;
  }
  lost = (message.msg_flags & MSG_CTRUNC) != 0;
  return result;
}

[[gnu::noinline]] int pair_now(int ends[2]) noexcept {
  return or_errno(os::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
}

[[gnu::noinline]] int events_now(int fd, short events) noexcept {
  pollfd what{fd, events, 0};
  const int n = os::poll(&what, 1, 0);
  if (n < 0) return -errno;
  return (what.revents & POLLNVAL) != 0 ? -EBADF : what.revents;
}

int poll_now(int fd, short events) noexcept {
  const int found = events_now(fd, events);
  return found > 0 ? 0 : found == 0 ? -EAGAIN : found;
}

[[gnu::noinline]] int set_blocking_now(int fd, bool on) noexcept {
  const int flags = os::fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  const int wanted = on ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
  if (wanted == flags) return 0;
  return os::fcntl(fd, F_SETFL, wanted) == 0 ? 1 : -errno;
}

[[gnu::noinline]] int set_close_on_exec_now(int fd, bool on) noexcept {
  const int flags = os::fcntl(fd, F_GETFD);
  if (flags < 0) return -errno;
  const int wanted = on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC;
  if (wanted == flags) return 0;
  return os::fcntl(fd, F_SETFD, wanted) == 0 ? 1 : -errno;
}

[[gnu::noinline]] int file_flags_now(int fd) noexcept { return or_errno(os::fcntl(fd, F_GETFL)); }

// What the master of a terminal gives is another terminal. TIOCGDEV: /dev/tty0 may be another one by now.
[[gnu::noinline]] int open_again_now(int fd, int flags) noexcept {
  unsigned device = 0, pair = 0, device_again = 0;
  const bool terminal = format_now(fd) != S_IFIFO;
  if (terminal && (os::ioctl(fd, TIOCGDEV, &device) != 0 || os::ioctl(fd, TIOCGPTN, &pair) == 0)) return -ENOTTY;
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const int again = os::open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (again < 0) return -errno;
  if (terminal && (os::ioctl(again, TIOCGDEV, &device_again) != 0 || device_again != device)) {
    os::close(again);
    return -ENOTTY;
  }
  return again;
}

[[gnu::noinline]] int pipe_now(int ends[2]) noexcept { return or_errno(os::pipe2(ends, O_NONBLOCK | O_CLOEXEC)); }

namespace {

struct pipes_here {
  dev_t device = 0;
  bool know_nowait = false;
};

pipes_here look_at_a_pipe() noexcept {
  pipes_here found;
  int ends[2];
  if (pipe_now(ends) != 0) return found;
  char c = 0;
  const iovec room{&c, 1};
  struct stat its;
  found.know_nowait =
      os::fstat(ends[0], &its) == 0 && os::preadv2(ends[0], &room, 1, -1, RWF_NOWAIT) < 0 && errno == EAGAIN;
  found.device = its.st_dev;
  os::close(ends[0]);
  os::close(ends[1]);
  return found;
}

}  // namespace

// All pipes of pipe(2) are on one device. (One that was opened by /proc/self/fd is, too, and knows it no more.)
[[gnu::noinline]] bool pipe_knows_nowait_now(int fd) noexcept {
  static const pipes_here here = look_at_a_pipe();
  struct stat its;
  return here.know_nowait && os::fstat(fd, &its) == 0 && its.st_dev == here.device;
}

[[gnu::noinline]] int duplicate_now(int fd) noexcept { return or_errno(os::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

[[gnu::noinline]] int format_now(int fd) noexcept {
  struct stat what;
  return os::fstat(fd, &what) == 0 ? static_cast<int>(what.st_mode & S_IFMT) : -errno;
}

[[gnu::noinline]] ssize_t splice_now(int from, int to, std::size_t n) noexcept {
  return without_write_signals<true>([=] { return os::splice(from, nullptr, to, nullptr, n, SPLICE_F_NONBLOCK); });
}

[[gnu::noinline]] int accept_now(int fd, sockaddr_storage& peer) noexcept {
  socklen_t length = sizeof peer;
  return or_errno(os::accept4(fd, reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

[[gnu::noinline]] int socket_now(int family, int type) noexcept {
  return or_errno(os::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

[[gnu::noinline]] int connect_now(int fd, const sockaddr* to, socklen_t length) noexcept {
  return or_errno(os::connect(fd, to, length));
}
[[gnu::noinline]] int bind_now(int fd, const sockaddr* to, socklen_t length) noexcept {
  return or_errno(os::bind(fd, to, length));
}
[[gnu::noinline]] int listen_now(int fd, int backlog) noexcept {
  return or_errno(os::listen(fd, backlog != 0 ? backlog : std::numeric_limits<int>::max()));
}
[[gnu::noinline]] int shutdown_now(int fd, int how) noexcept { return or_errno(os::shutdown(fd, how)); }

[[gnu::noinline]] int set_option_now(int fd, int level, int name, int value) noexcept {
  return or_errno(os::setsockopt(fd, level, name, &value, sizeof value));
}

[[gnu::noinline]] int set_option_now(int fd, int level, int name, const void* value, socklen_t length) noexcept {
  return or_errno(os::setsockopt(fd, level, name, value, length));
}
[[gnu::noinline]] int option_now(int fd, int level, int name, void* value, socklen_t& length) noexcept {
  return or_errno(os::getsockopt(fd, level, name, value, &length));
}

int set_keep_alive_now(int fd, int idle_seconds, int interval_seconds, int count) noexcept {
  int result = set_option_now(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_seconds);
  if (result == 0) result = set_option_now(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_seconds);
  if (result == 0) result = set_option_now(fd, IPPROTO_TCP, TCP_KEEPCNT, count);
  if (result == 0) result = set_option_now(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  return result;
}

void keep_alive_from_the_start(int fd) noexcept {
  constexpr int idle_seconds = 15, interval_seconds = 15;  // as Go's
  set_option_now(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_seconds);
  set_option_now(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_seconds);
  set_option_now(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

bool carries_bytes_as_tcp_now(int fd) noexcept {
#ifndef TCP_ULP
#define TCP_ULP 31
#endif
  char name[16];
  socklen_t length = sizeof name;
  return option_now(fd, IPPROTO_TCP, TCP_ULP, name, length) != 0 || length == 0;
}

[[gnu::noinline]] int pending_error_now(int fd) noexcept {
  int error = 0;
  socklen_t length = sizeof error;
  return os::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

[[gnu::noinline]] int get_option_now(int fd, int level, int name, void* value, socklen_t size) noexcept {
  return or_errno(os::getsockopt(fd, level, name, value, &size));
}

[[gnu::noinline]] int local_address_now(int fd, sockaddr_storage& local) noexcept {
  socklen_t length = sizeof local;
  return or_errno(os::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length));
}

[[gnu::noinline]] int peer_address_now(int fd, sockaddr_storage& peer) noexcept {
  socklen_t length = sizeof peer;
  return or_errno(os::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length));
}

}  // namespace weft::rt
