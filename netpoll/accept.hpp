// SPDX-License-Identifier: Apache-2.0
// Taking connections in, for listeners of every kind. An accept that fails for want of descriptors or memory is retried
// by the clock, since no new edge comes for the connections that already queue, and once a descriptor of ours is closed.
// Connections that are gone already are passed over, many of them in a row by the clock, too: whatever the kernel says,
// a listener spins on nothing, and can be cancelled and closed. Every other error is reported.
#pragma once

#include <sys/socket.h>

#include "netpoll/failure.hpp"
#include "netpoll/table.hpp"

namespace weft::rt {

struct accepted {
  descriptor* d = nullptr;  ///< the new connection's; null: `why`
  sockaddr_storage peer;
  failure why;
  bool closed = false;  ///< the listener is
};

/// Waits for a connection. `listener` may be null; `short_reads_tell` as in `open_descriptor`.
accepted accept_one(descriptor* listener, bool short_reads_tell) noexcept;

/// Called after a file was closed: those who wait in want of descriptors try again.
void descriptor_came_free() noexcept;

}  // namespace weft::rt
