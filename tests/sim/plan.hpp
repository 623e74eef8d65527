// SPDX-License-Identifier: Apache-2.0
// What a seed decides beforehand: by which rule the next thread is chosen, and which faults the system has.
//
// Strategies
//   random   at each step another thread with a chance of one in so many
//   pct      each thread has a priority, and the highest of those that are ready runs; at a few steps the one that runs
//            falls behind all others (Burckhardt et al., "A randomized scheduler with probabilistic guarantees of
//            finding bugs"): finds what needs few, but long, interruptions
// Under both a thread that has had its time slice falls behind, as under any kernel.
//
// Half of the seeds have no fault at all: with those the bounds of watch.hpp are tight.
#pragma once

#include <cstdint>
#include <cstdio>

#include "tests/sim/seam/sim.hpp"

namespace sim {

struct plan {
  std::uint64_t seed = 1;

  bool pct = false;
  unsigned change_points = 3;  ///< pct: how often the one that runs falls behind
  unsigned one_in = 16;        ///< random: another thread at one step in so many
  unsigned cpus = 2;           ///< so many threads compute at the same time
  instant slice = 1'000'000;   ///< of a thread, if another one is ready

  // Faults; each happens one time in so many, and never at 0.
  unsigned lose_cpu_one_in = 0;          ///< steps: the thread stands still for 20 ms
  unsigned no_thread_one_in = 0;         ///< thread starts: refused
  unsigned slow_thread_one_in = 0;       ///< thread starts: it runs only after up to 100 ms
  unsigned wake_for_nothing_one_in = 0;  ///< futex waits: end early
  unsigned no_memory_one_in = 0;         ///< stacks mapped: no memory for up to 300 µs from then on
  bool no_membarrier = false;            ///< refused from the start

  instant most_time = 60'000'000'000;  ///< of the virtual clock; the program should have ended by then
  std::uint64_t most_steps = 20'000'000;

  /// True if nothing makes a thread come later than the kernel's own rules would.
  bool in_time() const noexcept {
    return lose_cpu_one_in == 0 && no_thread_one_in == 0 && slow_thread_one_in == 0 && no_memory_one_in == 0;
  }
  /// How much later than without faults things may happen. A thread that stands still at one step in 5000 does so ten
  /// times in a millisecond of its CPU, so no sum of faults is a bound: this finds what hangs, and a wake that is lost.
  /// Below the 10 s after which an idle thread gets up by itself. Threads that share one CPU wait for slices of others.
  instant slack() const noexcept;
};

plan plan_of(std::uint64_t seed) noexcept;

/// "seed 7: pct, 5 change points, 2 cpus, a thread loses its cpu at one step in 5000"
void print(std::FILE* out, const plan& how) noexcept;

/// The next number of a seeded sequence (xorshift64*); the state is never 0.
inline std::uint64_t next_number(std::uint64_t& state) noexcept {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state * 0x2545f4914f6cdd1dull;
}
inline std::uint64_t sequence_of(std::uint64_t seed, std::uint64_t which) noexcept {
  std::uint64_t state = (seed * 0x9e3779b97f4a7c15ull) ^ (which * 0xd1342543de82ef95ull) ^ 0x5851f42d4c957f2dull;
  if (state == 0) state = 1;
  for (int i = 0; i < 8; ++i) next_number(state);
  return state;
}

}  // namespace sim
