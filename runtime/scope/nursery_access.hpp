// SPDX-License-Identifier: Apache-2.0
// What cancellation and the end of a fiber do inside a nursery.
#pragma once

#include <weft/detail/nursery.hpp>

#include "runtime/sched/g.hpp"

namespace weft::inline v0::detail {

struct nursery_access {
  /// Flags the nursery and calls `mark_child(G*)` for each member, under its lock. False: it was cancelled before.
  template <class F>
  static bool mark(nursery& n, F&& mark_child) noexcept {
    spin_guard guard(n.lock_);
    if (n.cancelled_) return false;
    n.cancelled_ = true;
    for (auto* g = static_cast<rt::G*>(n.members_); g != nullptr; g = g->sibling_next) mark_child(g);
    return true;
  }

  template <class F>
  static void visit_if_cancelled(nursery& n, F&& visit) noexcept {
    spin_guard guard(n.lock_);
    if (!n.cancelled_) return;
    for (auto* g = static_cast<rt::G*>(n.members_); g != nullptr; g = g->sibling_next) visit(g);
  }

  /// The end of a child, in the child: reports its error, leaves. The nursery may be gone afterwards.
  static void leave(nursery& n, rt::G* g, std::exception_ptr error) noexcept;
};

}  // namespace weft::inline v0::detail
