// SPDX-License-Identifier: Apache-2.0
// What the scheduler asks of a netpoller, and the one it has until the first descriptor is opened.
//
// At most one M sleeps in `poll` at a time (the scheduler sees to it); any M may call it with a timeout of zero
// meanwhile.
#pragma once

#include "runtime/sched/global_queue.hpp"
#include "runtime/sched/timer_heap.hpp"

namespace weft::rt {

class poller {
 public:
  poller(const poller&) = delete;
  poller& operator=(const poller&) = delete;

  /// Collects fibers that became ready. timeout 0: a look; `never`: until something happens or `wake`; else at most so
  /// many nanoseconds. On an M's own stack, no lock held. Claims, and appends what it claimed.
  virtual void poll(nanoseconds_t timeout, g_list& ready) noexcept = 0;

  /// Makes a sleeping `poll` return, or the next one that would sleep. Any thread.
  virtual void wake() noexcept = 0;

  /// Whether fibers wait for descriptors: if not, a look is in vain.
  virtual bool has_waiters() const noexcept = 0;

 protected:
  poller() = default;
  ~poller() = default;
};

}  // namespace weft::rt
