// SPDX-License-Identifier: Apache-2.0
// Datagrams. No short read says anything about what else has come: every receive asks the kernel.
#include <weft/net/udp.hpp>

#include <netinet/in.h>

#include <string>
#include <utility>

#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/open.hpp"
#include "netpoll/os.hpp"
#include "netpoll/side.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

int bound_socket(const net::endpoint& at, net::endpoint& local, failure& why) noexcept {
  sockaddr_storage address;
  const socklen_t length = endpoint_access::to(at, address);
  const int fd = socket_now(address.ss_family, SOCK_DGRAM);
  if (fd < 0) {
    why.error = -fd;
    return -1;
  }
  set_option_now(fd, SOL_SOCKET, SO_BROADCAST, 1);  // as Go does: sending to such an address is intent enough
  if (at.is_v6()) set_option_now(fd, IPPROTO_IPV6, IPV6_V6ONLY, at.address() == "::" ? 0 : 1);
  int result = bind_now(fd, reinterpret_cast<const sockaddr*>(&address), length);
  if (result == 0) result = local_address_now(fd, address);
  if (result != 0) {
    os::close(fd);
    why.error = -result;
    return -1;
  }
  local = endpoint_access::from(address);
  return fd;
}

std::size_t send_datagram(descriptor* d, bool v6, std::span<const std::byte> from, const net::endpoint& to,
                          failure& why) noexcept {
  sockaddr_storage address;
  const socklen_t length = v6 ? endpoint_access::to_v6(to, address) : endpoint_access::to(to, address);
  held_side side(d, direction::write, why);
  while (side) {
    const ssize_t n =
        send_to_now(side.fd(), from.data(), from.size(), reinterpret_cast<const sockaddr*>(&address), length);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (!side.again(n, why)) break;
  }
  return 0;
}

net::datagram receive_datagram(descriptor* d, std::span<std::byte> to, failure& why) noexcept {
  held_side side(d, direction::read, why);
  while (side) {
    sockaddr_storage from{};
    const ssize_t n = recv_from_now(side.fd(), to.data(), to.size(), from);
    if (n >= 0) return {static_cast<std::size_t>(n), endpoint_access::from(from)};
    if (!side.again(n, why)) break;
  }
  return {};
}

}  // namespace

namespace net {

struct udp_socket::bound {
  descriptor* d = nullptr;
  endpoint local;
  bool v6 = false;
  std::error_code error;
  bool cancelled = false;
  std::string detail;
};

udp_socket::bound udp_socket::bind_at(std::string_view where) {
  need_runtime("udp_socket::bind");
  lookup at = look_up(where, true, SOCK_DGRAM);
  bound result{nullptr, {}, false, at.error, at.cancelled, std::move(at.detail)};
  for (const endpoint& each : at.found) {
    failure why;
    const int fd = bound_socket(each, result.local, why);
    if (fd >= 0) result.d = open_descriptor(fd, false, why.error);
    result.error = to_code(why);
    result.detail = each.to_string();
    if (result.d == nullptr) continue;
    result.d->kind = file_kind::socket;
    result.v6 = each.is_v6();
    break;
  }
  return result;
}

udp_socket udp_socket::bind(std::string_view where, std::error_code& error) {
  const bound b = bind_at(where);
  error = b.error;
  return udp_socket(b.d, b.local, b.v6);
}

udp_socket udp_socket::bind(std::string_view where) {
  const bound b = bind_at(where);
  if (b.cancelled) throw_cancelled();
  if (b.error)
    throw std::system_error(b.error, "weft::net: udp_socket::bind on \"" + std::string(where) + '"' +
                                         (b.detail.empty() ? "" : " (" + b.detail + ")"));
  return udp_socket(b.d, b.local, b.v6);
}

std::size_t udp_socket::send_to(std::span<const std::byte> from, const endpoint& to) {
  return or_throw(
      [&](const failure& why) { raise(why, "send " + std::to_string(from.size()) + " bytes to " + to.to_string()); },
      [&](failure& why) { return send_datagram(d_, v6_, from, to, why); });
}

std::size_t udp_socket::send_to(std::span<const std::byte> from, const endpoint& to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return send_datagram(d_, v6_, from, to, why); });
}

datagram udp_socket::recv_from(std::span<std::byte> to) {
  return or_throw([&](const failure& why) { raise(why, "receive on " + local_.to_string()); },
                  [&](failure& why) { return receive_datagram(d_, to, why); });
}

datagram udp_socket::recv_from(std::span<std::byte> to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return receive_datagram(d_, to, why); });
}

}  // namespace net
}  // namespace v0
}  // namespace weft
