// SPDX-License-Identifier: Apache-2.0
// Taking connections in, for listeners of every kind. An accept that fails for want of descriptors or memory is retried
// by the clock, since no new edge comes for the connections that already queue.
#pragma once

#include <sys/socket.h>

#include "netpoll/failure.hpp"
#include "netpoll/table.hpp"

namespace weft::inline v0::rt {

struct accepted {
  int fd = -1;  ///< the new connection's, non-blocking; -1: `why`
  sockaddr_storage peer;
  failure why;
  bool closed = false;  ///< the listener is
};

/// Waits for one. `listener` may be null.
accepted accept_one(descriptor* listener) noexcept;

}  // namespace weft::inline v0::rt
