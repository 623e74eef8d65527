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
  /// A pick in so many looks at the global queue, timers and the poller first.
  static constexpr std::uint32_t global_tick = 61;
  /// So many fibers in a row from `runnext` before it goes to the ring's tail and the ring has its turn: a pair that
  /// wakes each other shares one slice, and the slice ends.
  static constexpr std::uint32_t slice_picks = 256;
  /// Free Gs kept; past it half goes to the shared list.
  static constexpr unsigned max_free = 1024;

  run_queue<G> queue;

  alignas(64) std::uint32_t tick = 0;  ///< picks so far
  std::uint32_t next_in_a_row = 0;
  bool urgent_went_last = false;      ///< of the looks in the M's loop, the last one took an urgent fiber
  std::uint32_t yields_in_a_row = 0;  ///< since a yield last took from the global queue, while something was there
  std::int32_t number = 0;
  unsigned free_count = 0;
  G* free_list = nullptr;
  std::uint64_t next_id = 0;  ///< ids are handed out in blocks
  std::uint64_t last_id = 0;
  nanoseconds_t now = 0;                          ///< the clock when it was last read here
  P* idle_link = nullptr;                         ///< under the scheduler's lock
  bool in_service = false;                        ///< held, or on the idle list; under the scheduler's lock
  detail::atomic<M*> m{nullptr};                  ///< who holds it; the monitor reads it
  detail::atomic<std::uint32_t> monitor_tick{0};  ///< a copy of `tick` for the monitor, stored at each pick
  stack_cache stacks;

  timer_heap timers;

  alignas(64) owned_counter started, ended, gone, parks, wakes, steals, overflows, handoffs;
};

}  // namespace weft::rt
