// SPDX-License-Identifier: Apache-2.0
// Reading and writing: the system call first, park only on EAGAIN. Every call is made by the holder of the side, so the
// number cannot be closed, and given out anew, beneath it.
//
// Price of an echo that parks once: recv, send; 6 locked instructions (descriptor.hpp); no allocation, no epoll_ctl.
#include <weft/net.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <string>

#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/failure.hpp"
#include "netpoll/open.hpp"

namespace weft::inline v0 {

using namespace rt;

namespace {

constexpr failure no_socket{EBADF};

/// A side held for one operation.
class held_side {
 public:
  held_side(descriptor* d, direction which, failure& why) noexcept : which_(which) {
    if (d == nullptr) {
      why = no_socket;
      return;
    }
    why = cancelled_at_entry();
    if (why) return;
    why = failure_of(d->begin(which));
    if (!why) d_ = d;
  }
  ~held_side() {
    // Data that is always there must not keep everybody else from the P.
    if (d_ != nullptr && d_->end(which_, drained) && current_fiber() != nullptr) yield_now();
  }
  held_side(const held_side&) = delete;
  held_side& operator=(const held_side&) = delete;

  explicit operator bool() const noexcept { return d_ != nullptr; }
  int fd() const noexcept { return d_->fd(); }

  /// After a call that returned a negative errno. True: try again; false: `why`.
  bool again(long result, failure& why) noexcept {
    if (result == -EINTR) return true;
    if (result != -EAGAIN)
      why.error = static_cast<int>(-result);
    else
      why = failure_of(d_->wait(which_));
    return !why;
  }

  bool drained = false;

