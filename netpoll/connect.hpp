// SPDX-License-Identifier: Apache-2.0
// Connecting to the first of several addresses that answers (RFC 8305, "Happy Eyeballs"): each attempt starts when the
// one before has failed, or has not answered for a while; the first success cancels the others.
#pragma once

#include <exception>
#include <vector>

#include <weft/net/tcp.hpp>

#include "netpoll/failure.hpp"
#include "runtime/sched/timer_heap.hpp"

namespace weft::rt {

constexpr nanoseconds_t between_attempts = 250'000'000;  // RFC 8305, section 8

struct connected {
  net::tcp_stream stream;  ///< empty: `why`
  failure why;
  net::endpoint last;         ///< the address of the stream, or of the failure
  std::exception_ptr thrown;  ///< by options.before_connect; then the rest says nothing
};

/// The families in turn, beginning with that of the first; within a family the order stays.
std::vector<net::endpoint> interleaved(std::vector<net::endpoint> list);

/// Waits. `to` is not empty. When all have failed: the failure of the one that stands first.
connected connect_first(const std::vector<net::endpoint>& to, nanoseconds_t stagger,
                        const net::connect_options& options = {});

}  // namespace weft::rt
