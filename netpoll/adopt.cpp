// SPDX-License-Identifier: Apache-2.0
#include "netpoll/adopt.hpp"

#include <netinet/in.h>
#include <sys/stat.h>

#include <cerrno>

#include <weft/net.hpp>

#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/open.hpp"

namespace weft {
namespace rt {

namespace {

/// What a socket is, as far as its role depends on it.
struct socket_traits {
  int error = 0;  ///< no socket, or none that is open
  int domain = 0, type = 0, protocol = 0, listens = 0;

  explicit socket_traits(int number) noexcept {
    ask(number, SO_DOMAIN, domain);
    ask(number, SO_TYPE, type);
    ask(number, SO_PROTOCOL, protocol);
    ask(number, SO_ACCEPTCONN, listens);
  }
  bool internet() const noexcept { return domain == AF_INET || domain == AF_INET6; }
  bool tcp() const noexcept { return internet() && type == SOCK_STREAM && protocol == IPPROTO_TCP; }
  bool udp() const noexcept { return internet() && type == SOCK_DGRAM && protocol == IPPROTO_UDP; }
  bool unix_stream() const noexcept { return domain == AF_UNIX && type == SOCK_STREAM; }

 private:
  void ask(int number, int name, int& value) noexcept {
    const int result = number < 0 ? -EBADF : get_option_now(number, SOL_SOCKET, name, &value, sizeof value);
    if (result < 0) error = -result;
  }
};

const char* name_of(socket_role role) noexcept {
  switch (role) {
    case socket_role::tcp_stream:
      return "tcp_stream";
    case socket_role::tcp_listener:
      return "tcp_listener";
    case socket_role::udp_socket:
      return "udp_socket";
    case socket_role::unix_stream:
      return "unix_stream";
    case socket_role::unix_listener:
      break;
  }
  return "unix_listener";
}

const char* expected_for(socket_role role) noexcept {
  switch (role) {
    case socket_role::tcp_stream:
      return "a connected TCP socket";
    case socket_role::tcp_listener:
      return "a TCP socket that listens";
    case socket_role::udp_socket:
      return "a UDP socket";
    case socket_role::unix_stream:
      return "a connected Unix-domain stream socket";
    case socket_role::unix_listener:
      break;
  }
  return "a Unix-domain stream socket that listens";
}

bool fits(const socket_traits& is, socket_role role) noexcept {
  switch (role) {
    case socket_role::tcp_stream:
      return is.tcp() && is.listens == 0;
    case socket_role::tcp_listener:
      return is.tcp() && is.listens != 0;
    case socket_role::udp_socket:
      return is.udp();
    case socket_role::unix_stream:
      return is.unix_stream() && is.listens == 0;
    case socket_role::unix_listener:
      break;
  }
  return is.unix_stream() && is.listens != 0;
}

/// Of what is open and no socket.
const char* format_name(int number) noexcept {
  switch (format_now(number)) {
    case S_IFIFO:
      return "a pipe";
    case S_IFREG:
      return "a regular file";
    case S_IFDIR:
      return "a directory";
    case S_IFCHR:
      return "a character device";
    case S_IFBLK:
      return "a block device";
    default:
      return "no socket";  // an eventfd, a pidfd and so on
  }
}

std::string description(const socket_traits& is) {
  if (is.tcp()) return is.listens != 0 ? "a TCP socket that listens" : "a TCP socket that does not listen";
  if (is.udp()) return "a UDP socket";
  if (is.unix_stream())
    return is.listens != 0 ? "a Unix-domain socket that listens" : "a Unix-domain socket that does not listen";
  if (is.domain == AF_UNIX)
    return is.type == SOCK_DGRAM ? "a Unix-domain datagram socket" : "a Unix-domain socket of messages";
  return "a socket of family " + std::to_string(is.domain) + ", type " + std::to_string(is.type) + ", protocol " +
         std::to_string(is.protocol);
}

/// The flags that a descriptor of ours has; `put_back` leaves them as they were.
class our_flags {
 public:
  our_flags(int number, int& error) noexcept : number_(number) {
    at_exec_ = set_close_on_exec_now(number, true);
    blocking_ = at_exec_ < 0 ? at_exec_ : set_blocking_now(number, false);
    if (blocking_ < 0) error = -blocking_;
  }
  void put_back() const noexcept {
    if (at_exec_ > 0) set_close_on_exec_now(number_, false);
    if (blocking_ > 0) set_blocking_now(number_, true);
  }

