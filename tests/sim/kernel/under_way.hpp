// SPDX-License-Identifier: Apache-2.0
// What has been sent and has not arrived. It arrives by the virtual clock, outside of every thread.
//
// Invariants
//  1. What is handed over with the same moment arrives in the order in which it was sent. A stream asks for no earlier
//     moment than that of what it sent before.
//  2. Without latency, and with nothing else under way, the arrival is within the call, as over Linux's loopback.
#pragma once

#include "tests/sim/seam/sim.hpp"

namespace sim::kernel {

/// When something that is sent now arrives, by the troubles; not before `not_before`.
instant arrival_time(instant not_before) noexcept;

/// Calls `f(arg)` at `when`.
void later(instant when, void (*f)(void*), void* arg) noexcept;

}  // namespace sim::kernel
