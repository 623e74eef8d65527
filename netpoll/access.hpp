// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

#include <weft/net.hpp>

#include "netpoll/open.hpp"

namespace weft::rt {

/// How the library makes its public sockets, and looks into them.
struct net_access {
  static net::tcp_stream stream(descriptor* d, const net::endpoint& remote) noexcept {
    d->kind = file_kind::tcp;
    d->peer = remote;
    return net::tcp_stream(d);
  }
  static descriptor* of(detail::net_object& o) noexcept { return o.d_; }
  static net::unix_stream unix_end(descriptor* d) noexcept { return net::unix_stream(d); }
  static net::unix_listener unix_listening(descriptor* d, std::shared_ptr<socket_file> file) noexcept {
    return {d, std::move(file)};
  }
  static net::tcp_listener listener(descriptor* d, const net::endpoint& local) noexcept { return {d, local}; }
  static net::udp_socket datagrams(descriptor* d, const net::endpoint& local, bool v6) noexcept {
    return {d, local, v6};
  }
};

}  // namespace weft::rt
