// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/programs.hpp"

#include <cstring>
#include <vector>

namespace sim {

std::span<const program> programs() {
  static const std::vector<program> all = [] {
    std::vector<program> result;
    for (const auto& part : {programs_of_channels, programs_of_locks, programs_of_timers, programs_of_scopes,
                             programs_of_runs, programs_of_pinned_main, programs_of_load, programs_of_shortage,
                             programs_of_costs, programs_of_sockets, programs_of_sockets_in_time, programs_of_wakes,
                             programs_of_turns, programs_of_thread_limit, programs_of_stacks, programs_of_files})
      result.insert(result.end(), part.begin(), part.end());
    return result;
  }();
  return all;
}

const program* find_program(const char* name) {
  for (const program& p : programs())
    if (std::strcmp(p.name, name) == 0) return &p;
  return nullptr;
}

}  // namespace sim
