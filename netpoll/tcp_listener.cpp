// SPDX-License-Identifier: Apache-2.0
// Listening and accepting. An accept that fails for want of descriptors or memory is retried by the clock, since no new
// edge comes for the connections that already queue.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "netpoll/access.hpp"
#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/failure.hpp"

namespace weft::inline v0 {

using namespace rt;

namespace {

constexpr nanoseconds_t first_pause = 5'000'000;
constexpr nanoseconds_t longest_pause = 1'000'000'000;

bool scarce(int error) noexcept { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

/// What accept(2) reports of a connection that is gone already; a network error of the new socket counts, too
/// (accept(2), "Error handling").
bool passed_over(int error) noexcept {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

/// The new connection's descriptor, or -1 and `why`. The reading side is held.
int accept_held(descriptor& d, sockaddr_storage& peer, failure& why) noexcept {
  nanoseconds_t pause = first_pause;
  for (;;) {
    const int fd = accept_now(d.fd(), peer);
    if (fd >= 0) return fd;
    if (passed_over(-fd)) continue;
    if (fd == -EAGAIN) {
      why = failure_of(d.wait(direction::read));
    } else if (scarce(-fd)) {
      why = failure_of(d.pause(direction::read, steady_now() + pause));
      pause = std::min(2 * pause, longest_pause);
    } else {
      why.error = -fd;
    }
    if (why) return -1;
  }
}

descriptor* accept_one(descriptor* d, sockaddr_storage& peer, failure& why, bool& closed) noexcept {
  closed = false;
  if (d == nullptr) {
    why.error = EBADF;
    return nullptr;
  }
  why = cancelled_at_entry();
  if (why) return nullptr;
  const wait_outcome how = d->begin(direction::read);
  why = failure_of(how);
  closed = how == wait_outcome::closed;
  if (why) return nullptr;
  const int fd = accept_held(*d, peer, why);
  if (why && !why.cancelled && why.error == ECANCELED) closed = true;
  const bool enough = d->end(direction::read, false);
  descriptor* const accepted = fd >= 0 ? open_descriptor(fd, true, why.error) : nullptr;
  if (enough && current_fiber() != nullptr) yield_now();
  return accepted;
}

descriptor* listen_on(const net::endpoint& at, net::endpoint& local, failure& why) noexcept {
  sockaddr_storage address;
  const socklen_t length = endpoint_access::to(at, address);
  const int fd = socket_now(address.ss_family, SOCK_STREAM);
  if (fd < 0) {
    why.error = -fd;
    return nullptr;
  }
  // Accepted sockets inherit TCP_NODELAY: no call for each.
  set_option_now(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option_now(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (at.is_v6()) set_option_now(fd, IPPROTO_IPV6, IPV6_V6ONLY, at.address() == "::" ? 0 : 1);
  int result = bind_now(fd, reinterpret_cast<const sockaddr*>(&address), length);
  if (result == 0) result = listen_now(fd);
  if (result == 0) result = local_address_now(fd, address);
  if (result != 0) {
    ::close(fd);
    why.error = -result;
    return nullptr;
  }
  local = endpoint_access::from(address);
  return open_descriptor(fd, false, why.error);
}

}  // namespace

namespace net {

std::optional<tcp_stream> tcp_listener::accept(std::error_code& error) {
  failure why;
  sockaddr_storage peer;
  bool closed = false;
  descriptor* const d = accept_one(d_, peer, why, closed);
  error = to_code(why);
  if (d == nullptr) return std::nullopt;
  return net_access::stream(d, endpoint_access::from(peer));
}

std::optional<tcp_stream> tcp_listener::accept() {
  failure why;
  sockaddr_storage peer;
  bool closed = false;
  descriptor* const d = accept_one(d_, peer, why, closed);
  if (d != nullptr) return net_access::stream(d, endpoint_access::from(peer));
  if (closed) return std::nullopt;
  raise(why, "accept on " + local_.to_string());
}

static tcp_listener listen_at(std::string_view where, failure& why, std::error_code& error, std::string& detail) {
  need_runtime("listen");
  lookup at = look_up(where, true);
  error = at.error;
  why.cancelled = at.cancelled;
  detail = std::move(at.detail);
  for (const endpoint& each : at.found) {
    why = {};
    endpoint local;
    if (descriptor* d = listen_on(each, local, why)) {
      error.clear();
      return net_access::listener(d, local);
    }
    error = to_code(why);
    detail = each.to_string();
  }
  return {};
}

tcp_listener listen(std::string_view where, std::error_code& error) {
  failure why;
  std::string detail;
  return listen_at(where, why, error, detail);
}

tcp_listener listen(std::string_view where) {
  failure why;
  std::error_code error;
  std::string detail;
  tcp_listener result = listen_at(where, why, error, detail);
  if (!error) return result;
  if (why.cancelled) throw_cancelled();
  throw std::system_error(
      error, "weft::net: listen on \"" + std::string(where) + "\"" + (detail.empty() ? "" : " (" + detail + ")"));
}

}  // namespace net
}  // namespace weft::inline v0
