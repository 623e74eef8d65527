// SPDX-License-Identifier: Apache-2.0
// Cheap random numbers for choices among equals: whom to steal from, which case of a select. Each M has its own state,
// seeded by its number; not for secrets.
#pragma once

#include <cstdint>

#include "runtime/sched/m.hpp"

namespace weft::rt {

inline std::uint64_t next_random(std::uint64_t& state) noexcept {  // xorshift64*
  std::uint64_t x = state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  state = x;
  return x * 0x2545f4914f6cdd1du;
}

/// The state of a plain thread. Not inlined: its address must not outlive a switch.
std::uint64_t& random_state_of_thread() noexcept;

/// 0 to `n` - 1. On a fiber or a plain thread.
inline std::uint32_t random_below(std::uint32_t n) noexcept {
  M* const m = current_m();
  const std::uint64_t x = next_random(m != nullptr ? m->random : random_state_of_thread());
  return static_cast<std::uint32_t>(((x >> 32) * n) >> 32);  // off by at most n / 2^32
}

}  // namespace weft::rt
