// SPDX-License-Identifier: Apache-2.0
// Sockets that the program, or the one that started it, has opened: whether they are what they should be, and how they
// become descriptors of ours. What is refused is left as it was found.
//
// The number was somebody else's, so the open file may have other owners, who may make it blocking: such a descriptor is
// `lent` from the start (netpoll/table.hpp).
#pragma once

#include <sys/socket.h>

#include <string>

#include "netpoll/failure.hpp"
#include "netpoll/table.hpp"

namespace weft::rt {

enum class socket_role : std::uint8_t { tcp_stream, tcp_listener, udp_socket, unix_stream, unix_listener };

struct adopted_socket {
  descriptor* d = nullptr;  ///< null: `why`
  failure why;
  std::string detail;          ///< completes the message
  sockaddr_storage address{};  ///< the peer's of a stream, else its own
};

/// Takes `number` over. Throws std::logic_error without a runtime.
adopted_socket adopt_socket(int number, socket_role role);
/// The same, in one of the two forms: says in `error` why it failed, or throws that if `error` is null.
adopted_socket adopt_socket(int number, socket_role role, std::error_code* error);
/// Returns true if the descriptor is a socket of that role.
bool has_role(int number, socket_role role) noexcept;

}  // namespace weft::rt
