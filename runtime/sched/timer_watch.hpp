// SPDX-License-Identifier: Apache-2.0
//
// Till when the one M that sleeps in the poller sleeps on behalf of all timers, and who gets it up earlier.
//
// Problem: a timer is published in some P's heap. An M that holds a P looks at its own heap, the others' are looked at
// by who searches; but when all Ms sleep, one of them must get up for the earliest timer of all, also for one that is
// started while it falls asleep, by a thread that will not look itself.
//
//   sleeper    1  lie_down()                      until = for ever; full fence
//              2  look at every heap
//              3  until = sleep_until(...)        what it has found, deferred as below
//              4  sleep that long, or until it is woken (a wake-up that comes before it sleeps ends the sleep, too)
//              5  get_up()                        and then, before it lies down again, look at everything (idle.hpp, 9)
//   starter    a  publish the timer: store of the heap's earliest time, seq_cst, under its lock
//              b  if sleeps_past(when), wake the sleeper
//   whoever gives up a P (whose heap nobody else may have seen yet), after the fence of give_up_p:
//                 look at every heap; if sleeps_past(get_up_for(...)), wake the sleeper
//
// Either b sees `until`, or 2 sees a: 1's fence stands between its store and the look. Between 1 and 3 `until` is so
// late that everybody wakes it, and 3 only ever makes it earlier.
//
// Deferral: a thread that gets up for a timer costs some 5 µs of CPU, so with many timers pending it gets up for those
// of 40 µs at once, late but never early. With few of them each is exact: a single ticker must not be slowed down. It
// never sleeps longer than 40 µs past the last time, so whatever is deferred comes; `last_wake_` is a hint, of which an
// old value only gets somebody up too early.
//
// Checked by tests/model/idle_test.cpp.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/base/atomics.hpp"
#include "runtime/sched/timer_heap.hpp"

namespace weft::rt {

/// The earliest timer of all heaps, and how many there are.
struct pending_timers {
  nanoseconds_t earliest = never;
  std::uint32_t count = 0;
};

template <class Atomics = std_atomics>
class timer_watch {
 public:
  static constexpr nanoseconds_t apart = 40'000;
  static constexpr std::uint32_t few = 16;

  /// When it is worth to get up for them.
  nanoseconds_t get_up_for(const pending_timers& timers) const noexcept {
    if (timers.earliest == never || timers.count <= few) return timers.earliest;
    return std::max(timers.earliest, last_wake_.load(std::memory_order_relaxed) + apart);
  }

  void lie_down() noexcept {
    until_.store(never, std::memory_order_seq_cst);
    Atomics::fence_seq_cst();  // pairs with the store of the earliest time and the load in sleeps_past
  }
  nanoseconds_t sleep_until(const pending_timers& timers) noexcept {
    const nanoseconds_t until = get_up_for(timers);
    until_.store(until, std::memory_order_seq_cst);
    return until;
  }
  void get_up() noexcept { until_.store(0, std::memory_order_seq_cst); }

  /// After the timers that it got up for were run, at `now`.
  void has_served(nanoseconds_t now) noexcept { last_wake_.store(now, std::memory_order_relaxed); }

  /// Any thread. Whether somebody sleeps who would sleep past `when`. Pairs with lie_down.
  bool sleeps_past(nanoseconds_t when) const noexcept {
    const nanoseconds_t until = until_.load(std::memory_order_seq_cst);
    return until != 0 && when < until;
  }
  /// The same for who does not know yet what for.
  bool somebody_sleeps() const noexcept { return until_.load(std::memory_order_seq_cst) != 0; }

 private:
  typename Atomics::template atomic<nanoseconds_t> until_{0};  // 0: nobody sleeps; pairs as above
  typename Atomics::template atomic<nanoseconds_t> last_wake_{0};
};

}  // namespace weft::rt
