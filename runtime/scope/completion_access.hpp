// SPDX-License-Identifier: Apache-2.0
// What the start and the end of a fiber do inside a completion.
#pragma once

#include <weft/detail/completion.hpp>

#include "runtime/sched/g.hpp"
#include "runtime/wait/basic_select.hpp"
#include "runtime/wait/env.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

struct completion_access {
  static void bind(completion& c, rt::G* g, bool in_scope) noexcept {
    c.g_ = g;
    c.id_ = g->id.load(std::memory_order_relaxed);
    c.in_scope_ = in_scope;
  }
  /// The end of the fiber, in the fiber. Gives up the fiber's reference.
  static void finish(completion& c, std::exception_ptr error, bool was_cancelled) noexcept;
  static const rt::select_ops<rt::env> end_case;
  static bool taken(const completion& c) noexcept { return c.taken_.load(std::memory_order_acquire); }
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
