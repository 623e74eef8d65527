// SPDX-License-Identifier: Apache-2.0
// A small kernel for the simulation: loopback TCP, UDP, pipes, eventfds and epoll, under the names of the C library.
//
// Each call is a step; between steps it happens at once. Who has to wait sleeps as a thread of the simulation. What is
// under way arrives at its own time, by the virtual clock, whichever thread runs (`sim::at`).
//
// Each part says in its head what it takes over from Linux and what it leaves out: kernel/file.hpp (open files and
// numbers), epoll.hpp, tcp.hpp, datagrams.hpp, pipes.hpp, counters.hpp, under_way.hpp, troubles.hpp (what goes wrong).
//
// Files are beside it, under the names of netpoll/file_calls.hpp: disk.hpp.
//
// Not modelled: IPv6, Unix-domain sockets, splice, dup, fork, SIGPIPE. Options of sockets are taken and ignored. /proc,
// io_uring, the resolver and signals are not asked for here: WEFT_NETPOLL is epoll in a simulation.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include <cstddef>
#include <cstdio>

#include "tests/sim/seam/sim.hpp"

namespace sim::kernel {

int accept4(int fd, sockaddr* peer, socklen_t* length, int flags) noexcept;
int bind(int fd, const sockaddr* at, socklen_t length) noexcept;
int close(int fd) noexcept;
int connect(int fd, const sockaddr* to, socklen_t length) noexcept;
int epoll_create1(int flags) noexcept;
int epoll_ctl(int epoll, int what, int fd, epoll_event* event) noexcept;
int epoll_wait(int epoll, epoll_event* out, int room, int milliseconds) noexcept;
int epoll_pwait2(int epoll, epoll_event* out, int room, const timespec* timeout) noexcept;
int eventfd(unsigned count, int flags) noexcept;
int fcntl(int fd, int what, int flags = 0) noexcept;
int fstat(int fd, struct stat* out) noexcept;
int getpeername(int fd, sockaddr* out, socklen_t* length) noexcept;
int getsockname(int fd, sockaddr* out, socklen_t* length) noexcept;
int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept;
int listen(int fd, int backlog) noexcept;
int pipe2(int ends[2], int flags) noexcept;
int poll(pollfd* what, nfds_t n, int milliseconds) noexcept;
ssize_t preadv2(int fd, const iovec* to, int count, off_t at, int flags) noexcept;
ssize_t pwritev2(int fd, const iovec* from, int count, off_t at, int flags) noexcept;
ssize_t read(int fd, void* to, std::size_t n) noexcept;
ssize_t recv(int fd, void* to, std::size_t n, int flags) noexcept;
ssize_t recvfrom(int fd, void* to, std::size_t n, int flags, sockaddr* from, socklen_t* length) noexcept;
int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) noexcept;
ssize_t recvmsg(int fd, msghdr* message, int flags) noexcept;
ssize_t send(int fd, const void* from, std::size_t n, int flags) noexcept;
int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) noexcept;
ssize_t sendmsg(int fd, const msghdr* message, int flags) noexcept;
ssize_t sendto(int fd, const void* from, std::size_t n, int flags, const sockaddr* to, socklen_t length) noexcept;
int setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept;
int shutdown(int fd, int how) noexcept;
int socket(int family, int type, int protocol) noexcept;
int socketpair(int family, int type, int protocol, int ends[2]) noexcept;
ssize_t splice(int from, off_t* from_at, int to, off_t* to_at, std::size_t n, unsigned flags) noexcept;
ssize_t write(int fd, const void* from, std::size_t n) noexcept;
ssize_t writev(int fd, const iovec* from, int count) noexcept;

/// What goes wrong, and how often; 0: never. Chosen by the seed with the first call, before a program may change it.
struct troubles {
  unsigned interrupted_one_in = 0;  ///< EINTR, of calls that may say so
  unsigned short_write_one_in = 0;
  unsigned no_accept_one_in = 0;  ///< EMFILE, ENFILE, ENOMEM, ENOBUFS; the connection stays
  unsigned aborted_one_in = 0;    ///< ECONNABORTED: it is gone, and counts as reset
  unsigned reset_one_in = 0;      ///< of calls: some connection is reset
  /// Of calls: some edge says that there is something to read, and it need not be so, as if a bad checksum had then
  /// been found (select(2), BUGS).
  unsigned spurious_readiness_one_in = 0;
  instant latency = 0;       ///< at most; 0: what is sent has arrived
  unsigned slow_one_in = 0;  ///< of what is sent: `slow` later
  instant slow = 5'000'000;
  std::size_t buffer = 65536;  ///< each of the two of a stream in one direction
  int most_files = 1024;
};
troubles& trouble() noexcept;
/// One line, for a report; nothing if the program has made no call.
void print_troubles(std::FILE* out) noexcept;

/// How many connections were reset by `trouble()`.
unsigned resets() noexcept;
/// Whether that has happened to the connection of this local port (of either end).
bool was_reset(unsigned port) noexcept;
/// Numbers in use.
int open_files() noexcept;

/// How late an edge was taken from a ready list, at worst.
instant latest_edge() noexcept;
/// Since when the oldest edge on a ready list waits; -1: none does.
instant oldest_edge() noexcept;

}  // namespace sim::kernel
