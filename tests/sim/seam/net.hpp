// SPDX-License-Identifier: Apache-2.0
// netpoll/os.hpp, answered by the simulated kernel.
#pragma once

#include <cerrno>

#include "tests/sim/kernel.hpp"

namespace weft::rt::os {

using sim::kernel::accept4;
using sim::kernel::bind;
using sim::kernel::close;
using sim::kernel::connect;
using sim::kernel::epoll_create1;
using sim::kernel::epoll_ctl;
using sim::kernel::epoll_pwait2;
using sim::kernel::epoll_wait;
using sim::kernel::eventfd;
using sim::kernel::fcntl;
using sim::kernel::fstat;
using sim::kernel::getpeername;
using sim::kernel::getsockname;
using sim::kernel::getsockopt;
using sim::kernel::listen;
using sim::kernel::pipe2;
using sim::kernel::poll;
using sim::kernel::preadv2;
using sim::kernel::pwritev2;
using sim::kernel::read;
using sim::kernel::recv;
using sim::kernel::recvfrom;
using sim::kernel::recvmmsg;
using sim::kernel::recvmsg;
using sim::kernel::send;
using sim::kernel::sendmmsg;
using sim::kernel::sendmsg;
using sim::kernel::sendto;
using sim::kernel::setsockopt;
using sim::kernel::shutdown;
using sim::kernel::socket;
using sim::kernel::socketpair;
using sim::kernel::splice;
using sim::kernel::write;
using sim::kernel::writev;

// There are no names of files, and no terminals.
inline int open(const char*, int) noexcept {
  errno = ENOENT;
  return -1;
}
inline int ioctl(int, unsigned long, void*) noexcept {
  errno = ENOTTY;
  return -1;
}

}  // namespace weft::rt::os
