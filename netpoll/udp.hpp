// SPDX-License-Identifier: Apache-2.0
// What the files of UDP share: udp_socket.cpp, udp_many.cpp, udp_group.cpp.
#pragma once

#include <string>

#include "netpoll/address.hpp"
#include "netpoll/side.hpp"

namespace weft::rt {

/// The families that a datagram socket speaks.
struct families {
  bool v4 = false;
  bool v6 = false;
};

/// `v6`: it is an IPv6 socket, which may speak IPv4 as well.
families families_of(int fd, bool v6) noexcept;

/// Returns true if the socket speaks the family of `to`. Else `at` says that it does not, unless it tells another error.
bool speaks(families those, const net::endpoint& to, lookup& at);

/// Completes a message of EACCES.
inline constexpr char broadcast_cure[] =
    " (a broadcast address needs set_broadcast(true); else a rule of the system forbids it)";

/// Throws `why` a datagram of so many bytes could not be sent by `d`. `to`: nullptr stands for its peer. `v6`: as above.
[[noreturn]] void fail_to_send(const failure& why, std::size_t bytes, const net::endpoint* to, descriptor* d, bool v6);

}  // namespace weft::rt
