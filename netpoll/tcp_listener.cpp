// SPDX-License-Identifier: Apache-2.0
// Listening and accepting over TCP.
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <string>

#include "netpoll/accept.hpp"
#include "netpoll/access.hpp"
#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/failure.hpp"
#include "netpoll/os.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

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
    os::close(fd);
    why.error = -result;
    return nullptr;
  }
  local = endpoint_access::from(address);
  return open_descriptor(fd, false, why.error);
}

}  // namespace

namespace net {

static std::optional<tcp_stream> stream_of(const accepted& taken) noexcept {
  if (taken.d == nullptr) return std::nullopt;
  return net_access::stream(taken.d, endpoint_access::from(taken.peer));
}

std::optional<tcp_stream> tcp_listener::accept(std::error_code& error) {
  const accepted taken = accept_one(d_, true);
  error = to_code(taken.why);
  return stream_of(taken);
}

std::optional<tcp_stream> tcp_listener::accept() {
  const accepted taken = accept_one(d_, true);
  if (taken.why && !taken.closed) raise(taken.why, "accept on " + local_.to_string());
  return stream_of(taken);
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
}  // namespace v0
}  // namespace weft
