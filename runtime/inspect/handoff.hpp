// SPDX-License-Identifier: Apache-2.0
// Who blocks or burns a thread without saying so: each call site is named once on stderr under WEFT_DEBUG=handoffs=1,
// and all are counted for debug::stats().
#pragma once

#include <cstdint>

#include "runtime/config/options.hpp"
#include "runtime/sched/timer_heap.hpp"

namespace weft::rt {

void configure_handoff_notes(const debug_settings& how) noexcept;

struct handoff_counts {
  std::int64_t blocked;    ///< slept in the kernel
  std::int64_t announced;  ///< of these: inside blocking(f)
  std::int64_t burned;
};
handoff_counts count_handoffs() noexcept;

}  // namespace weft::rt
