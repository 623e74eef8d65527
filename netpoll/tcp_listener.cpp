// SPDX-License-Identifier: Apache-2.0
// Listening and accepting over TCP.
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <string>
#include <vector>

#include "netpoll/accept.hpp"
#include "netpoll/access.hpp"
#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/failure.hpp"
#include "netpoll/raw_socket.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

descriptor* listen_on(const net::endpoint& at, const net::listen_options& options, net::endpoint& local, failure& why) {
  sockaddr_storage address;
  const socklen_t length = endpoint_access::to(at, address);
  raw_socket s(address.ss_family, SOCK_STREAM, why);
  if (why) return nullptr;
  // Accepted sockets inherit these two: no call for each.
  set_option_now(s.fd(), IPPROTO_TCP, TCP_NODELAY, 1);
  keep_alive_from_the_start(s.fd());
  set_option_now(s.fd(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (at.is_v6()) set_option_now(s.fd(), IPPROTO_IPV6, IPV6_V6ONLY, at.is_unspecified() && !options.v6_only ? 0 : 1);
  if (options.reuse_port && !s.succeeded(set_option_now(s.fd(), SOL_SOCKET, SO_REUSEPORT, 1), why)) return nullptr;
  if (options.before_bind) options.before_bind(s.fd());
  if (!s.succeeded(bind_now(s.fd(), reinterpret_cast<const sockaddr*>(&address), length), why) ||
      !s.succeeded(listen_now(s.fd(), options.backlog), why) || !s.succeeded(local_address_now(s.fd(), address), why))
    return nullptr;
  local = endpoint_access::from(address);
  return s.open(file_kind::socket, false, why);
}

/// Says in `at` what went wrong.
net::tcp_listener listen_at(lookup& at, const net::listen_options& options) {
  if (options.backlog < 0 && !at.error) {
    refuse(at, "backlog " + std::to_string(options.backlog) + "; expected 0 or more");
    return {};
  }
  if (options.v6_only) std::erase_if(at.found, [](const net::endpoint& each) { return each.is_v4(); });
  if (at.found.empty() && !at.error) refuse(at, "v6_only, and there is no IPv6 address");
  net::endpoint local;
  if (descriptor* const d =
          open_first(at, [&](const net::endpoint& each, failure& why) { return listen_on(each, options, local, why); }))
    return net_access::listener(d, local);
  return {};
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

static lookup local_address(std::string_view where) {
  need_runtime("listen");
  return look_up(where, true);
}

static lookup local_address(const endpoint& where) {
  need_runtime("listen");
  return {{where}, {}, false, {}};
}

tcp_listener listen(std::string_view where, const listen_options& options, std::error_code& error) {
  lookup at = local_address(where);
  tcp_listener result = listen_at(at, options);
  error = at.error;
  return result;
}

tcp_listener listen(std::string_view where, const listen_options& options) {
  lookup at = local_address(where);
  tcp_listener result = listen_at(at, options);
  if (at.error) raise(at, "listen on " + quoted(where));
  return result;
}

tcp_listener listen(const endpoint& where, const listen_options& options, std::error_code& error) {
  lookup at = local_address(where);
  tcp_listener result = listen_at(at, options);
  error = at.error;
  return result;
}

tcp_listener listen(const endpoint& where, const listen_options& options) {
  lookup at = local_address(where);
  tcp_listener result = listen_at(at, options);
  if (at.error) raise(at, "listen on an endpoint");
  return result;
}

}  // namespace net
}  // namespace v0
}  // namespace weft
