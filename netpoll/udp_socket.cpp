// SPDX-License-Identifier: Apache-2.0
// Datagrams. No short read says anything about what else has come: every receive asks the kernel.
#include <weft/net/udp.hpp>

#include <netinet/in.h>

#include <string>

#include "netpoll/access.hpp"
#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/raw_socket.hpp"
#include "netpoll/side.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

descriptor* bind_to(const net::endpoint& at, const net::bind_options& options, net::endpoint& local,
                    failure& why) noexcept {
  sockaddr_storage address;
  const socklen_t length = endpoint_access::to(at, address);
  raw_socket s(address.ss_family, SOCK_DGRAM, why);
  if (why) return nullptr;
  set_option_now(s.fd(), SOL_SOCKET, SO_BROADCAST, 1);  // as Go does: sending to such an address is intent enough
  if (at.is_v6()) set_option_now(s.fd(), IPPROTO_IPV6, IPV6_V6ONLY, at.is_unspecified() ? 0 : 1);
  if ((options.reuse_port && !s.succeeded(set_option_now(s.fd(), SOL_SOCKET, SO_REUSEPORT, 1), why)) ||
      (options.reuse_address && !s.succeeded(set_option_now(s.fd(), SOL_SOCKET, SO_REUSEADDR, 1), why)) ||
      !s.succeeded(bind_now(s.fd(), reinterpret_cast<const sockaddr*>(&address), length), why) ||
      !s.succeeded(local_address_now(s.fd(), address), why))
    return nullptr;
  local = endpoint_access::from(address);
  return s.open(file_kind::socket, false, why);
}

/// Says in `at` what went wrong.
net::udp_socket bind_at(lookup& at, const net::bind_options& options) {
  net::endpoint local;
  bool v6 = false;
  descriptor* const d = open_first(at, [&](const net::endpoint& each, failure& why) {
    v6 = each.is_v6();
    return bind_to(each, options, local, why);
  });
  return net_access::datagrams(d, local, v6);
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

static lookup local_address(std::string_view where) {
  need_runtime("udp_socket::bind");
  return look_up(where, true, SOCK_DGRAM);
}

static lookup local_address(const endpoint& where) {
  need_runtime("udp_socket::bind");
  return {{where}, {}, false, {}};
}

udp_socket udp_socket::bind(std::string_view where, const bind_options& options, std::error_code& error) {
  lookup at = local_address(where);
  udp_socket result = bind_at(at, options);
  error = at.error;
  return result;
}

udp_socket udp_socket::bind(std::string_view where, const bind_options& options) {
  lookup at = local_address(where);
  udp_socket result = bind_at(at, options);
  if (at.error) raise(at, "udp_socket::bind on " + quoted(where));
  return result;
}

udp_socket udp_socket::bind(const endpoint& where, const bind_options& options, std::error_code& error) {
  lookup at = local_address(where);
  udp_socket result = bind_at(at, options);
  error = at.error;
  return result;
}

udp_socket udp_socket::bind(const endpoint& where, const bind_options& options) {
  lookup at = local_address(where);
  udp_socket result = bind_at(at, options);
  if (at.error) raise(at, "udp_socket::bind on an endpoint");
  return result;
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
