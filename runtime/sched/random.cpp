// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/random.hpp"

namespace weft::rt {

std::uint64_t& random_state_of_thread() noexcept {
  thread_local std::uint64_t state = 0;
  if (state == 0) state = reinterpret_cast<std::uintptr_t>(&state) * 0x9e3779b97f4a7c15u | 1;
  return state;
}

}  // namespace weft::rt
