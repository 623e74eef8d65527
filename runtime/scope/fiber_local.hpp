// SPDX-License-Identifier: Apache-2.0
// What fibers and threads keep for themselves: a list of values, newest first, whose head lies on the fiber's own stack
// (stack::locals) or belongs to the plain thread. Each list is its owner's alone, so there is nothing to lock.
#pragma once

#include "runtime/sched/g.hpp"

namespace weft::rt {

/// Destroys the values of a fiber that ends, newest first, and what their destructors make. On its own stack, outside
/// the runtime section.
void destroy_locals(G* g) noexcept;

}  // namespace weft::rt
