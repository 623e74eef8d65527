// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/random.hpp"

#include "runtime/base/os.hpp"

namespace weft::rt {

std::uint64_t& random_state_of_thread() noexcept {
#if defined(WEFT_SIMULATED)
  auto& state = reinterpret_cast<std::uint64_t&>(sim::slot(sim::slot_of::random));
  if (state == 0) state = sim::choose(1'000'000) + 1;
#else
  thread_local std::uint64_t state = 0;
#endif
  if (state == 0) state = reinterpret_cast<std::uintptr_t>(&state) * 0x9e3779b97f4a7c15u | 1;
  return state;
}

}  // namespace weft::rt
