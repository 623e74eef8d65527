// SPDX-License-Identifier: Apache-2.0
// One run of a program, in a child process: so that each starts from nothing, and may end in any way.
//
// A seed is a run: addresses are not randomised (driver.cpp), and a child inherits nothing that depends on the runs
// before it. Nothing is allocated here.
#pragma once

#include "tests/sim/programs.hpp"
#include "tests/sim/simulation.hpp"

namespace sim {

struct verdict {
  bool passed = false;
  int signal = 0;  ///< by which the child ended; 0: by none
  outcome seen{};
};

/// False, with errno, if there is no memory to share with children. Before the first run.
bool prepare_children() noexcept;
/// `decisions`: how many of the last switches are printed if it fails.
verdict run_in_child(const program& p, const plan& how, unsigned decisions) noexcept;
/// What the last child said, to stdout.
void print_report() noexcept;

}  // namespace sim
