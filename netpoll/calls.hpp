// SPDX-License-Identifier: Apache-2.0
// System calls on descriptors, each with its errno in one piece: the result, or minus the errno.
//
// A fiber that parks may go on on another thread, and the compiler may keep errno's address across the switch (its
// accessor is declared `const`). So errno is read here, in functions that neither park nor are inlined, and nowhere in
// code that parks.
//
// No call here waits, also where another owner of the open file has taken O_NONBLOCK away: sockets are told so by
// MSG_DONTWAIT, pipes by RWF_NOWAIT; what knows neither (a terminal) is asked by poll first. Between that and the call
// another reader may be quicker, and a call that waits then cannot be helped.
//
// A buffer in the guard of a stack is no bad argument but an overflow: the process ends in the report of that
// (runtime/fiber/overflow.hpp).
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>

namespace weft::rt {

inline constexpr std::size_t most_passed = 253;  ///< the kernel's SCM_MAX_FD

ssize_t recv_now(int fd, void* to, std::size_t n) noexcept;
ssize_t peek_now(int fd, void* to, std::size_t n) noexcept;  // what it reads stays
ssize_t recvv_now(int fd, const iovec* to, std::size_t count) noexcept;
ssize_t send_now(int fd, const void* from, std::size_t n) noexcept;        // never a signal
ssize_t sendv_now(int fd, const iovec* from, std::size_t count) noexcept;  // never a signal
// Reading and writing by RWF_NOWAIT; `ask_first` remembers that the file does not know it. `sure_room` is what can be
// written at once where poll says that something can.
//
// A pipe without a reader raises SIGPIPE in the thread that writes. RWF_NOSIGNAL keeps it away (Linux 6.18); without it
// the signal is held back around the call (netpoll/without_signals.hpp).
ssize_t read_now(int fd, void* to, std::size_t n, bool& ask_first) noexcept;
ssize_t readv_now(int fd, const iovec* to, std::size_t count, bool& ask_first) noexcept;
ssize_t writev_now(int fd, const iovec* from, std::size_t count, std::size_t sure_room, bool& ask_first) noexcept;
ssize_t send_to_now(int fd, const void* from, std::size_t n, const sockaddr* to, socklen_t length) noexcept;
/// Of a datagram: its whole length, which may be more than the `n` that it is cut to.
ssize_t recv_from_now(int fd, void* to, std::size_t n, sockaddr_storage& from) noexcept;
/// How many of them; an error only of the first. `msg_len` and `msg_flags` of each that was received are filled in.
int recv_messages_now(int fd, mmsghdr* to, unsigned count) noexcept;
int send_messages_now(int fd, mmsghdr* from, unsigned count) noexcept;
/// The index of a network interface, from 1.
int interface_now(const char* name) noexcept;
/// With at most `most_passed` descriptors beside them; never a signal.
ssize_t send_passing_now(int fd, const void* from, std::size_t n, const int* passed, std::size_t count) noexcept;
/// The descriptors that came along, close-on-exec, are stored in `passed`, which has room for `most_passed`. `lost`: not
/// all of them could be had.
ssize_t recv_passing_now(int fd, void* to, std::size_t n, int* passed, std::size_t& count, bool& lost) noexcept;
int pair_now(int ends[2]) noexcept;                   // of Unix-domain streams
int events_now(int fd, short events) noexcept;        // those that have come, as poll(2) says
int poll_now(int fd, short events) noexcept;          // 0: some of them have come; -EAGAIN: none
int file_flags_now(int fd) noexcept;                  // O_NONBLOCK, ...
int set_blocking_now(int fd, bool on) noexcept;       // 1: it was not so before
int set_close_on_exec_now(int fd, bool on) noexcept;  // 1: it was not so before
int format_now(int fd) noexcept;                      // S_IFSOCK, S_IFIFO, ...
int duplicate_now(int fd) noexcept;                   // close-on-exec
int pipe_now(int ends[2]) noexcept;                   // non-blocking, close-on-exec
/// Returns true if the pipe can be read and written with RWF_NOWAIT: no FIFO, and none before Linux 6.5.
bool pipe_knows_nowait_now(int fd) noexcept;
/// Another open file for the same pipe or terminal, with `flags`' access and an O_NONBLOCK of its own; close-on-exec.
/// -ENOTTY, or what open(2) says: it cannot be had.
int open_again_now(int fd, int flags) noexcept;
/// From a socket to a pipe or the other way round, without a copy in between. As `writev_now`: never a signal.
ssize_t splice_now(int from, int to, std::size_t n) noexcept;
int accept_now(int fd, sockaddr_storage& peer) noexcept;  // non-blocking, close-on-exec; so are the next
int socket_now(int family, int type) noexcept;
int connect_now(int fd, const sockaddr* to, socklen_t length) noexcept;
int bind_now(int fd, const sockaddr* to, socklen_t length) noexcept;
int listen_now(int fd, int backlog) noexcept;  // 0: as many as the system allows
int shutdown_now(int fd, int how) noexcept;
int set_option_now(int fd, int level, int name, int value) noexcept;
int set_option_now(int fd, int level, int name, const void* value, socklen_t length) noexcept;
int option_now(int fd, int level, int name, void* value, socklen_t& length) noexcept;
int set_keep_alive_now(int fd, int idle_seconds, int interval_seconds, int count) noexcept;
/// For listeners, whose connections inherit it, and connections that we make. They work without it, too.
void keep_alive_from_the_start(int fd) noexcept;
/// Nothing is laid over TCP, as TLS in the kernel would be: so a short read leaves nothing to read.
bool carries_bytes_as_tcp_now(int fd) noexcept;
int pending_error_now(int fd) noexcept;  // SO_ERROR, positive
int local_address_now(int fd, sockaddr_storage& local) noexcept;
int peer_address_now(int fd, sockaddr_storage& peer) noexcept;
int get_option_now(int fd, int level, int name, void* value, socklen_t size) noexcept;

}  // namespace weft::rt
