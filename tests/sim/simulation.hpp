// SPDX-License-Identifier: Apache-2.0
// The simulation as its programs and its driver see it.
//
// A program is an ordinary one against weft's public headers. What it does beside weft goes through here, or it would
// take no time: computing, blocking in the kernel, plain threads, clocks, random numbers.
#pragma once

#include <cstdint>
#include <functional>

#include "tests/sim/plan.hpp"
#include "tests/sim/seam/sim.hpp"

namespace sim {

/// CPU time of user code: the thread stays on its CPU, and may lose it.
void compute(instant time) noexcept;
/// The thread could go on, but all CPUs are others' for so long.
void wait_for_a_cpu(instant time) noexcept;
/// A system call that nobody has announced.
void block(instant time) noexcept;

/// A thread that is not weft's.
class foreign_thread {
 public:
  explicit foreign_thread(std::function<void()> f);
  /// A system call, too.
  void join();

 private:
  task* t_ = nullptr;
};

/// Ends the process with a report: what is wrong, the plan, the last decisions, a dump, and how to run it again.
[[noreturn]] void fail(const char* what) noexcept;
inline void expect(bool holds, const char* what) noexcept {
  if (!holds) fail(what);
}
/// Expects `late` to be at most `bound`, and the plan's slack with faults.
void expect_within(instant late, instant bound, const char* what) noexcept;

const plan& current_plan() noexcept;

/// From here on every thread start is refused, or succeeds, whatever the plan says. `how_slow`: what a refusal takes.
enum class thread_starts : std::uint8_t { as_planned, refused };
void set_thread_starts(thread_starts how, instant how_slow = 0) noexcept;

/// From here on there is memory for stacks as the plan says, for all those of arenas that are open, or for none.
enum class memory_is : std::uint8_t { as_planned, scarce, used_up };
void set_memory(memory_is how) noexcept;

/// Steps of the calling thread so far.
std::uint64_t steps_of_thread() noexcept;
/// How often the thread of this name has come back from a sleep.
std::uint64_t wake_ups_of(const char* name) noexcept;
/// Threads that have not ended, without the one that plays main.
unsigned other_threads() noexcept;

/// How late things were, at worst (watch.hpp).
struct worst_seen {
  instant ready, ready_beside_idle, overdue, edge, edge_beside_idle;
};

/// What the driver learns of one run, also if it failed.
struct outcome {
  std::uint64_t steps;
  instant time;
  worst_seen worst;
  char failure[160];  ///< empty: none
};

/// Runs the program in this process, once. `decisions`: how many of the last are printed if it fails.
void run_here(const plan& how, const char* name, void (*program)(), unsigned decisions, outcome& out) noexcept;

}  // namespace sim
