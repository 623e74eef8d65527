// SPDX-License-Identifier: Apache-2.0
// Whether a wait of this fiber would be, or has been, ended by a cancellation: the part that every wait asks. What
// cancels, and how the word reaches children, is in cancel.hpp.
#pragma once

#include <exception>

#include <weft/detail/cancel_frame.hpp>

#include "runtime/sched/m.hpp"
#include "runtime/sched/thread_g.hpp"

namespace weft::rt {

/// std::uncaught_exceptions(), without the call where the M knows the thread's exception state.
inline unsigned uncaught_exceptions() noexcept {
  const M* m = current_m();
  return m != nullptr ? m->eh->uncaught : static_cast<unsigned>(std::uncaught_exceptions());
}

/// While an exception unwinds through the innermost scope, waits (in destructors, then) are shielded by themselves. The
/// fiber itself.
inline bool shielded_by_unwinding(const G* g) noexcept {
  const unsigned entered_with = g->frames != nullptr ? static_cast<unsigned>(g->frames->uncaught) : 0;
  return uncaught_exceptions() > entered_with;
}

/// After a wait is armed: the fiber itself, or the plain thread whose stand-in it is. One load unless it is cancelled.
inline bool cancel_pending(const G* g) noexcept {
  if (g->cancel.load(std::memory_order_relaxed) == 0) [[likely]]
    return false;
  // Relaxed: ordered as `cancel` is, by the other side's fence of all threads.
  if (g->kind == g_kind::thread) {
    const std::uint32_t noted = g->thread.plain_waits.load(std::memory_order_relaxed);
    if (noted == wait_of_a_fiber || noted == plain_waits.load(std::memory_order_relaxed)) return false;
  }
  return !shielded_by_unwinding(g);
}

/// The same at the entry of a wait: every cancellable one comes by here before it arms.
inline bool cancel_pending_at_entry(G* g) noexcept {
  if (g->cancel.load(std::memory_order_relaxed) == 0) [[likely]]
    return false;
  if (g->kind == g_kind::thread) {
    const bool is_a_fiber = current_m() != nullptr;
    const std::uint32_t now = is_a_fiber ? wait_of_a_fiber : plain_waits.load(std::memory_order_relaxed);
    g->thread.plain_waits.store(now, std::memory_order_relaxed);  // published by arming
    if (is_a_fiber || !plain_waits_are_over(now)) return false;
  }
  return !shielded_by_unwinding(g);
}

}  // namespace weft::rt
