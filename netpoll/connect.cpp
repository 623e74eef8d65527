// SPDX-License-Identifier: Apache-2.0
// Connecting. The socket is registered after connect(2): before it, epoll would report a hang-up at once.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <string>

#include "netpoll/access.hpp"
#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/failure.hpp"

namespace weft::inline v0 {

using namespace rt;

namespace {

// The writing side is held.
failure await_connection(descriptor& d) noexcept {
  for (;;) {
    if (const int error = pending_error_now(d.fd())) return {error};
    sockaddr_storage peer;
    const int result = peer_address_now(d.fd(), peer);
    if (result == 0) return {};
    if (result != -ENOTCONN) return {-result};
    if (const failure why = failure_of(d.wait(direction::write))) return why;
  }
}

// A port that nobody listens on may be the one that the kernel has just given to us: then TCP connects the socket to
// itself.
bool connected_to_itself(int fd) noexcept {
  sockaddr_storage local, peer;
  return local_address_now(fd, local) == 0 && peer_address_now(fd, peer) == 0 &&
         endpoint_access::from(local) == endpoint_access::from(peer);
}

descriptor* connect_once(const net::endpoint& to, failure& why) noexcept {
  sockaddr_storage address;
  const socklen_t length = endpoint_access::to(to, address);
  const int fd = socket_now(address.ss_family, SOCK_STREAM);
  if (fd < 0) {
    why.error = -fd;
    return nullptr;
  }
  set_option_now(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  const int result = connect_now(fd, reinterpret_cast<const sockaddr*>(&address), length);
  if (result != 0 && result != -EINPROGRESS && result != -EINTR) {
    ::close(fd);
    why.error = -result;
    return nullptr;
  }
  descriptor* const d = open_descriptor(fd, true, why.error);
  if (d == nullptr || result == 0) return d;
  d->begin(direction::write);  // nobody else knows of it: at once
  why = await_connection(*d);
  d->end(direction::write, false);
  if (!why) return d;
  release_descriptor(d);
  return nullptr;
}

descriptor* connect_to(const net::endpoint& to, failure& why) noexcept {
  for (int attempt = 0; attempt < 3; ++attempt) {
    descriptor* const d = connect_once(to, why);
    if (d == nullptr || !connected_to_itself(d->fd())) return d;
    release_descriptor(d);
  }
  why.error = ECONNREFUSED;
  return nullptr;
}

}  // namespace

namespace net {

static tcp_stream connect_at(std::string_view where, failure& why, std::error_code& error, std::string& detail) {
  need_runtime("connect");
  why = cancelled_at_entry();
  error = to_code(why);
  if (why) return {};
  lookup at = look_up(where, false);
  error = at.error;
  why.cancelled = at.cancelled;
  detail = std::move(at.detail);
  for (const endpoint& each : at.found) {
    why = {};
    if (descriptor* d = connect_to(each, why)) {
      error.clear();
      return net_access::stream(d, each);
    }
    error = to_code(why);
    detail = each.to_string();
    if (why.cancelled) break;
  }
  return {};
}

tcp_stream connect(std::string_view where, std::error_code& error) {
  failure why;
  std::string detail;
  return connect_at(where, why, error, detail);
}

tcp_stream connect(std::string_view where) {
  failure why;
  std::error_code error;
  std::string detail;
  tcp_stream result = connect_at(where, why, error, detail);
  if (!error) return result;
  if (why.cancelled) throw_cancelled();
  throw std::system_error(
      error, "weft::net: connect to \"" + std::string(where) + "\"" + (detail.empty() ? "" : " (" + detail + ")"));
}

}  // namespace net
}  // namespace weft::inline v0
