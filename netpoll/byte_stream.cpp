// SPDX-License-Identifier: Apache-2.0
// Reading and writing, whatever the kind: the system call first, park only on EAGAIN.
//
// Price of an echo over TCP that parks once: recv, send; 6 locked instructions (descriptor.hpp); no allocation, no
// epoll_ctl.
#include <weft/net/byte_stream.hpp>

#include <algorithm>
#include <string>

#include "netpoll/calls.hpp"
#include "netpoll/side.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

ssize_t read_from(const descriptor& d, void* to, std::size_t n) noexcept {
  return d.kind >= file_kind::pipe ? read_now(d.fd(), to, n) : recv_now(d.fd(), to, n);
}
ssize_t write_to(const descriptor& d, const void* from, std::size_t n) noexcept {
  return d.kind >= file_kind::pipe ? write_now(d.fd(), from, n) : send_now(d.fd(), from, n);
}
ssize_t write_to(const descriptor& d, const iovec* from, std::size_t count) noexcept {
  return d.kind >= file_kind::pipe ? writev_now(d.fd(), from, count) : sendv_now(d.fd(), from, count);
}

std::size_t receive(descriptor* d, std::span<std::byte> to, bool all, failure& why) noexcept {
  if (to.empty() && d != nullptr) {
    why = cancelled_at_entry();
    return 0;
  }
  held_side side(d, direction::read, why);
  std::size_t got = 0;
  while (side) {
    const ssize_t n = read_from(side.it(), to.data() + got, to.size() - got);
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
    const ssize_t n = write_to(side.it(), from.data() + sent, from.size() - sent);
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
    const ssize_t n = write_to(side.it(), vector, count);
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

std::string name_of(const descriptor* d) {
  if (d == nullptr) return "an object without a descriptor";
  switch (d->kind) {
    case file_kind::tcp:
      return d->peer.to_string();
    case file_kind::unix_domain:
      return "a Unix-domain socket";
    default:
      return "descriptor " + std::to_string(d->fd());
  }
}

/// Throws a failure, and says which stream it was.
struct failed_to {
  const char* verb;
  const descriptor* d;
  [[noreturn]] [[gnu::cold]] void operator()(const failure& why) const {
    raise(why, std::string(verb) + ' ' + name_of(d));
  }
};

}  // namespace

namespace net {

std::size_t byte_stream::read_some(std::span<std::byte> to) {
  return or_throw(failed_to{"read from", d_}, [&](failure& why) { return receive(d_, to, false, why); });
}

std::size_t byte_stream::read_some(std::span<std::byte> to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return receive(d_, to, false, why); });
}

std::size_t byte_stream::read_exactly(std::span<std::byte> to) {
  return or_throw(failed_to{"read from", d_}, [&](failure& why) { return receive(d_, to, true, why); });
}

std::size_t byte_stream::read_exactly(std::span<std::byte> to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return receive(d_, to, true, why); });
}

std::size_t byte_stream::write_some(std::span<const std::byte> from) {
  return or_throw(failed_to{"write to", d_}, [&](failure& why) { return send(d_, from, false, why); });
}

std::size_t byte_stream::write_some(std::span<const std::byte> from, std::error_code& error) {
  return or_code(error, [&](failure& why) { return send(d_, from, false, why); });
}

std::size_t byte_stream::write_all(std::span<const std::byte> from) {
  return or_throw(failed_to{"write to", d_}, [&](failure& why) { return send(d_, from, true, why); });
}

std::size_t byte_stream::write_all(std::span<const std::byte> from, std::error_code& error) {
  return or_code(error, [&](failure& why) { return send(d_, from, true, why); });
}

std::size_t byte_stream::writev(std::span<const std::span<const std::byte>> from) {
  return or_throw(failed_to{"write to", d_}, [&](failure& why) { return send(d_, from, true, why); });
}

std::size_t byte_stream::writev(std::span<const std::span<const std::byte>> from, std::error_code& error) {
  return or_code(error, [&](failure& why) { return send(d_, from, true, why); });
}

std::size_t byte_stream::write_some_of(std::span<const std::span<const std::byte>> from, std::error_code& error) {
  return or_code(error, [&](failure& why) { return send(d_, from, false, why); });
}

}  // namespace net
}  // namespace v0
}  // namespace weft
