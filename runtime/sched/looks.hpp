// SPDX-License-Identifier: Apache-2.0
// How often the holder of a P looks around: at due timers, the global queue, the poller, and the ring behind a chain of
// fibers out of `runnext`.
//
// Problem: a fiber that parks picks its successor from its own P alone, which costs some ns; a look costs ten times as
// much, so it cannot come with each pick. But picks are no measure of time: 61 of them last half a microsecond or half a
// second. And no clock is read at a pick.
//
//   the holder    looks at the pick `look_at`, which each look sets `look_every` picks ahead, 61 at the most
//   the monitor   sets `look_every` to what 100 µs of time have room for, as it has counted since its last look: where
//                 turns last a millisecond each pick looks around
//                 asks for a look where none was made for 200 µs (turns have become long since, or one goes on): the
//                 request stands in the M's bracket, which every entry reads anyway, so it costs a pick nothing. The next
//                 pick looks, the one after it, too, and then ever fewer until the monitor has counted anew: one long
//                 turn does not make all that follow dear
//
// So what waits behind picks waits for 100 µs and a turn, or, where turns have just become long, till the monitor's next
// look and a turn. What waits behind one turn is for retake.hpp.
//
// It also notes how long turns last (`turn_ns`: the longest average in 20 ms, and what a turn under way has lasted so far),
// from which the holder tells how long its ring would hold somebody up (`queue_is_slow`).
//
// A P that was idle in between is left at 61: its holder has looked at everything before it gave it up.
//
// `picks`, `looks`: stored by the holder, read by the monitor. `look_every`, `turn_ns`: the other way.
// `times_idle`: stored under the scheduler's lock. All relaxed, they are hints. The others belong to the holder.
#pragma once

#include <algorithm>

#include "runtime/base/limits.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// As `chain_since`: the fibers of `runnext` have had their slice, and the ring not yet its turn. So long ago that any slice
/// is over.
constexpr nanoseconds_t ring_is_owed = -1;

/// Returns true if the pick after `picks` is the one to look around at. The holder of `p`.
[[gnu::always_inline]] inline bool is_time_to_look(const P* p, std::uint32_t picks) noexcept {
  return static_cast<std::int32_t>(p->look_at - picks) <= 0;
}
inline void look_at_next_pick(P* p) noexcept { p->look_at = p->picks.load(std::memory_order_relaxed); }
/// From the next pick on, and then ever fewer.
inline void look_at_each_pick(P* p) noexcept {
  look_at_next_pick(p);
  p->near = 1;
}
/// The monitor has asked for a look. If the fibers of `runnext` have gone on meanwhile it was for long enough.
inline void grant_look(P* p) noexcept {
  look_at_each_pick(p);
  p->chain_since = ring_is_owed;
}

/// Returns true if what goes to the tail of the ring may wait there for some milliseconds: for all that is in it, and for
/// this P's share of the global queue, with which a ring that overflows takes turns.
inline bool queue_is_slow(const P& p) noexcept {
  const auto procs = static_cast<std::uint32_t>(sched.procs.load(std::memory_order_relaxed));
  const std::uint64_t before = p.queue.size() + sched.normal_in_global() / procs;
  return before * p.turn_ns.load(std::memory_order_relaxed) >= 4'000'000;
}

/// Counts a look, and says when the next one is. The holder of `p`.
inline void begin_look(P* p) noexcept {
  p->looks.store(p->looks.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  const std::uint32_t every = p->look_every.load(std::memory_order_relaxed);
  p->distance = std::min(p->near, every);
  p->near = std::min(2 * p->near, P::rarest_look);
  p->look_at = p->picks.load(std::memory_order_relaxed) + p->distance;
}
/// Counts a pick that was made in the M's loop. The holder of `p`.
inline void count_in_loop(P* p) noexcept {
  p->picks.store(p->picks.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

/// The monitor's part. Used by its thread alone, with no lock held.
class look_pacer {
 public:
  void look(nanoseconds_t now) noexcept;

 private:
  struct p_notes {
    std::uint32_t picks = 0;
    std::uint32_t times_idle = 0;
    nanoseconds_t since = 0;  ///< when these were noted
    std::uint32_t looks = 0;
    nanoseconds_t looked = 0;  ///< when they were last seen to move
    nanoseconds_t turn = 0;    ///< the longest of late, as an average over some
    nanoseconds_t turn_until = 0;
  };
  static void note_turn(P& p, p_notes& notes, nanoseconds_t now, nanoseconds_t turn) noexcept;
  static void measure(P& p, p_notes& notes, nanoseconds_t now) noexcept;
  static void ask(P& p, p_notes& notes, nanoseconds_t now) noexcept;

  p_notes notes_[max_width];
};

}  // namespace weft::rt
