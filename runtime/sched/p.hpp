// SPDX-License-Identifier: Apache-2.0
// P: the right to run fibers, and what goes with it: a run queue, a timer heap, free Gs, stacks, counters.
//
// Invariants
//  1. Exactly one M holds a P, or it lies on the idle list. Everything without a lock of its own belongs to the holder,
//     and only between `enter` and `leave` (runtime/sched/m.hpp): outside, the monitor may take the P away.
//  2. Ps are never freed: the table only grows, and a retired P's heap and queue are still looked at by whoever
//     searches.
#pragma once

#include <cstdint>

#include <weft/detail/atomic.hpp>

#include "runtime/fiber/stack.hpp"
#include "runtime/sched/fiber_limit.hpp"
#include "runtime/sched/g.hpp"
#include "runtime/sched/run_queue.hpp"
#include "runtime/sched/timer_heap.hpp"

namespace weft::rt {

struct M;

/// A counter that its owner bumps without a locked instruction and anyone may read.
class owned_counter {
 public:
  void add(std::int64_t n = 1) noexcept { v_.store(v_.load(std::memory_order_relaxed) + n, std::memory_order_release); }
  std::int64_t get() const noexcept { return v_.load(std::memory_order_acquire); }

 private:
  // One writer, so its own load is relaxed. Release and acquire: who sees a fiber's end must see the starts that came
  // before it.
  detail::atomic<std::int64_t> v_{0};
};

struct alignas(64) P {
  /// A pick in so many, at the least, is left to the M's loop, which first looks at what is not in this P's queue: see
  /// looks.hpp, which also says who makes it more often.
  static constexpr std::uint32_t rarest_look = 61;
  /// Free Gs kept; past it half goes to the shared list.
  static constexpr unsigned max_free = 1024;

  run_queue<G> queue;

  alignas(64) detail::atomic<std::uint32_t> picks{0};  ///< so far; stored by the holder, read by the monitor
  detail::atomic<G*> next_waker{nullptr};  ///< who put the fiber there that is in `runnext`; relaxed: a hint
  std::uint32_t look_at = rarest_look;     ///< this pick is the M's loop's
  std::uint32_t near = rarest_look;        ///< no further than that is the next look: the monitor has asked for one
  std::uint32_t distance = rarest_look;    ///< from the last look to the next, in picks
  bool global_went_last = false;           ///< of the looks, the last one took from the global queue
  bool timer_went_last = false;            ///< of the visits to the M's loop, the last one let a due fiber go first
  std::uint32_t fired_until = 0;           ///< place in the ring: those that timers have made ready are before it
  nanoseconds_t held_up_since = 0;         ///< what fires waits in a slow ring behind what fired before; 0: it does not
  std::uint32_t yields_in_a_row = 0;       ///< since a yield last took from the global queue, while something was there
  nanoseconds_t chain_since =
      0;  ///< first look that saw the fibers of `runnext` go on; 0: the ring had its turn; see end_chain
  bool urgent_runs = false;  ///< the last to be picked in the M's loop was an urgent fiber
  nanoseconds_t share_counted =
      0;  ///< till then time is counted in `urgent_owed`; 0: it is not, as no urgent fiber waits
  nanoseconds_t urgent_owed = 0;  ///< so much more the others have had of late than the urgent ones, or, below 0, less
  bool due_runs = false;          ///< if an urgent one was picked, it was one that is due
  nanoseconds_t due_owed = 0;     ///< the same among the urgent ones: those that are due, and the others
  nanoseconds_t polled = 0;       ///< when the poller was last looked at, about
  std::int32_t number = 0;
  unsigned free_count = 0;
  G* free_list = nullptr;
  std::uint64_t next_id = 0;  ///< ids are handed out in blocks
  std::uint64_t last_id = 0;
  spawn_credit credit;
  nanoseconds_t now = 0;                   ///< the clock when it was last read here
  P* idle_link = nullptr;                  ///< under the scheduler's lock
  M* surrendered_by = nullptr;             ///< while it is surrendered, but for the caller's; under the same lock
  bool in_service = false;                 ///< held, or on the idle list; under the scheduler's lock
  detail::atomic<M*> m{nullptr};           ///< who holds it; the monitor reads it
  detail::atomic<std::uint32_t> looks{0};  ///< so far; stored by the holder, read by the monitor
  detail::atomic<std::uint32_t> look_every{rarest_look};  ///< picks from look to look; stored by the monitor
  detail::atomic<std::uint32_t> turn_ns{0};               ///< how long turns have been of late; stored by the monitor
  detail::atomic<std::uint32_t> times_idle{0};            ///< written under the scheduler's lock
  stack_cache stacks;

  timer_heap timers;

  alignas(64) owned_counter started, ended, gone, parks, wakes, steals, overflows, handoffs;
};

}  // namespace weft::rt
