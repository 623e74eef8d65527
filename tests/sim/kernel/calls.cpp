// SPDX-License-Identifier: Apache-2.0
// The calls by number, except epoll's: which file, whether it may wait, and which errno. What happens is the file's.
//
// Each begins with a step (`enter`), and those that may be interrupted ask for that before they do anything: Linux says
// EINTR only of calls that wait, weft must bear it of all.
//
// Differs from Linux: a connect that blocks is not interrupted; F_GETFL says O_RDWR of everything; bind takes a second
// address. poll(2) asks about one number and does not wait. EPOLL_CTL_ADD never fails for want of memory or watches.
#include <algorithm>
#include <string>

#include "tests/sim/kernel/address.hpp"
#include "tests/sim/kernel/counters.hpp"
#include "tests/sim/kernel/datagrams.hpp"
#include "tests/sim/kernel/file.hpp"
#include "tests/sim/kernel/pipes.hpp"
#include "tests/sim/kernel/tcp.hpp"
#include "tests/sim/kernel/troubles.hpp"

namespace sim::kernel {

namespace {

bool interrupted() noexcept { return one_in(trouble().interrupted_one_in); }

std::string gathered(const iovec* from, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all.append(static_cast<const char*>(from[i].iov_base), from[i].iov_len);
  return all;
}

}  // namespace

int accept4(int fd, sockaddr* peer, socklen_t* length, int flags) noexcept {
  enter();
  auto* const l = file_of<tcp_socket>(fd);
  if (l == nullptr || l->now_is != tcp_socket::is::listens) return say(EINVAL);
  if (interrupted()) return say(EINTR);
  const in_use here(l);
  sockaddr_in from{};
  const ssize_t number = until_done(l, EPOLLIN, true, [&] { return l->accept((flags & SOCK_NONBLOCK) != 0, from); });
  if (number >= 0 && peer != nullptr) write_address(from, peer, length);
  return static_cast<int>(number);
}

int bind(int fd, const sockaddr* to, socklen_t) noexcept {
  enter();
  file* const f = file_of<file>(fd);
  sockaddr_in a = read_address(to);
  if (a.sin_family != AF_INET) return say(EAFNOSUPPORT);
  if (auto* const s = dynamic_cast<tcp_socket*>(f)) {
    if (a.sin_port != 0 && listener_at(port_of(a)) != nullptr) return say(EADDRINUSE);
    complete(a);
    s->local = a;
    s->bound = true;
    return 0;
  }
  if (auto* const s = dynamic_cast<udp_socket*>(f)) {
    if (a.sin_port != 0 && udp_socket_at(port_of(a)) != nullptr) return say(EADDRINUSE);
    complete(a);
    s->local = a;
    s->bound = true;
    return 0;
  }
  return say(ENOTSOCK);
}

int close(int fd) noexcept {
  enter();
  file_of<file>(fd);
  take_number(fd);
  return 0;
}

int connect(int fd, const sockaddr* to, socklen_t) noexcept {
  enter();
  auto* const s = file_of<tcp_socket>(fd);
  if (s == nullptr) return say(ENOTSOCK);
  if (s->now_is == tcp_socket::is::connects) return say(EALREADY);
  if (s->now_is != tcp_socket::is::fresh) return say(EISCONN);
  s->remote = read_address(to);
  if (s->remote.sin_family != AF_INET) return say(EAFNOSUPPORT);
  complete(s->remote);
  if (!s->bound) complete(s->local);
  s->bound = true;
  s->begin_to_connect();
  if (s->nonblocking) return say(EINPROGRESS);
  const in_use here(s);
  while (s->now_is == tcp_socket::is::connects) wait_for(s, EPOLLOUT);
  if (s->error != 0) return say(s->take_error());
  return 0;
}

int eventfd(unsigned count, int flags) noexcept {
  enter();
  return static_cast<int>(said(give_number(new counter(count), (flags & EFD_NONBLOCK) != 0)));
}

int fcntl(int fd, int what, int flags) noexcept {
  enter();
  file* const f = file_at(fd);
  if (f == nullptr) return say(EBADF);
  if (what == F_GETFL) return O_RDWR | (f->nonblocking ? O_NONBLOCK : 0);
  if (what != F_SETFL) return say(EINVAL);
  f->nonblocking = (flags & O_NONBLOCK) != 0;
  return 0;
}

int fstat(int fd, struct stat* out) noexcept {
  enter();
  file* const f = file_at(fd);
  if (f == nullptr) return say(EBADF);
  *out = {};
  out->st_mode = f->format();
  return 0;
}

int getpeername(int fd, sockaddr* out, socklen_t* length) noexcept {
  enter();
  auto* const s = file_of<tcp_socket>(fd);
  if (s == nullptr) return say(ENOTSOCK);
  return s->now_is == tcp_socket::is::connected ? write_address(s->remote, out, length) : say(ENOTCONN);
}
int getsockname(int fd, sockaddr* out, socklen_t* length) noexcept {
  enter();
  file* const f = file_of<file>(fd);
  if (auto* s = dynamic_cast<tcp_socket*>(f)) return write_address(s->local, out, length);
  if (auto* s = dynamic_cast<udp_socket*>(f)) return write_address(s->local, out, length);
  return say(ENOTSOCK);
}

int getsockopt(int fd, int level, int name, void* value, socklen_t*) noexcept {
  enter();
  auto* const s = file_of<tcp_socket>(fd);
  if (s == nullptr || level != SOL_SOCKET || name != SO_ERROR) return say(ENOPROTOOPT);
  *static_cast<int*>(value) = s->take_error();
  return 0;
}

int listen(int fd, int backlog) noexcept {
  enter();
  auto* const s = file_of<tcp_socket>(fd);
  if (s == nullptr || !s->bound) return say(EINVAL);
  const tcp_socket* const other = listener_at(port_of(s->local));
  if (other != nullptr && other != s) return say(EADDRINUSE);
  s->listen(static_cast<std::size_t>(std::clamp(backlog, 1, 2 << choose(8))));  // the seed has net.core.somaxconn
  return 0;
}

int pipe2(int ends[2], int flags) noexcept {
  enter();
  const pipe_ends p = new_pipe();
  const bool nonblocking = (flags & O_NONBLOCK) != 0;
  ends[0] = give_number(p.reader, nonblocking);
  if (ends[0] < 0) return say(EMFILE);
  ends[1] = give_number(p.writer, nonblocking);
  if (ends[1] >= 0) return 0;
  take_number(ends[0]);
  return say(EMFILE);
}

int poll(pollfd* what, nfds_t, int) noexcept {
  enter();
  if (interrupted()) return say(EINTR);
  file* const f = file_at(what->fd);
  what->revents = f == nullptr
                      ? POLLNVAL
                      : static_cast<short>(f->state() & (static_cast<unsigned>(what->events) | POLLERR | POLLHUP));
  return what->revents != 0;
}

ssize_t read(int fd, void* to, std::size_t n) noexcept {
  enter();
  file* const f = file_of<file>(fd);
  if (interrupted()) return say(EINTR);
  const in_use here(f);
  return until_done(f, EPOLLIN, true, [&] { return f->take(static_cast<char*>(to), n); });
}
// One piece; RWF_NOWAIT, and as Linux before 6.18 no RWF_NOSIGNAL: there is no SIGPIPE here.
ssize_t preadv2(int fd, const iovec* to, int count, off_t, int flags) noexcept {
  enter();
  file* const f = file_of<file>(fd);
  if (count != 1 || (flags & ~RWF_NOWAIT) != 0) return say(EOPNOTSUPP);
  if (interrupted()) return say(EINTR);
  const in_use here(f);
  return until_done(f, EPOLLIN, (flags & RWF_NOWAIT) == 0,
                    [&] { return f->take(static_cast<char*>(to->iov_base), to->iov_len); });
}
ssize_t pwritev2(int fd, const iovec* from, int count, off_t, int flags) noexcept {
  enter();
  file* const f = file_of<file>(fd);
  if ((flags & ~RWF_NOWAIT) != 0) return say(EOPNOTSUPP);
  if (interrupted()) return say(EINTR);
  const std::string all = gathered(from, static_cast<std::size_t>(count));
  const in_use here(f);
  return until_done(f, EPOLLOUT, (flags & RWF_NOWAIT) == 0, [&] { return f->put(all.data(), all.size()); });
}
ssize_t recv(int fd, void* to, std::size_t n, int flags) noexcept {
  enter();
  auto* const s = file_of<tcp_socket>(fd);
  if (s == nullptr) return say(ENOTSOCK);
  if (interrupted()) return say(EINTR);
  const in_use here(s);
  return until_done(s, EPOLLIN, (flags & MSG_DONTWAIT) == 0, [&] { return s->take(static_cast<char*>(to), n); });
}
ssize_t write(int fd, const void* from, std::size_t n) noexcept {
  enter();
  file* const f = file_of<file>(fd);
  if (interrupted()) return say(EINTR);
  const in_use here(f);
  return until_done(f, EPOLLOUT, true, [&] { return f->put(static_cast<const char*>(from), n); });
}
ssize_t send(int fd, const void* from, std::size_t n, int flags) noexcept {
  enter();
  auto* const s = file_of<tcp_socket>(fd);
  if (s == nullptr) return say(ENOTSOCK);
  if (interrupted()) return say(EINTR);
  const in_use here(s);
  return until_done(s, EPOLLOUT, (flags & MSG_DONTWAIT) == 0,
                    [&] { return s->put(static_cast<const char*>(from), n); });
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) noexcept {
  const std::string all = gathered(message->msg_iov, message->msg_iovlen);
  return send(fd, all.data(), all.size(), flags);
}
ssize_t writev(int fd, const iovec* from, int count) noexcept {
  const std::string all = gathered(from, static_cast<std::size_t>(count));
  return write(fd, all.data(), all.size());
}

ssize_t recvfrom(int fd, void* to, std::size_t n, int flags, sockaddr* from, socklen_t* length) noexcept {
  enter();
  auto* const s = file_of<udp_socket>(fd);
  if (s == nullptr) return say(ENOTSOCK);
  if (interrupted()) return say(EINTR);
  const in_use here(s);
  sockaddr_in sender{};
  const ssize_t got = until_done(s, EPOLLIN, (flags & MSG_DONTWAIT) == 0,
                                 [&] { return s->take_one(static_cast<char*>(to), n, sender); });
  if (got >= 0 && from != nullptr) write_address(sender, from, length);
  const bool all = got < 0 || (flags & MSG_TRUNC) != 0;
  return all ? got : std::min(got, static_cast<ssize_t>(n));
}

// One piece each. As Linux: an error after the first is not told.
int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec*) noexcept {
  unsigned done = 0;
  for (; done < count; ++done) {
    msghdr& m = messages[done].msg_hdr;
    const ssize_t got = kernel::recvfrom(fd, m.msg_iov->iov_base, m.msg_iov->iov_len, flags | MSG_TRUNC,
                                         static_cast<sockaddr*>(m.msg_name), &m.msg_namelen);
    if (got < 0) break;
    const std::size_t length = static_cast<std::size_t>(got);
    m.msg_flags = length > m.msg_iov->iov_len ? MSG_TRUNC : 0;
    messages[done].msg_len = static_cast<unsigned>(std::min(length, m.msg_iov->iov_len));
  }
  return done != 0 ? static_cast<int>(done) : -1;
}

