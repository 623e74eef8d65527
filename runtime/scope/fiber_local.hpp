// SPDX-License-Identifier: Apache-2.0
// What fibers and threads keep for themselves: a list of values, newest first, whose head lies on the fiber's own stack
// (stack::locals) or belongs to the plain thread. Each list is its owner's alone, so there is nothing to lock.
#pragma once

#include "runtime/fiber/stack.hpp"
#include "runtime/sched/g.hpp"

namespace weft::rt {

void destroy_locals(G* g) noexcept;
/// Destroys the values of the calling fiber, newest first, and what their destructors make. Outside the runtime section.
inline void end_locals(G* g) noexcept {
  if (g->stk->locals() != nullptr) [[unlikely]]
    destroy_locals(g);
}

}  // namespace weft::rt
