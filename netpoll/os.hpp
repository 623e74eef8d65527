// SPDX-License-Identifier: Apache-2.0
// What the netpoller asks of the system on sockets, pipes and its epoll instance: the calls of the C library under
// their own names, so nothing in a release build. A build with WEFT_SIMULATED has a simulated kernel answer them
// (tests/sim/kernel.hpp). Files come through file_calls.hpp, which it has of its own. The ring, signals and the resolver
// do not come through here.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#if defined(WEFT_SIMULATED)
#include "tests/sim/seam/net.hpp"
#else

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weft::rt::os {

using ::accept4;
using ::bind;
using ::close;
using ::connect;
using ::epoll_create1;
using ::epoll_ctl;
using ::epoll_wait;
using ::eventfd;
using ::fcntl;
using ::fstat;
using ::getpeername;
using ::getsockname;
using ::getsockopt;
using ::ioctl;
using ::listen;
using ::open;
using ::pipe2;
using ::poll;
using ::preadv2;
using ::pwritev2;
using ::read;
using ::recv;
using ::recvfrom;
using ::recvmmsg;
using ::recvmsg;
using ::send;
using ::sendmmsg;
using ::sendmsg;
using ::sendto;
using ::setsockopt;
using ::shutdown;
using ::socket;
using ::socketpair;
using ::splice;
using ::write;
using ::writev;

#ifdef SYS_epoll_pwait2
/// No wrapper in glibc before 2.35.
inline int epoll_pwait2(int epoll, epoll_event* out, int room, const timespec* timeout) noexcept {
  return static_cast<int>(syscall(SYS_epoll_pwait2, epoll, out, room, timeout, nullptr, 0));
}
#endif

}  // namespace weft::rt::os
#endif
