// SPDX-License-Identifier: Apache-2.0
// Addresses of IPv4, all on one host.
//
// Ports are given out in order and never a second time. Differs from Linux: an unspecified address becomes the loopback
// one, so getsockname says 127.0.0.1.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

namespace sim::kernel {

/// The caller looks at the family.
sockaddr_in read_address(const sockaddr* from) noexcept;
/// Returns 0.
int write_address(const sockaddr_in& from, sockaddr* to, socklen_t* length) noexcept;
/// Fills in what is left open: the loopback address, and a free port.
void complete(sockaddr_in& a) noexcept;
unsigned port_of(const sockaddr_in& a) noexcept;

}  // namespace sim::kernel
