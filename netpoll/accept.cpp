// SPDX-License-Identifier: Apache-2.0
#include "netpoll/accept.hpp"

#include <algorithm>
#include <cerrno>

#include "netpoll/calls.hpp"
#include "netpoll/open.hpp"
#include "netpoll/os.hpp"
#include "netpoll/side.hpp"

namespace weft::rt {

namespace {

constexpr nanoseconds_t first_pause = 5'000'000;
constexpr nanoseconds_t longest_pause = 1'000'000'000;

bool scarce(int error) noexcept { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

/// What accept(2) reports of a connection that is gone already; a network error of the new socket also counts
/// (accept(2), "Error handling").
bool passed_over(int error) noexcept {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

}  // namespace

accepted accept_one(descriptor* listener, bool short_reads_tell) noexcept {
  accepted result;
  held_side side(listener, direction::read, result.why);
  nanoseconds_t pause = first_pause;
  int fd = -1;  // taken in, and not yet a descriptor of ours
  while (side) {
    int error = 0;
    if (fd < 0) {
      fd = accept_now(side.fd(), result.peer);
      if (fd < 0) error = -fd;
    }
    if (fd >= 0) {
      result.d = adopt_descriptor(fd, short_reads_tell, error);
      if (result.d != nullptr) return result;
      if (error == ENOSPC) error = ENOMEM;  // the limit of what epoll may watch
    }
    if (passed_over(error)) continue;
    if (scarce(error)) {
      result.why = failure_of(side.it().pause(direction::read, steady_now() + pause));
      pause = std::min(2 * pause, longest_pause);
      if (result.why) break;
    } else if (!side.again(-error, result.why)) {
      break;
    }
  }
  if (fd >= 0) os::close(fd);
  result.closed = result.why.error == ECANCELED && !result.why.cancelled;
  return result;
}

}  // namespace weft::rt
