// SPDX-License-Identifier: Apache-2.0
//
// "The other side is parked now" as an event, so that a test of a hand-over, of an order of waiters or of a wake needs
// neither a sleep nor luck. The public surface cannot say it, so this looks at the scheduler's own fibers.
//
// A fiber shows its wait reason once its waiter is linked and its wait word is open, and it is off its stack once
// `on_cpu` is clear; whoever sees it and then uses the object queues behind the lock that its commit hook may still
// hold. So what is done after `until_waiting` meets it.
#pragma once

#include <atomic>
#include <cstddef>

#include <weft/runtime.hpp>

#include "runtime/sched/all_g.hpp"
#include "runtime/sched/g.hpp"
#include "runtime/sched/thread_g.hpp"

namespace weft_test {

/// The number of fibers, and of plain threads, that wait for something right now.
inline std::size_t waiting() {
  std::size_t count = 0;
  const auto look = [](weft::rt::G& g, void* counter) {
    // Off its CPU as well: a fiber has a reason already when it is about to switch away, and may be held up there.
    const bool waits = g.reason.load(std::memory_order_acquire) != weft::rt::wait_reason::none && g.wait.is_open() &&
                       !g.on_cpu.load(std::memory_order_acquire);
    if (waits) ++*static_cast<std::size_t*>(counter);
  };
  weft::rt::for_each_g([&](weft::rt::G& g) { look(g, &count); });
  weft::rt::for_each_thread_g(look, &count);
  return count;
}

/// Lets others run until at least `count` fibers and plain threads wait. The caller, who runs, does not count.
inline void until_waiting(std::size_t count) {
  while (waiting() < count) weft::yield();
}

/// Lets others run until `done()` holds. A wait that ends by its own time may be over before it is seen, where this
/// thread was off its CPU for so long: then only what follows it can be waited for.
template <class Predicate>
void until(Predicate done) {
  while (!done()) weft::yield();
}

}  // namespace weft_test
