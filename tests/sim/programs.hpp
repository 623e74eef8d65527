// SPDX-License-Identifier: Apache-2.0
// The programs that are run under seeds, and what each may take.
//
// They are ordinary ones against the public headers. Each asks the seed how wide it is, how many fibers it has and what
// they do; each checks its own results, and watch.hpp the runtime's. Most mix what their part of the library has; the
// others stand for one kind of fault each that real load has once shown, with the bound that must hold. A bound is for
// plans in time: with faults the plan's slack comes on top.
#pragma once

#include <span>

#include "tests/sim/watch.hpp"

namespace sim {

struct program {
  const char* name;
  void (*run)();
  bounds allowed = {};
};

/// All of them. The first call allocates.
std::span<const program> programs();
/// Null if there is none.
const program* find_program(const char* name);

// By part: programs/NAME.cpp.
extern const std::span<const program> programs_of_channels, programs_of_locks, programs_of_timers, programs_of_scopes,
    programs_of_runs, programs_of_pinned_main, programs_of_load, programs_of_shortage, programs_of_costs,
    programs_of_sockets, programs_of_sockets_in_time, programs_of_wakes, programs_of_turns, programs_of_thread_limit,
    programs_of_stacks, programs_of_files;

}  // namespace sim