 private:
  descriptor* d_ = nullptr;
  direction which_;
};

std::size_t receive(descriptor* d, std::span<std::byte> to, bool all, failure& why) noexcept {
  if (to.empty() && d != nullptr) {
    why = cancelled_at_entry();
    return 0;
  }
  held_side side(d, direction::read, why);
  std::size_t got = 0;
  while (side) {
    const ssize_t n = recv_now(side.fd(), to.data() + got, to.size() - got);
    if (n < 0) {
      if (side.again(n, why)) continue;
      break;
    }
    got += static_cast<std::size_t>(n);
    side.drained = n > 0 && got < to.size();
    if (!all || got == to.size()) break;
    if (n == 0) {
      why.error = ECONNABORTED;
      break;
    }
  }
  return got;
}

std::size_t send(descriptor* d, std::span<const std::byte> from, bool all, failure& why) noexcept {
  held_side side(d, direction::write, why);
  std::size_t sent = 0;
  while (side && sent < from.size()) {
    const ssize_t n = send_now(side.fd(), from.data() + sent, from.size() - sent);
    if (n < 0) {
      if (side.again(n, why)) continue;
      break;
    }
    sent += static_cast<std::size_t>(n);
    if (!all) break;
  }
  return sent;
}

constexpr std::size_t pieces_a_call = 64;

std::size_t send(descriptor* d, std::span<const std::span<const std::byte>> from, bool all, failure& why) noexcept {
  held_side side(d, direction::write, why);
  std::size_t sent = 0, piece = 0, offset = 0;  // of the first piece that is not wholly written
  while (side) {
    iovec vector[pieces_a_call];
    std::size_t count = 0;
    for (std::size_t i = piece; i < from.size() && count < pieces_a_call; ++i) {
      const std::span<const std::byte> rest = i == piece ? from[i].subspan(offset) : from[i];
      if (!rest.empty()) vector[count++] = {const_cast<std::byte*>(rest.data()), rest.size()};
    }
    if (count == 0) break;
    const ssize_t n = sendv_now(side.fd(), vector, count);
    if (n < 0) {
      if (side.again(n, why)) continue;
      break;
    }
    sent += static_cast<std::size_t>(n);
    offset += static_cast<std::size_t>(n);
    while (piece < from.size() && offset >= from[piece].size()) offset -= from[piece++].size();
    if (!all) break;
  }
  return sent;
}

/// Keeps the descriptor open around a call that waits for nothing.
template <class F>
failure while_open(descriptor* d, F&& call) noexcept {
  if (d == nullptr) return no_socket;
  if (!d->hold()) return failure_of(wait_outcome::closed);
  const int result = call(d->fd());
  d->drop();
  return result < 0 ? failure{-result} : failure{};
}

[[noreturn]] [[gnu::cold]] void fail(const failure& why, const char* verb, const net::endpoint& peer) {
  raise(why, std::string(verb) + ' ' + peer.to_string());
}

}  // namespace

namespace net {

std::size_t tcp_stream::read_some(std::span<std::byte> to) {
  failure why;
  const std::size_t n = receive(d_, to, false, why);
  if (why) [[unlikely]]
    fail(why, "read from", remote_);
  return n;
}

std::size_t tcp_stream::read_some(std::span<std::byte> to, std::error_code& error) {
  failure why;
  const std::size_t n = receive(d_, to, false, why);
  error = to_code(why);
  return n;
}

std::size_t tcp_stream::read_exactly(std::span<std::byte> to) {
  failure why;
  const std::size_t n = receive(d_, to, true, why);
  if (why) [[unlikely]]
    fail(why, "read from", remote_);
  return n;
}

std::size_t tcp_stream::read_exactly(std::span<std::byte> to, std::error_code& error) {
  failure why;
  const std::size_t n = receive(d_, to, true, why);
  error = to_code(why);
  return n;
}

std::size_t tcp_stream::write_some(std::span<const std::byte> from) {
  failure why;
  const std::size_t n = send(d_, from, false, why);
  if (why) [[unlikely]]
    fail(why, "write to", remote_);
  return n;
}

std::size_t tcp_stream::write_some(std::span<const std::byte> from, std::error_code& error) {
  failure why;
  const std::size_t n = send(d_, from, false, why);
  error = to_code(why);
  return n;
}

std::size_t tcp_stream::write_all(std::span<const std::byte> from) {
  failure why;
  const std::size_t n = send(d_, from, true, why);
  if (why) [[unlikely]]
    fail(why, "write to", remote_);
  return n;
}

std::size_t tcp_stream::write_all(std::span<const std::byte> from, std::error_code& error) {
  failure why;
  const std::size_t n = send(d_, from, true, why);
  error = to_code(why);
  return n;
}

std::size_t tcp_stream::writev(std::span<const std::span<const std::byte>> from) {
  failure why;
  const std::size_t n = send(d_, from, true, why);
  if (why) [[unlikely]]
    fail(why, "write to", remote_);
  return n;
}

std::size_t tcp_stream::writev(std::span<const std::span<const std::byte>> from, std::error_code& error) {
  failure why;
  const std::size_t n = send(d_, from, true, why);
  error = to_code(why);
  return n;
}

std::size_t tcp_stream::write_some_of(std::span<const std::span<const std::byte>> from, std::error_code& error) {
  failure why;
  const std::size_t n = send(d_, from, false, why);
  error = to_code(why);
  return n;
}

void tcp_stream::shutdown_write(std::error_code& error) {
  error = to_code(while_open(d_, [](int fd) noexcept { return shutdown_now(fd, SHUT_WR); }));
}

void tcp_stream::shutdown_write() {
  std::error_code error;
  shutdown_write(error);
  if (error) fail({error.value()}, "shutdown of the connection to", remote_);
}

void tcp_stream::set_no_delay(bool on, std::error_code& error) {
  error = to_code(
      while_open(d_, [on](int fd) noexcept { return set_option_now(fd, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0); }));
}

void tcp_stream::set_no_delay(bool on) {
  std::error_code error;
  set_no_delay(on, error);
  if (error) fail({error.value()}, "TCP_NODELAY on the connection to", remote_);
}

endpoint tcp_stream::local_endpoint(std::error_code& error) const {
  sockaddr_storage address{};
  error = to_code(while_open(d_, [&address](int fd) noexcept { return local_address_now(fd, address); }));
  return error ? endpoint{} : endpoint_access::from(address);
}

endpoint tcp_stream::local_endpoint() const {
  std::error_code error;
  const endpoint local = local_endpoint(error);
  if (error) fail({error.value()}, "own address of the connection to", remote_);
  return local;
}

}  // namespace net
}  // namespace weft::inline v0
