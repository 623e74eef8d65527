// SPDX-License-Identifier: Apache-2.0
// Groups and broadcast.
#include <weft/net/udp.hpp>

#include <netinet/in.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/udp.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29  // Linux 4.20
#endif

enum class change : bool { leave, join };

/// Returns the index of the interface, 0 for the kernel's choice. If there is no such, `at` says so.
int interface_of(const net::endpoint& group, std::string_view name, lookup& at) {
  const auto zone = static_cast<int>(group.scope());
  if (name.empty()) return zone;
  // A name ends at a zero byte for the C library.
  const int index = name.find('\0') == name.npos ? interface_now(std::string(name).c_str()) : -ENODEV;
  if (index < 0) {
    at.error = {-index, std::system_category()};
    if (index == -ENODEV) at.detail = "expected the name of a network interface of this machine, such as \"eth0\"";
  } else if (zone != 0 && zone != index) {
    refuse(at, "the zone of the group is another interface");
  }
  return index;
}

int change_v4(int fd, const net::endpoint& group, int interface, change how) noexcept {
  sockaddr_in6 address;
  endpoint_access::to(group, address);
  ip_mreqn request{};
  request.imr_multiaddr = reinterpret_cast<const sockaddr_in&>(address).sin_addr;
  request.imr_ifindex = interface;
  const int name = how == change::join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP;
  return set_option_now(fd, IPPROTO_IP, name, &request, sizeof request);
}

int change_v6(int fd, const net::endpoint& group, int interface, change how) noexcept {
  sockaddr_in6 address;
  endpoint_access::to(group, address);
  ipv6_mreq request{};
  request.ipv6mr_multiaddr = address.sin6_addr;
  request.ipv6mr_interface = static_cast<unsigned>(interface);
  const int name = how == change::join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP;
  return set_option_now(fd, IPPROTO_IPV6, name, &request, sizeof request);
}

/// Without it Linux hands a socket on every address what any program's groups bring.
void take_own_groups_alone(int fd, bool v6) noexcept {
  set_option_now(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
  if (v6) set_option_now(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
}

/// What the kernel means by its error.
const char* meaning(int error, change how) noexcept {
  switch (error) {
    case ENODEV:
      return "no route leads to the group: name an interface";
    case EADDRINUSE:
      return "the socket is in the group already";
    case EADDRNOTAVAIL:
      return how == change::leave ? "the socket is not in the group at that interface" : "";
    case ENOBUFS:
      return "net.ipv4.igmp_max_memberships limits how many groups a socket is in";
    default:
      return "";
  }
}

lookup change_group(descriptor* d, bool v6, const net::endpoint& group, std::string_view name, change how) {
  lookup at;
  if (!group.is_multicast()) {
    refuse(at, "expected the address of a group: 224.0.0.0 to 239.255.255.255, or ff00::/8");
    return at;
  }
  const int interface = interface_of(group, name, at);
  if (at.error) return at;
  families those;
  failure why = while_open(d, [&](int fd) noexcept {
    those = families_of(fd, v6);
    return 0;
  });
  if (!why && speaks(those, group, at)) {
    why = while_open(d, [&](int fd) noexcept {
      const int result = group.is_v6() ? change_v6(fd, group, interface, how) : change_v4(fd, group, interface, how);
      if (result == 0 && how == change::join) take_own_groups_alone(fd, v6);
      return result;
    });
    at.detail = meaning(why.error, how);
  }
  if (why) at.error = to_code(why);
  return at;
}

[[noreturn]] [[gnu::cold]] void fail(const lookup& at, const char* verb, const net::endpoint& group,
                                     std::string_view interface) {
  raise(at, std::string(verb) + " the group " + group.address() +
                (interface.empty() ? "" : " at the interface " + quoted(interface)));
}

}  // namespace

namespace net {

void udp_socket::join_group(const endpoint& group, std::string_view interface) {
  const lookup at = change_group(d_, v6_, group, interface, change::join);
  if (at.error) fail(at, "join", group, interface);
}

void udp_socket::join_group(const endpoint& group, std::string_view interface, std::error_code& error) {
  error = change_group(d_, v6_, group, interface, change::join).error;
}

void udp_socket::leave_group(const endpoint& group, std::string_view interface) {
  const lookup at = change_group(d_, v6_, group, interface, change::leave);
  if (at.error) fail(at, "leave", group, interface);
}

void udp_socket::leave_group(const endpoint& group, std::string_view interface, std::error_code& error) {
  error = change_group(d_, v6_, group, interface, change::leave).error;
}

void udp_socket::set_broadcast(bool on, std::error_code& error) {
  error = to_code(
      while_open(d_, [on](int fd) noexcept { return set_option_now(fd, SOL_SOCKET, SO_BROADCAST, on ? 1 : 0); }));
}

void udp_socket::set_broadcast(bool on) {
  std::error_code error;
  set_broadcast(on, error);
  if (error) raise(failure{error.value()}, "broadcast on " + local_.to_string());
}

}  // namespace net
}  // namespace v0
}  // namespace weft
