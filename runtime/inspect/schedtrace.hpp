// SPDX-License-Identifier: Apache-2.0
// WEFT_DEBUG=schedtrace=MS: a line of the scheduler's state on stderr, in Go's form, every so many milliseconds.
#pragma once

#include "runtime/config/options.hpp"
#include "runtime/sched/timer_heap.hpp"

namespace weft::rt {

void schedtrace_configure(const debug_settings& how) noexcept;  ///< at the start of run()
bool schedtrace_is_on() noexcept;
void schedtrace_tick(nanoseconds_t now) noexcept;  ///< on the monitor's thread

}  // namespace weft::rt
