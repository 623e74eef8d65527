// SPDX-License-Identifier: Apache-2.0
// Whether a wait of this fiber would be, or has been, ended by a cancellation: the part that every wait asks. Who cancels, and how the
// word reaches children, is in cancel.hpp.
#pragma once

#include <exception>

#include <weft/detail/cancel_frame.hpp>

#include "runtime/sched/g.hpp"

namespace weft::inline v0::rt {

/// While an exception unwinds through the innermost scope, waits (in destructors, then) are shielded by themselves. The fiber itself.
inline bool shielded_by_unwinding(const G* g) noexcept {
  const int entered_with = g->frames != nullptr ? g->frames->uncaught : 0;
  return std::uncaught_exceptions() > entered_with;
}

/// The fiber itself. One load unless it is cancelled.
inline bool cancel_pending(const G* g) noexcept {
  return g->cancel.load(std::memory_order_relaxed) != 0 && !shielded_by_unwinding(g);
}

}  // namespace weft::inline v0::rt
