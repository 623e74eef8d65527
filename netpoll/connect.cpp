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
#include <exception>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <weft/chan.hpp>
#include <weft/mutex.hpp>
#include <weft/scope.hpp>

#include "netpoll/connect.hpp"

#include "netpoll/access.hpp"
#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/failure.hpp"
#include "netpoll/raw_socket.hpp"

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

descriptor* connect_once(const net::endpoint& to, const net::connect_options& options, failure& why) {
  sockaddr_storage address, local;
  const socklen_t length = endpoint_access::to(to, address);
  raw_socket s(address.ss_family, SOCK_STREAM, why);
  if (why) return nullptr;
  set_option_now(s.fd(), IPPROTO_TCP, TCP_NODELAY, 1);
  keep_alive_from_the_start(s.fd());
  if (options.before_connect) options.before_connect(s.fd());
  if (options.local != net::endpoint()) {
    // A port that the kernel is to choose, it chooses for the peer (a chosen one it would take from all peers); one that
    // is given is shared by the attempts, and may have had a connection before.
    if (options.local.port() == 0)
      set_option_now(s.fd(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    else
      set_option_now(s.fd(), SOL_SOCKET, SO_REUSEADDR, 1);
    const socklen_t local_length = endpoint_access::to(options.local, local);
    if (!s.succeeded(bind_now(s.fd(), reinterpret_cast<const sockaddr*>(&local), local_length), why)) return nullptr;
  }
  const int result = connect_now(s.fd(), reinterpret_cast<const sockaddr*>(&address), length);
  if (result != -EINPROGRESS && result != -EINTR && !s.succeeded(result, why)) return nullptr;
  descriptor* const d = s.open(file_kind::tcp, true, why);
  if (d == nullptr || result == 0) return d;
  d->begin(direction::write);  // no other thread knows of it: at once
  why = await_connection(*d);
  d->end(direction::write, false);
  if (!why) return d;
  release_descriptor(d);
  return nullptr;
}

descriptor* connect_to(const net::endpoint& to, const net::connect_options& options, failure& why) {
  for (int attempt = 0; attempt < 3; ++attempt) {
    descriptor* const d = connect_once(to, options, why);
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
  std::exception_ptr thrown;
};

/// Calls the program's function for one attempt at a time, though several of them may be under way.
net::connect_options one_at_a_time(const net::connect_options& options, mutex& turn) {
  if (!options.before_connect) return options;
  return {options.local, [&f = options.before_connect, &turn](int fd) {
            const std::lock_guard mine(turn);
            f(fd);
          }};
}

connected race(const std::vector<net::endpoint>& to, nanoseconds_t stagger, const net::connect_options& wanted) {
  connected result;
  result.why = {ECONNREFUSED};
  mutex turn;
  const net::connect_options options = one_at_a_time(wanted, turn);
  weft::chan<outcome> outcomes(static_cast<std::ptrdiff_t>(to.size()));
  scope attempts;
  std::size_t started = 0, ended = 0, first_failed = to.size();
  while (ended < to.size() && !result.stream && !result.thrown) {
    std::optional<outcome> one;
    if (started < to.size()) {
      attempts.go([outcomes, &options, to = to[started], which = started] {
        outcome mine;
        mine.which = which;
        try {
          if (descriptor* d = connect_to(to, options, mine.why)) mine.stream = net_access::stream(d, to);
        } catch (...) {
          mine.thrown = std::current_exception();
        }
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
      result = {std::move(one->stream), {}, to[one->which], {}};
    } else if (one->thrown) {
      result.thrown = one->thrown;
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

connected connect_first(const std::vector<net::endpoint>& to, nanoseconds_t stagger,
                        const net::connect_options& options) {
  connected result;
  if (to.size() == 1) {  // usually: no fiber is needed
    result.last = to.front();
    if (descriptor* d = connect_to(to.front(), options, result.why)) result.stream = net_access::stream(d, to.front());
    return result;
  }
  const quiet_region until_it_is_told;
  try {
    return race(to, stagger, options);
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

/// Returns true if the call may go on; else `at` says that it is cancelled.
static bool may_connect(lookup& at) {
  need_runtime("connect");
  const failure why = cancelled_at_entry();
  at.error = to_code(why);
  at.cancelled = why.cancelled;
  return !why;
}

static lookup remote_address(std::string_view where) {
  lookup at;
  return may_connect(at) ? look_up(where, false) : at;
}

static lookup remote_address(const endpoint& where) {
  lookup at;
  if (may_connect(at)) at.found = {where};
  return at;
}

/// Says in `at` what went wrong.
static tcp_stream connect_at(lookup& at, const connect_options& options) {
  if (at.error) return {};
  if (options.local != endpoint())
    std::erase_if(at.found, [&](const endpoint& each) { return each.is_v6() != options.local.is_v6(); });
  if (at.found.empty()) {
    at.error = {EAFNOSUPPORT, std::system_category()};
    at.detail = "from " + options.local.to_string();
    return {};
  }
  connected result = connect_first(interleaved(std::move(at.found)), between_attempts, options);
  if (result.thrown) std::rethrow_exception(result.thrown);
  at.error = to_code(result.why);
  at.cancelled = result.why.cancelled;
  at.detail = result.last.to_string();
  return std::move(result.stream);
}

tcp_stream connect(std::string_view where, const connect_options& options, std::error_code& error) {
  lookup at = remote_address(where);
  tcp_stream result = connect_at(at, options);
  error = at.error;
  return result;
}

tcp_stream connect(std::string_view where, const connect_options& options) {
  lookup at = remote_address(where);
  tcp_stream result = connect_at(at, options);
  if (at.error) raise(at, "connect to " + quoted(where));
  return result;
}

tcp_stream connect(const endpoint& where, const connect_options& options, std::error_code& error) {
  lookup at = remote_address(where);
  tcp_stream result = connect_at(at, options);
  error = at.error;
  return result;
}

tcp_stream connect(const endpoint& where, const connect_options& options) {
  lookup at = remote_address(where);
  tcp_stream result = connect_at(at, options);
  if (at.error) raise(at, "connect to an endpoint");
  return result;
}

}  // namespace net
}  // namespace v0
}  // namespace weft
