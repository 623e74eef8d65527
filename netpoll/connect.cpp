// SPDX-License-Identifier: Apache-2.0
// Connecting. The socket is registered after connect(2): before it, epoll would report a hang-up at once.
//
// Several addresses race, each in a fiber of its own. Each attempt sends its result on a channel buffered for all of
// them, so none blocks. Connections still in the channel are closed when it is destroyed, so none is lost, however the
// race ends.
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <weft/chan.hpp>
#include <weft/scope.hpp>

#include "netpoll/connect.hpp"

#include "netpoll/access.hpp"
#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/failure.hpp"
#include "netpoll/os.hpp"

namespace weft {
namespace rt {

namespace {

// The writing side must be held by the caller.
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

// A port without a listener may be the one that the kernel has just given to this socket: then TCP connects the socket
// to itself.
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
    os::close(fd);
    why.error = -result;
    return nullptr;
  }
  descriptor* const d = open_descriptor(fd, true, why.error);
  if (d == nullptr || result == 0) return d;
  d->begin(direction::write);  // no other thread knows of it: at once
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

struct outcome {
  net::tcp_stream stream;
  failure why;
  std::size_t which = 0;
};

connected race(const std::vector<net::endpoint>& to, nanoseconds_t stagger) {
  connected result;
  result.why = {ECONNREFUSED};
  weft::chan<outcome> outcomes(static_cast<std::ptrdiff_t>(to.size()));
  scope attempts;
  std::size_t started = 0, ended = 0, first_failed = to.size();
  while (ended < to.size() && !result.stream) {
    std::optional<outcome> one;
    if (started < to.size()) {
      attempts.go([outcomes, to = to[started], which = started] {
        outcome mine;
        mine.which = which;
        if (descriptor* d = connect_to(to, mine.why)) mine.stream = net_access::stream(d, to);
        static_cast<void>(outcomes.try_send(std::move(mine)));
      });
      ++started;
    }
    if (started < to.size())
      one = std::move(outcomes.recv_for(std::chrono::nanoseconds(stagger)).value);
    else
      one = outcomes.recv();
    if (!one) continue;  // slow: the next one starts beside it
    ++ended;
    if (one->stream) {
      result = {std::move(one->stream), {}, to[one->which]};
    } else if (one->which < first_failed) {
      first_failed = one->which;
      result.why = one->why;
      result.last = to[one->which];
    }
  }
  attempts.cancel();
  attempts.join();
  return result;
}

}  // namespace

std::vector<net::endpoint> interleaved(std::vector<net::endpoint> list) {
  if (list.empty()) return list;
  const bool first_family = list.front().is_v6();
  std::vector<net::endpoint> result;
  result.reserve(list.size());
  const auto next = [&](auto from, bool family) {
    return std::find_if(from, list.end(), [family](const net::endpoint& e) { return e.is_v6() == family; });
  };
  auto a = next(list.begin(), first_family), b = next(list.begin(), !first_family);
  while (a != list.end() || b != list.end()) {
    if (a != list.end()) {
      result.push_back(*a);
      a = next(a + 1, first_family);
    }
    if (b != list.end()) {
      result.push_back(*b);
      b = next(b + 1, !first_family);
    }
  }
  return result;
}

connected connect_first(const std::vector<net::endpoint>& to, nanoseconds_t stagger) {
  connected result;
  if (to.size() == 1) {  // usually: no fiber is needed
    result.last = to.front();
    if (descriptor* d = connect_to(to.front(), result.why)) result.stream = net_access::stream(d, to.front());
    return result;
  }
  try {
    return race(to, stagger);
  } catch (const cancelled&) {
    result.why = {ECANCELED, true};
  } catch (const std::system_error& no_fiber) {
    result.why = {no_fiber.code().value()};
  } catch (const std::bad_alloc&) {
    result.why = {ENOMEM};
  } catch (const std::logic_error&) {  // the runtime ends, and this is a plain thread
    result.why = {ECANCELED};
  }
  return result;
}

}  // namespace rt

inline namespace v0 {

using namespace rt;

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
  if (at.found.empty()) return {};
  connected result = connect_first(interleaved(std::move(at.found)), between_attempts);
  why = result.why;
  error = to_code(why);
  detail = result.last.to_string();
  return std::move(result.stream);
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
}  // namespace v0
}  // namespace weft
