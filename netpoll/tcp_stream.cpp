// SPDX-License-Identifier: Apache-2.0
// What a TCP stream has beyond reading and writing (byte_stream.cpp).
#include <weft/net/tcp.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <string>

#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/side.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace net {

[[noreturn]] [[gnu::cold]] static void fail(const std::error_code& error, const char* what, const endpoint& peer) {
  raise({error.value()}, std::string(what) + " the connection to " + peer.to_string());
}

endpoint tcp_stream::remote_endpoint() const noexcept { return d_ != nullptr ? d_->peer : endpoint{}; }

void tcp_stream::shutdown_write(std::error_code& error) {
  error = to_code(while_open(d_, [](int fd) noexcept { return shutdown_now(fd, SHUT_WR); }));
}

void tcp_stream::shutdown_write() {
  std::error_code error;
  shutdown_write(error);
  if (error) fail(error, "shutdown of", remote_endpoint());
}

void tcp_stream::set_no_delay(bool on, std::error_code& error) {
  error = to_code(
      while_open(d_, [on](int fd) noexcept { return set_option_now(fd, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0); }));
}

void tcp_stream::set_no_delay(bool on) {
  std::error_code error;
  set_no_delay(on, error);
  if (error) fail(error, "TCP_NODELAY on", remote_endpoint());
}

endpoint tcp_stream::local_endpoint(std::error_code& error) const {
  sockaddr_storage address{};
  error = to_code(while_open(d_, [&address](int fd) noexcept { return local_address_now(fd, address); }));
  return error ? endpoint{} : endpoint_access::from(address);
}

endpoint tcp_stream::local_endpoint() const {
  std::error_code error;
  const endpoint local = local_endpoint(error);
  if (error) fail(error, "own address of", remote_endpoint());
  return local;
}

}  // namespace net
}  // namespace v0
}  // namespace weft
