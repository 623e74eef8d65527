// SPDX-License-Identifier: Apache-2.0
// The kernel's side of `kernel::troubles`: every call asks here whether something goes wrong with it.
//
// Invariants
//  1. The seed chooses the troubles once, with the first call or with the first look at them.
//  2. A trouble that is off draws no number, so a program that turns one off gets another run, but the same on each
//     machine.
//  3. A connection that is reset by a trouble is noted by its ports: a program accepts the failure of those alone.
#pragma once

#include "tests/sim/kernel.hpp"

namespace sim::kernel {

/// True one time in `n`; never at 0.
bool one_in(unsigned n) noexcept;

/// How every call begins: with a step, and with what happens in the world meanwhile.
void enter() noexcept;

/// Notes that the connection of these two ports is reset.
void note_reset(unsigned port, unsigned other_port) noexcept;

}  // namespace sim::kernel