 private:
  int number_, at_exec_, blocking_;  ///< 1: changed
};

void look_at_role(int number, socket_role role, adopted_socket& s) {
  const socket_traits is(number);
  if (is.error == EBADF) {
    s.why.error = EBADF;
    s.detail = "it is not open";
  } else if (is.error != 0) {
    s.why.error = is.error;
    s.detail = std::string("it is ") + format_name(number);
  } else if (!fits(is, role)) {
    s.why.error = EPROTOTYPE;
    s.detail = "it is " + description(is);
  }
  if (!s.detail.empty()) s.detail += std::string("; expected ") + expected_for(role);
}

int look_up_address(int number, socket_role role, sockaddr_storage& address) noexcept {
  const bool has_peer = role == socket_role::tcp_stream || role == socket_role::unix_stream;
  return has_peer ? peer_address_now(number, address) : local_address_now(number, address);
}

}  // namespace

bool has_role(int number, socket_role role) noexcept {
  const socket_traits is(number);
  return is.error == 0 && fits(is, role);
}

adopted_socket adopt_socket(int number, socket_role role) {
  need_runtime(name_of(role));
  adopted_socket s;
  look_at_role(number, role, s);
  if (s.why) return s;
  if (const int result = look_up_address(number, role, s.address); result < 0) {
    s.why.error = -result;
    if (result == -ENOTCONN) s.detail = "it has no peer, or none any more";
    return s;
  }
  const our_flags flags(number, s.why.error);
  if (!s.why) {
    const bool short_reads_tell = role == socket_role::tcp_stream && carries_bytes_as_tcp_now(number);
    s.d = adopt_descriptor(number, short_reads_tell, s.why.error);
  }
  if (s.d == nullptr) {
    flags.put_back();
    if (s.why.error == EEXIST) s.detail = "another object of the runtime has it; pass a duplicate (dup)";
    return s;
  }
  s.d->kind = role == socket_role::tcp_stream                                          ? file_kind::tcp
              : role == socket_role::unix_stream || role == socket_role::unix_listener ? file_kind::unix_domain
                                                                                       : file_kind::socket;
  s.d->lend();
  return s;
}

adopted_socket adopt_socket(int number, socket_role role, std::error_code* error) {
  adopted_socket s = adopt_socket(number, role);
  if (error != nullptr)
    *error = to_code(s.why);
  else if (s.why)
    raise(s.why, std::string(name_of(role)) + "(from_fd, " + std::to_string(number) + ')' +
                     (s.detail.empty() ? "" : ": " + s.detail));
  return s;
}

}  // namespace rt

inline namespace v0 {
namespace net {

using namespace rt;

void tcp_stream::adopt(int number, std::error_code* error) {
  const adopted_socket s = adopt_socket(number, socket_role::tcp_stream, error);
  d_ = s.d;
  if (d_ != nullptr) d_->peer = endpoint_access::from(s.address);
}

void tcp_listener::adopt(int number, std::error_code* error) {
  const adopted_socket s = adopt_socket(number, socket_role::tcp_listener, error);
  d_ = s.d;
  if (d_ != nullptr) local_ = endpoint_access::from(s.address);
}

void udp_socket::adopt(int number, std::error_code* error) {
  const adopted_socket s = adopt_socket(number, socket_role::udp_socket, error);
  d_ = s.d;
  if (d_ == nullptr) return;
  local_ = endpoint_access::from(s.address);
  v6_ = s.address.ss_family == AF_INET6;
}

void unix_stream::adopt(int number, std::error_code* error) {
  d_ = adopt_socket(number, socket_role::unix_stream, error).d;
}

}  // namespace net
}  // namespace v0
}  // namespace weft
