// SPDX-License-Identifier: Apache-2.0
// Datagrams, one at a time. No short read says anything about what else has come: every receive asks the kernel.
//
// Connecting. Who the peer is, the kernel alone knows: a copy here could be another one's when two fibers connect at the
// same time. `connect` holds no side, so it need not wait for a fiber that receives. The kernel drops what others send
// from then on, but keeps what they had sent; `recv` looks at the senders until it has seen the queue empty, and only so
// long (`sifted`, `connects`).
#include <weft/net/udp.hpp>

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "netpoll/access.hpp"
#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/raw_socket.hpp"
#include "netpoll/side.hpp"
#include "netpoll/udp.hpp"

namespace weft {
namespace rt {

namespace {

descriptor* bind_to(const net::endpoint& at, const net::bind_options& options, net::endpoint& local,
                    failure& why) noexcept {
  sockaddr_storage address;
  const socklen_t length = endpoint_access::to(at, address);
  raw_socket s(address.ss_family, SOCK_DGRAM, why);
  if (why) return nullptr;
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
  if (side && to.port() == 0) {
    why.error = EINVAL;  // IPv6 would send it
    return 0;
  }
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
    if (n >= 0) {
      const auto length = static_cast<std::size_t>(n);
      return {std::min(length, to.size()), endpoint_access::from(from), length > to.size()};
    }
    if (!side.again(n, why)) break;
  }
  return {};
}

std::size_t send_to_peer(descriptor* d, std::span<const std::byte> from, failure& why) noexcept {
  held_side side(d, direction::write, why);
  while (side) {
    const ssize_t n = send_now(side.fd(), from.data(), from.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (!side.again(n, why)) break;
  }
  return 0;
}

/// Returns false if there is none: `why` says so.
bool peer_of(int fd, net::endpoint& peer, failure& why) noexcept {
  sockaddr_storage address{};
  if (!raw_socket::succeeded(peer_address_now(fd, address), why)) return false;
  peer = endpoint_access::from(address);
  return true;
}

net::received receive_from_peer(descriptor* d, std::span<std::byte> to, failure& why) noexcept {
  held_side side(d, direction::read, why);
  while (side) {
    const std::uint32_t connects = d->connects.load(std::memory_order_relaxed);
    const bool sifts = d->sifted != connects;
    net::endpoint peer;
    if (sifts && !peer_of(side.fd(), peer, why)) break;
    sockaddr_storage from{};
    const ssize_t n = recv_from_now(side.fd(), to.data(), to.size(), from);
    if (n < 0) {
      if (n == -EAGAIN) d->sifted = connects;
      if (side.again(n, why)) continue;
      break;
    }
    // Asked for once more: it may be another one by now, whose first datagram this is.
    if (sifts && endpoint_access::from(from) != peer &&
        (!peer_of(side.fd(), peer, why) || endpoint_access::from(from) != peer)) {
      if (why) break;
      continue;
    }
    const auto length = static_cast<std::size_t>(n);
    return {std::min(length, to.size()), length > to.size()};
  }
  return {};
}

/// Where another source address would do. What the kernel says depends on how the routes fail.
bool source_may_be_why(int error) noexcept {
  return error == EINVAL || error == EAFNOSUPPORT || error == ENETUNREACH || error == EHOSTUNREACH ||
         error == EADDRNOTAVAIL;
}

/// Sets `detail` where there is more to say than the code.
failure connect_once(descriptor* d, bool v6, const net::endpoint& to, std::string& detail) {
  if (to.port() == 0) {
    detail += ": port 0 is nobody's";
    return {EINVAL};
  }
  sockaddr_storage address;
  const socklen_t length = v6 ? endpoint_access::to_v6(to, address) : endpoint_access::to(to, address);
  const failure why = while_open(d, [&](int fd) noexcept {
    const int result = connect_now(fd, reinterpret_cast<const sockaddr*>(&address), length);
    if (result != 0) return result;
    pending_error_now(fd);  // what the machine of the former peer has answered
    d->connects.fetch_add(1, std::memory_order_relaxed);
    return 0;
  });
  if (why.error == EACCES) detail += broadcast_cure;
  if (source_may_be_why(why.error) && d->connects.load(std::memory_order_relaxed) != 1)
    detail += ": not from the address that the socket has taken for its first peer; bind another one for this peer";
  return why;
}

/// Connects to the first of `at.found` that can be had, or says in `at` why there is none.
void connect_to_first(descriptor* d, bool v6, lookup& at) {
  if (at.error) return;
  families those;
  at.error = to_code(while_open(d, [&](int fd) noexcept {
    those = families_of(fd, v6);
    return 0;
  }));
  if (at.error) return;
  for (const net::endpoint& to : std::exchange(at.found, {})) {
    if (!speaks(those, to, at)) continue;
    at.detail = to.to_string();
    at.error = to_code(connect_once(d, v6, to, at.detail));
    if (!at.error) return;
  }
}

}  // namespace

families families_of(int fd, bool v6) noexcept {
  if (!v6) return {true, false};
  int v6_only = 0;
  return {get_option_now(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) == 0 && v6_only == 0, true};
}

bool speaks(families those, const net::endpoint& to, lookup& at) {
  if (to.is_v6() ? those.v6 : those.v4) return true;
  if (at.error) return false;
  at.error = {EAFNOSUPPORT, std::system_category()};
  at.detail =
      std::string("the socket is bound to an ") + (those.v6 ? "IPv6" : "IPv4") + " address, and speaks no other family";
  return false;
}

/// " 127.0.0.1:80", if there is one.
static std::string name_of_peer(descriptor* d) {
  net::endpoint peer;
  failure none;
  const failure closed = while_open(d, [&](int fd) noexcept {
    peer_of(fd, peer, none);
    return 0;
  });
  return closed || none ? "" : ' ' + peer.to_string();
}

[[gnu::cold]] void fail_to_send(const failure& why, std::size_t bytes, const net::endpoint* to, descriptor* d,
                                bool v6) {
  std::string what =
      "send " + std::to_string(bytes) + " bytes to " + (to != nullptr ? to->to_string() : "the peer" + name_of_peer(d));
  if (why.error == EMSGSIZE)
    what += " (a datagram carries at most " + std::to_string(net::udp_socket::largest) + " bytes over IPv4)";
  if (why.error == EACCES) what += broadcast_cure;
  if (why.error == EDESTADDRREQ) what += " (connect the socket first, or say where to by send_to)";
  if (why.error == EINVAL && to != nullptr && to->port() == 0) what += " (port 0 is nobody's)";
  if (to != nullptr && (why.error == EAFNOSUPPORT || why.error == ENETUNREACH)) {
    lookup at;
    static_cast<void>(while_open(d, [&](int fd) {
      speaks(families_of(fd, v6), *to, at);
      return 0;
    }));
    if (at.error) what += " (" + at.detail + ')';
  }
  raise(why, what);
}

}  // namespace rt

inline namespace v0 {

using namespace rt;

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
  return or_throw([&](const failure& why) { fail_to_send(why, from.size(), &to, d_, v6_); },
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

/// Returns true if the call may go on; else `at` says why not.
static bool may_connect(const descriptor* d, lookup& at) {
  const failure why = d == nullptr ? no_descriptor : cancelled_at_entry();
  at.error = to_code(why);
  at.cancelled = why.cancelled;
  return !why;
}

static lookup peer_address(const descriptor* d, std::string_view where) {
  lookup at;
  return may_connect(d, at) ? look_up(where, false, SOCK_DGRAM) : at;
}

static lookup peer_address(const descriptor* d, const endpoint& where) {
  lookup at;
  if (may_connect(d, at)) at.found = {where};
  return at;
}

void udp_socket::connect(std::string_view where, std::error_code& error) {
  lookup at = peer_address(d_, where);
  connect_to_first(d_, v6_, at);
  error = at.error;
}

void udp_socket::connect(std::string_view where) {
  lookup at = peer_address(d_, where);
  connect_to_first(d_, v6_, at);
  if (at.error) raise(at, "udp_socket::connect to " + quoted(where));
}

void udp_socket::connect(const endpoint& where, std::error_code& error) {
  lookup at = peer_address(d_, where);
  connect_to_first(d_, v6_, at);
  error = at.error;
}

void udp_socket::connect(const endpoint& where) {
  lookup at = peer_address(d_, where);
  connect_to_first(d_, v6_, at);
  if (at.error) raise(at, "udp_socket::connect to " + where.to_string());
}

std::size_t udp_socket::send(std::span<const std::byte> from) {
  return or_throw([&](const failure& why) { fail_to_send(why, from.size(), nullptr, d_, v6_); },
                  [&](failure& why) { return send_to_peer(d_, from, why); });
}

std::size_t udp_socket::send(std::span<const std::byte> from, std::error_code& error) {
  return or_code(error, [&](failure& why) { return send_to_peer(d_, from, why); });
}

[[noreturn]] [[gnu::cold]] static void fail_to_receive(const failure& why, descriptor* d) {
  raise(why, "receive from the peer" + name_of_peer(d) + (why.error == ENOTCONN ? " (connect the socket first)" : ""));
}

received udp_socket::recv(std::span<std::byte> to) {
  return or_throw([&](const failure& why) { fail_to_receive(why, d_); },
                  [&](failure& why) { return receive_from_peer(d_, to, why); });
}

received udp_socket::recv(std::span<std::byte> to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return receive_from_peer(d_, to, why); });
}

endpoint udp_socket::local_endpoint() const noexcept {
  if (d_ == nullptr || d_->connects.load(std::memory_order_relaxed) == 1) return local_;
  sockaddr_storage address{};
  const failure why = while_open(d_, [&](int fd) noexcept { return local_address_now(fd, address); });
  return why ? local_ : endpoint_access::from(address);
}

}  // namespace net
}  // namespace v0
}  // namespace weft
