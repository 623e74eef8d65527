// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/kernel/address.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace sim::kernel {

sockaddr_in read_address(const sockaddr* from) noexcept {
  sockaddr_in result{};
  std::memcpy(&result, from, sizeof result);
  return result;
}

int write_address(const sockaddr_in& from, sockaddr* to, socklen_t* length) noexcept {
  std::memcpy(to, &from, std::min<std::size_t>(*length, sizeof from));
  *length = sizeof from;
  return 0;
}

void complete(sockaddr_in& a) noexcept {
  static unsigned next_port = 32768;
  a.sin_family = AF_INET;
  if (a.sin_addr.s_addr == 0) a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (a.sin_port == 0) a.sin_port = htons(static_cast<std::uint16_t>(next_port++));
}

unsigned port_of(const sockaddr_in& a) noexcept { return ntohs(a.sin_port); }

}  // namespace sim::kernel
