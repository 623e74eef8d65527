// SPDX-License-Identifier: Apache-2.0
// What a TCP stream has beyond reading and writing (byte_stream.cpp).
#include <weft/net/tcp.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
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

namespace {

/// Rounded up; -1, which the kernel refuses, if it has no room for so many.
int whole_seconds(std::chrono::nanoseconds time) noexcept {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(time).count();
  return seconds >= 1 && seconds <= 32767 ? static_cast<int>(seconds) : -1;
}

}  // namespace

void tcp_stream::set_keep_alive(std::chrono::nanoseconds idle, std::chrono::nanoseconds interval, int count,
                                std::error_code& error) {
  error = to_code(while_open(d_, [=](int fd) noexcept {
    return set_keep_alive_now(fd, whole_seconds(idle), whole_seconds(interval), count);
  }));
}

void tcp_stream::set_keep_alive(std::chrono::nanoseconds idle, std::chrono::nanoseconds interval, int count) {
  std::error_code error;
  set_keep_alive(idle, interval, count, error);
  if (error) fail(error, "keep-alive (1 to 32767 s, 1 to 127 times) on", remote_endpoint());
}

void tcp_stream::set_keep_alive(bool on, std::error_code& error) {
  set_option(SOL_SOCKET, SO_KEEPALIVE, int{on}, error);
}

void tcp_stream::set_keep_alive(bool on) { set_option(SOL_SOCKET, SO_KEEPALIVE, int{on}); }

static linger linger_for(std::optional<std::chrono::seconds> time) noexcept {
  constexpr long longest = 32767;
  if (!time) return {0, 0};
  return {1, static_cast<int>(std::clamp<long>(time->count(), 0, longest))};
}

void tcp_stream::set_linger(std::optional<std::chrono::seconds> time, std::error_code& error) {
  set_option(SOL_SOCKET, SO_LINGER, linger_for(time), error);
}

void tcp_stream::set_linger(std::optional<std::chrono::seconds> time) {
  set_option(SOL_SOCKET, SO_LINGER, linger_for(time));
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
