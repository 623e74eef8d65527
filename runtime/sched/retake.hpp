// SPDX-License-Identifier: Apache-2.0
// Taking Ps from Ms that do not use them: the monitor's look at each P.
//
// A *stretch* begins with a pick, or where a P changes hands, and all that follows is measured in it. Its CPU time is
// sampled at one look and compared at a later one.
//
//   announced   in blocking(f) at two looks: the P goes, if anything waits for it
//   blocked     outside of the runtime and asleep, and of the time since the sample, 50 µs at the least, less than half
//               was spent on a CPU: the P goes if anything waits for it, however short each of its calls is
//   burning     not asleep, and given some CPU since the sample: once the stretch is a slice long, 10 ms, the P goes if
//               anything waits for it, however many burn already. They run on as threads, among which the kernel shares
//               the CPUs
//   waiting     for a CPU, and so for a millisecond, in a stretch of a slice: the same. It has had its share, and would
//               wait until all the others have had theirs, where another thread would not
//   entering    once the stretch is a slice long, an M that is not outside just now, or enters all the time, is asked to
//               give the P up itself at its next entry. Where that may hold a lock the P is left to the monitor
//               (`surrendered_ps`), which comes back soon
//   resting     in blocking(f) for a slice, or outside for one and asleep for one more, and nothing waits for the P: it
//               goes to the idle ones, or to somebody who sleeps in the poller from then on. Else the monitor would get up
//               for it again and again, for as long as the call lasts
//
// Those that burn on without a P, or wait for a CPU, whether it was taken from them or they gave it up at an entry, would have the CPUs in the kernel's slices as much as the Ms with
// one, and whoever wakes would wait for them. So theirs are made long: the kernel lets who asks for less go first, and all
// get the same share.
// Not that of run()'s caller: what it starts later is not to have lost its priority (SCHED_FLAG_RESET_ON_FORK stays).
// An M gets its own slice back in its loop (`take_own_slice_back`). Should it be there while the monitor is still about to
// make it long, it stays long until the next visit.
//
// Protocol of a take (bracket.hpp, steps 4 to 6): retake_lock of each candidate, request, ONE membarrier for all of the
// round, then each is taken if its word did not move. The retake_locks are held across the membarrier: their Ms, should
// they enter just then, wait for it. What is taken is handed on after the locks are free, since this may start a
// thread.
//
// Used by the monitor's thread alone, with no lock held.
#pragma once

#include <optional>

#include "runtime/base/limits.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// The longest turn of a fiber while others wait for its P.
constexpr nanoseconds_t slice = 10'000'000;

class retaker {
 public:
  enum class reason : std::uint8_t { blocked, burning, waiting, resting };
  struct findings {
    bool taken = false;      ///< some P was taken and handed on
    bool blocked = false;    ///< some of these from one that blocks
    bool overdue = false;    ///< something ready has waited since the last look
    bool come_back = false;  ///< an M may have blocked just now: the next look should come soon
  };
  /// Looks at every P and takes what is to be taken. `came_back`: this look is one that came soon for that reason.
  findings look(nanoseconds_t now, bool came_back) noexcept;
  /// Whether no thread could go on with a P now.
  bool threads_are_out() const noexcept;

 private:
  struct p_notes {
    const M* m = nullptr;
    std::uint32_t picks = 0;
    nanoseconds_t since = 0;              ///< when this stretch was first seen
    nanoseconds_t sampled = 0;            ///< when `cpu` was read
    nanoseconds_t cpu = not_known;        ///< of the M's thread
    nanoseconds_t first_cpu = not_known;  ///< the first sample in this stretch
    nanoseconds_t awake_at = not_known;   ///< the CPU time at which the thread was seen to be runnable
    nanoseconds_t awake_since = 0;        ///< when that was first seen
    nanoseconds_t asked_at = 0;           ///< when /proc was last asked
  };
  struct candidate {
    P* p;
    M* m;
    std::uint64_t section;
    nanoseconds_t since;
    reason why;
    bool long_slice;
  };
  static constexpr unsigned max_candidates = 32;
  static constexpr nanoseconds_t not_known = -1;

  void look_at(P* p, p_notes& notes) noexcept;
  void judge(P* p, M* m, std::uint64_t section, bool moved, p_notes& notes) noexcept;
  std::optional<bool> is_asleep(const M& m, nanoseconds_t cpu, p_notes& notes) noexcept;
  bool has_just_fallen_asleep(const M& m, nanoseconds_t cpu, p_notes& notes) noexcept;
  bool has_slept(const M& m, nanoseconds_t cpu, p_notes& notes) noexcept;
  void let_rest(P* p, M* m, std::uint64_t section, p_notes& notes) noexcept;
  bool work_waits(const P* p) noexcept;
  void add(P* p, M* m, std::uint64_t section, nanoseconds_t since, reason why) noexcept;
  bool is_better_left(const P* p, nanoseconds_t lasts) const noexcept;
  static void note_missed_wake() noexcept;
  void ask_for_p(const P* p, M* m) noexcept;
  bool take_candidates() noexcept;

  nanoseconds_t now_ = 0;
  bool came_back_ = false;
  findings found_;
  unsigned count_ = 0;
  candidate candidates_[max_candidates];
  std::optional<bool> waits_elsewhere_;  ///< in this look, once it was asked for
  p_notes notes_[max_width];
};

/// Of an M, not the caller's, that has lost its P at the end of its slice and runs on. No lock held.
void make_slice_long(M& m) noexcept;
/// Of the calling thread, an M's. No lock held.
void take_own_slice_back(M* m) noexcept;

}  // namespace weft::rt
