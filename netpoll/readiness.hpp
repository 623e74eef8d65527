// SPDX-License-Identifier: Apache-2.0
// Waiting until a descriptor is ready, for one that neither reads nor writes through it.
//
// Edges tell only of changes, and the bytes may be read behind our back. So each wait asks the kernel first (one poll(2)),
// and parks only if that says no; descriptor.hpp, `begin_look`, says why no edge is lost in between. The price of a wait
// that does not park: one system call, 3 locked instructions; of one that does: two polls, and its part of an epoll_wait.
#pragma once

#include <string>

#include <weft/net/readiness.hpp>

#include "netpoll/failure.hpp"
#include "netpoll/table.hpp"

namespace weft::rt {

/// Waits until some of `wanted` is ready; returns which. `d` may be null.
net::readiness await_readiness(descriptor* d, net::readiness wanted, failure& why) noexcept;

/// Asks the kernel, and never waits: which of `wanted` are ready. `error`: it cannot say.
net::readiness ready_now(int fd, net::readiness wanted, int& error) noexcept;

/// Throws a failure, and says what was waited for.
struct failed_wait {
  const char* what;
  const descriptor* d;
  [[noreturn]] [[gnu::cold]] void operator()(const failure& why) const {
    raise(why, std::string(what) + " on descriptor " + std::to_string(d != nullptr ? d->number() : -1) +
                   (why.error == EINVAL ? " for nothing (expected net::readable, net::writable or both)" : ""));
  }
};

}  // namespace weft::rt