ssize_t sendto(int fd, const void* from, std::size_t n, int, const sockaddr* to, socklen_t) noexcept {
  enter();
  auto* const s = file_of<udp_socket>(fd);
  if (s == nullptr) return say(ENOTSOCK);
  if (interrupted()) return say(EINTR);
  s->send(std::string(static_cast<const char*>(from), n), read_address(to));
  return static_cast<ssize_t>(n);
}

int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) noexcept {
  unsigned done = 0;
  for (; done < count; ++done) {
    const msghdr& m = messages[done].msg_hdr;
    const std::string all = gathered(m.msg_iov, m.msg_iovlen);
    if (kernel::sendto(fd, all.data(), all.size(), flags, static_cast<const sockaddr*>(m.msg_name), m.msg_namelen) < 0)
      break;
    messages[done].msg_len = static_cast<unsigned>(all.size());
  }
  return done != 0 ? static_cast<int>(done) : -1;
}

int setsockopt(int fd, int, int, const void*, socklen_t) noexcept {
  enter();
  file_of<file>(fd);
  return 0;
}

int shutdown(int fd, int how) noexcept {
  enter();
  auto* const s = file_of<tcp_socket>(fd);
  if (s == nullptr) return say(ENOTSOCK);
  if (s->now_is != tcp_socket::is::connected) return say(ENOTCONN);
  if (how != SHUT_WR) s->in_ended = true;
  if (how != SHUT_RD) s->send_fin();
  notify(s, 0);
  return 0;
}

int socket(int family, int type, int) noexcept {
  enter();
  if (family != AF_INET) return say(EAFNOSUPPORT);
  const bool datagrams = (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_DGRAM;
  file* const f = datagrams ? static_cast<file*>(new_udp_socket()) : new_tcp_socket();
  return static_cast<int>(said(give_number(f, (type & SOCK_NONBLOCK) != 0)));
}

// No Unix-domain sockets here.
int socketpair(int, int, int, int*) noexcept { return say(EAFNOSUPPORT); }
ssize_t recvmsg(int, msghdr*, int) noexcept { return say(EOPNOTSUPP); }

ssize_t splice(int, off_t*, int, off_t*, std::size_t, unsigned) noexcept { return say(ENOSYS); }

}  // namespace sim::kernel
