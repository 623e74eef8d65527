// SPDX-License-Identifier: Apache-2.0
// Taking Ps from Ms that do not use them: the monitor's look at each P.
//
//   blocked     no CPU time since the last look and asleep in the kernel: the P goes after 50 µs, if anything waits for
//   it
//   announced   in blocking(f): at the next look
//   burning     CPU time advances, the bracket does not move, no pick was made for 10 ms: the P goes if anything waits
//               for it, however many burn already. They run on as threads, among which the kernel shares the CPUs
//   busy inside the bracket moves but no pick was made for 10 ms: the M is asked to give the P up itself at its next
//               entry. Where that may hold a lock the P is left to the monitor (`surrendered_ps`), which comes back
//               soon
//   starved     runnable but off its CPU: left alone, more threads do not help
//
// Protocol of a take (bracket.hpp, steps 4 to 6): retake_lock of each candidate, request, ONE membarrier for all of the
// round, then each is taken if its word did not move. The retake_locks are held across the membarrier: their Ms, should
// they enter just then, wait for it. What is taken is handed on after the locks are free, since this may start a
// thread.
//
// Used by the monitor's thread alone, with no lock held.
#pragma once

#include "runtime/base/limits.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

class retaker {
 public:
  struct findings {
    bool taken = false;      ///< some P was taken and handed on
    bool overdue = false;    ///< something ready has waited since the last look
    bool come_back = false;  ///< an M may have blocked just now: the next look should come soon
  };
  /// Looks at every P and takes what is to be taken. `came_back`: this look is one that came soon for that reason.
  findings look(nanoseconds_t now, bool came_back) noexcept;

 private:
  struct p_notes {
    std::uint32_t tick = 0;
    nanoseconds_t since = 0;
  };
  struct candidate {
    P* p;
    M* m;
    std::uint64_t section;
    bool burning;
  };
  static constexpr unsigned max_candidates = 32;

  void look_at(P* p, p_notes& notes) noexcept;
  void add(P* p, M* m, std::uint64_t section, bool burning) noexcept;
  bool threads_are_out() const noexcept;
  void ask_for_p(M* m) noexcept;
  unsigned take_candidates() noexcept;

  nanoseconds_t now_ = 0;
  bool came_back_ = false;
  findings found_;
  unsigned count_ = 0;
  candidate candidates_[max_candidates];
  p_notes notes_[max_width];
};

}  // namespace weft::rt
