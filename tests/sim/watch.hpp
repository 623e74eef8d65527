// SPDX-License-Identifier: Apache-2.0
// What must hold of the runtime all the time, looked at from within a simulation.
//
//   turns     a fiber that is ready has its turn within `bounds::ready`, and within `bounds::ready_beside_idle` of the
//             time for which some P has been idle
//   timers    no timer is overdue by more than `bounds::overdue`
//   sockets   an edge is taken from the kernel within `bounds::edge`, and within `bounds::edge_beside_idle` of the time
//             for which some P has been idle
//   once      a fiber is on one thread at a time, comes there only after it has left the one before, and never while
//             its wait is open: somebody has ended it, once
//   Ps        a P is held by one M, or lies on one list
//   stacks    a fiber waits for a stack for `bounds::stack` at most while one of its size is free
//   counts    whenever every thread sleeps: nobody searches; the idle Ps, idle threads, threads and fibers are as many
//             as they are counted; the global queue is empty if a P is idle, but for a wake that found no thread
//   end       when run() has returned nothing is left of it: no thread, no P in service, no fiber, no count, no
//             cancellable wait of a plain thread that began before
//
// A fiber is ready if its wait is claimed, or if it has no reason to wait and is on no CPU.
//
// Every look happens between two steps of the simulated threads, so it sees what any thread could see there. Words that
// a thread writes in several steps may disagree for as long; what is written here holds at each of them.
#pragma once

#include "tests/sim/simulation.hpp"

namespace sim {

struct bounds {
  instant ready = 5'000'000;
  instant ready_beside_idle = 3'000'000;
  instant overdue = 10'000'000;
  instant stack = 20'000'000;
  instant edge = 50'000'000;
  instant edge_beside_idle = 5'000'000;
};
/// Set before the program starts, with the plan's slack.
extern bounds allowed;

/// Called by the simulator: at each step, before the clock moves on because every thread sleeps, and when the program
/// is over.
void watch_step() noexcept;
void watch_all_asleep() noexcept;
void watch_end() noexcept;

/// Returns true from the moment when run() has made main until it returns.
bool some_fiber_lives() noexcept;
/// Returns true while an M that nobody has woken lies in the poller, or is about to, or comes out.
bool somebody_lies_in_the_poller() noexcept;

extern worst_seen worst;

}  // namespace sim
