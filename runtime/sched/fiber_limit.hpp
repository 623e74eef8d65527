// SPDX-License-Identifier: Apache-2.0
// The limit on live fibers, kept without a count that all Ps share.
//
// How many live is a sum over all Ps (g_pool.hpp). Who found out at each spawn would pay for the width, so a walk that
// finds room leaves its P credit for some more.
//
// Invariants
//  1. An epoch has a base, the room that its first walk found. Credit comes only from walks that find half of it or more:
//     a 64k-th of it to the k-th P that has any in this epoch. With 1024 Ps that is an eighth of the base at the most, so
//     whenever some P has credit, three eighths of the base are still free.
//  2. Credit of another epoch is void. A walk that finds less than half of the base, or more than twice of it, begins one.
//     One that began before the present epoch did gives no credit.
//  3. Where there is no credit to be had, near the limit, each spawn walks, and the limit is exact, but for those that
//     spawn at the same moment.
// Memory order: who still sees the epoch before is one of those of rule 3. A walk reads it before it reads the counts.
// A thread without a P has no credit: each of its spawns walks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::rt {

struct P;

/// Owned by the P's holder.
struct spawn_credit {
  std::uint32_t left = 0;
  std::uint32_t epoch = 0;
};

/// Sets it for a run, before its first fiber starts. 0: none.
void set_fiber_limit(std::size_t limit) noexcept;
/// Whether one more may start, on `p` or, nullptr, without a P. Inside the runtime.
bool may_start_fiber(P* p) noexcept;
[[noreturn]] void throw_fiber_limit();

}  // namespace weft::rt
