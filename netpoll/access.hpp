// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <weft/net.hpp>

#include "netpoll/open.hpp"

namespace weft::inline v0::rt {

/// How the library makes its public sockets.
struct net_access {
  static net::tcp_stream stream(descriptor* d, const net::endpoint& remote) noexcept {
    d->kind = file_kind::tcp;
    d->peer = remote;
    return net::tcp_stream(d);
  }
  static net::tcp_listener listener(descriptor* d, const net::endpoint& local) noexcept { return {d, local}; }
};

}  // namespace weft::inline v0::rt
