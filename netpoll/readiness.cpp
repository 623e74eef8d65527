// SPDX-License-Identifier: Apache-2.0
#include "netpoll/readiness.hpp"

#include <poll.h>

#include <cerrno>

#include "netpoll/calls.hpp"
#include "runtime/sched/park.hpp"

namespace weft::rt {

net::readiness ready_now(int fd, net::readiness wanted, int& error) noexcept {
  const int events = ((wanted & net::readable) ? POLLIN : 0) | ((wanted & net::writable) ? POLLOUT : 0);
  int found = 0;
  while ((found = events_now(fd, static_cast<short>(events))) == -EINTR) {
  }
  error = found < 0 ? -found : 0;
  net::readiness result;
  if (found < 0) return result;
  if ((found & (POLLERR | POLLHUP)) != 0) return wanted;
  if ((found & POLLIN) != 0) result |= net::readable;
  if ((found & POLLOUT) != 0) result |= net::writable;
  return result;
}

net::readiness await_readiness(descriptor* d, net::readiness wanted, failure& why) noexcept {
  net::readiness found;
  if (d == nullptr) {
    why.error = EBADF;
    return found;
  }
  why = !wanted ? failure{EINVAL} : cancelled_at_entry();
  if (!why && !d->hold()) why = failure_of(wait_outcome::closed);
  if (why) return found;
  descriptor::look looks[2];
  std::uint32_t count = 0;
  if (wanted & net::readable) looks[count++] = {.of = d, .which = direction::read, .takes_time_out = true};
  if (wanted & net::writable) looks[count++] = {.of = d, .which = direction::write, .takes_time_out = true};
  bool enough = false;
  while (!why && !found) {
    for (std::uint32_t i = 0; i < count && !why; ++i) {
      why = failure_of(d->begin_look(looks[i]));
      enough |= looks[i].enough;
    }
    if (!why) found = ready_now(d->fd(), wanted, why.error);
    if (!why && !found) why = failure_of(descriptor::wait_for_edge(looks, count));
  }
  d->drop();
  // What is always ready must not keep other fibers from the P.
  if (enough && current_fiber() != nullptr) yield_now();
  return found;
}

}  // namespace weft::rt
