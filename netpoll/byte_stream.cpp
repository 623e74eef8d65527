// SPDX-License-Identifier: Apache-2.0
// Reading and writing, whatever the kind: the system call first, park only on EAGAIN.
//
// Price of an echo over TCP that parks once: recv, send; 6 locked instructions (descriptor.hpp); no allocation, no
// epoll_ctl.
#include <weft/net/byte_stream.hpp>

#include <limits.h>

#include <algorithm>
#include <limits>
#include <string>

#include "netpoll/access.hpp"
#include "netpoll/byte_calls.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/pieces.hpp"
#include "netpoll/readiness.hpp"
#include "netpoll/side.hpp"
#include "runtime/sched/blocking.hpp"

namespace weft {
namespace rt {

namespace {

// The side must be held by the caller.
bool& ask_first(descriptor& d, direction which) noexcept { return d.ask_first[static_cast<unsigned>(which)]; }

// Where poll says that something can be written, a pipe has a buffer of a page free; of a terminal it is known (n_tty,
// pty) to be a few hundred bytes, each of which may become two.
std::size_t sure_room(const descriptor& d) noexcept { return d.kind == file_kind::pipe ? PIPE_BUF : 128; }

// Stays out of the way of the calls that have nothing in doubt.
[[gnu::noinline]] [[gnu::cold]] bool short_read_tells(descriptor& d) noexcept {
  if (!carries_bytes_as_tcp_now(d.fd())) {
    d.distrust_short_reads();
    return false;
  }
  d.in_doubt.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

// The position belongs to the open file, which others may share (a shell reads on where its child has stopped), so it is
// read(2) that moves it. What is not in the cache is waited for here, announced as blocking: the engine for files reads at
// offsets only.
[[gnu::noinline]] ssize_t read_always_ready(descriptor& d, void* to, std::size_t n) noexcept {
  bool& asked = ask_first(d, direction::read);
  if (!asked) {
    const ssize_t got = read_now(d.fd(), to, n, asked);
    if (got != -EAGAIN) return got;
  }
  const blocking_section announced;
  bool may_wait = true;
  return read_now(d.fd(), to, n, may_wait);
}

// In one call, so that a record that is appended stays whole.
[[gnu::noinline]] ssize_t write_always_ready(descriptor& d, const iovec* from, std::size_t count) noexcept {
  const blocking_section announced;
  bool may_wait = true;
  return writev_now(d.fd(), from, count, std::numeric_limits<std::size_t>::max(), may_wait);
}

}  // namespace

ssize_t read_from(descriptor& d, void* to, std::size_t n) noexcept {
  if (d.kind == file_kind::always_ready) [[unlikely]]
    return read_always_ready(d, to, n);
  return d.kind >= file_kind::pipe ? read_now(d.fd(), to, n, ask_first(d, direction::read)) : recv_now(d.fd(), to, n);
}

ssize_t readv_from(descriptor& d, const iovec* to, std::size_t count) noexcept {
  if (d.kind < file_kind::pipe) return recvv_now(d.fd(), to, count);
  const ssize_t got = readv_now(d.fd(), to, count, ask_first(d, direction::read));
  // Not in the cache, and no edge will tell when it is: read for, into the first piece.
  if (got == -EAGAIN && d.kind == file_kind::always_ready) [[unlikely]]
    return read_always_ready(d, to->iov_base, to->iov_len);
  return got;
}

ssize_t writev_to(descriptor& d, const iovec* from, std::size_t count) noexcept {
  if (d.kind < file_kind::pipe) return sendv_now(d.fd(), from, count);
  if (d.kind == file_kind::always_ready) return write_always_ready(d, from, count);
  return writev_now(d.fd(), from, count, sure_room(d), ask_first(d, direction::write));
}

ssize_t write_to(descriptor& d, const void* from, std::size_t n) noexcept {
  if (d.kind < file_kind::pipe) return send_now(d.fd(), from, n);
  const iovec piece{const_cast<void*>(from), n};
  return writev_to(d, &piece, 1);
}

std::string name_of(const descriptor* d) {
  if (d == nullptr) return "an object without a descriptor";
  switch (d->kind) {
    case file_kind::tcp:
      return d->peer.to_string();
    case file_kind::unix_domain:
      return "a Unix-domain socket";
    default:
      return "descriptor " + std::to_string(d->number());
  }
}

bool drained_by(descriptor& d, ssize_t got, std::size_t wanted) noexcept {
  if (got <= 0 || static_cast<std::size_t>(got) >= wanted) return false;
  return d.in_doubt.load(std::memory_order_relaxed) == 0 || d.kind != file_kind::tcp || short_read_tells(d);
}

}  // namespace rt

inline namespace v0 {

using namespace rt;

namespace {

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
    side.drained = drained_by(side.it(), n, to.size() - got);
    got += static_cast<std::size_t>(n);
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

std::size_t receive(descriptor* d, std::span<const std::span<std::byte>> to, failure& why) noexcept {
  pieces_of_a_call pieces(to.size());
  iovec* const vector = pieces.get();
  std::size_t count = 0, wanted = 0;
  for (std::size_t i = 0; i < to.size() && count < pieces.room(); ++i) {
    if (to[i].empty()) continue;
    vector[count++] = {to[i].data(), to[i].size()};
    wanted += to[i].size();
  }
  if (count == 0 && d != nullptr) {
    why = cancelled_at_entry();
    return 0;
  }
  held_side side(d, direction::read, why);
  while (side) {
    const ssize_t n = readv_from(side.it(), vector, count);
    if (n >= 0) {
      side.drained = drained_by(side.it(), n, wanted);
      return static_cast<std::size_t>(n);
    }
    if (!side.again(n, why)) break;
  }
  return 0;
}

// What it sees is still there for the next operation, so the side is not drained whatever comes.
std::size_t look(descriptor* d, std::span<std::byte> to, failure& why) noexcept {
  if (to.empty() && d != nullptr) {
    why = cancelled_at_entry();
    return 0;
  }
  held_side side(d, direction::read, why);
  while (side) {
    const ssize_t n = peek_now(side.fd(), to.data(), to.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (!side.again(n, why)) break;
  }
  return 0;
}

std::size_t send(descriptor* d, std::span<const std::span<const std::byte>> from, bool all, failure& why) noexcept {
  pieces_of_a_call pieces(from.size());
  iovec* const vector = pieces.get();
  held_side side(d, direction::write, why);
  std::size_t sent = 0, piece = 0, offset = 0;  // of the first piece that is not wholly written
  while (side) {
    std::size_t count = 0;
    for (std::size_t i = piece; i < from.size() && count < pieces.room(); ++i) {
      const std::span<const std::byte> rest = i == piece ? from[i].subspan(offset) : from[i];
      if (!rest.empty()) vector[count++] = {const_cast<std::byte*>(rest.data()), rest.size()};
    }
    if (count == 0) break;
    const ssize_t n = writev_to(side.it(), vector, count);
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

// Where another operation reads, the end is that one's to see.
failure read_away(descriptor* d, nanoseconds_t until) noexcept {
  if (d == nullptr) return no_descriptor;
  if (const failure why = cancelled_at_entry()) return why;
  switch (d->try_begin(direction::read)) {
    case begun::held:
    case begun::held_and_drained:
      break;
    case begun::busy:
      return {EBUSY};
    case begun::closed:
      return failure_of(wait_outcome::closed);
    case begun::timed_out:
      return failure_of(wait_outcome::timed_out);
  }
  failure why;
  std::byte rest[1024];
  while (!why) {
    const ssize_t n = read_from(*d, rest, sizeof rest);
    if (n == 0) break;
    if (n == -EAGAIN)
      why = failure_of(d->wait(direction::read, until));
    else if (n < 0 && n != -EINTR)
      why.error = static_cast<int>(-n);
    else if (steady_now() >= until)
      why.error = ETIMEDOUT;
  }
  d->end(direction::read, false);
  return why;
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

std::size_t byte_stream::readv(std::span<const std::span<std::byte>> to) {
  return or_throw(failed_to{"read from", d_}, [&](failure& why) { return receive(d_, to, why); });
}

std::size_t byte_stream::readv(std::span<const std::span<std::byte>> to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return receive(d_, to, why); });
}

std::size_t byte_stream::peek(std::span<std::byte> to) {
  return or_throw(
      [&](const failure& why) {
        const char* const cure = why.error == ENOTSOCK ? " (only a socket keeps what is peeked at)" : "";
        raise(why, "peek at " + name_of(d_) + cure);
      },
      [&](failure& why) { return look(d_, to, why); });
}

std::size_t byte_stream::peek(std::span<std::byte> to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return look(d_, to, why); });
}

void byte_stream::wait_readable() {
  failure why;
  await_readiness(d_, net::readable, why);
  if (why) failed_to{"wait_readable on", d_}(why);
}

void byte_stream::wait_readable(std::error_code& error) {
  failure why;
  await_readiness(d_, net::readable, why);
  error = to_code(why);
}

void byte_stream::wait_writable() {
  failure why;
  await_readiness(d_, net::writable, why);
  if (why) failed_to{"wait_writable on", d_}(why);
}

void byte_stream::wait_writable(std::error_code& error) {
  failure why;
  await_readiness(d_, net::writable, why);
  error = to_code(why);
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

void detail::read_to_end(net::byte_stream& from, clock::time_point limit, std::error_code& error) {
  error = to_code(read_away(net_access::of(from), limit.time_since_epoch().count()));
}

}  // namespace v0
}  // namespace weft
