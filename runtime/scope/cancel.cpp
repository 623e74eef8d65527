// SPDX-License-Identifier: Apache-2.0
// Spreading a cancellation; see cancel.hpp for the rules.
#include "runtime/scope/cancel.hpp"

#include <weft/error.hpp>

#include "runtime/sched/all_g.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/scope/nursery_access.hpp"

namespace weft::inline v0::rt {

using detail::cancel_frame;
using detail::nursery;
using detail::nursery_access;

namespace {

// Under g's scope lock.
bool effective_from(const G* g, const cancel_frame* frame) noexcept {
  for (; frame != nullptr; frame = frame->outer) {
    if (frame->what == cancel_frame::kind::shield) return false;
    if (frame->what == cancel_frame::kind::region && frame->cancelled) return true;
    if (frame->sheltered) return false;
  }
  return g->base_cancelled.load(std::memory_order_relaxed);
}

bool effective_outside(const G* g, const cancel_frame& frame) noexcept {
  return !frame.sheltered && effective_from(g, frame.outer);
}

void recompute(G* g) noexcept {
  g->cancel.store(effective_from(g, g->frames) ? 1 : 0, std::memory_order_relaxed);  // ordered by the fence of step 2
}

void mark_below(G* g) noexcept;

// Step 1 for a fiber that is cancelled as a whole, and everything below it. False: it was before.
bool mark_base(G* g) noexcept {
  if (g->base_cancelled.load(std::memory_order_relaxed)) return false;
  g->base_cancelled.store(true, std::memory_order_relaxed);
  recompute(g);
  mark_below(g);
  return true;
}

void mark_child(G* child) noexcept {
  detail::spin_guard guard(child->scope_lock);
  mark_base(child);
}

// Step 1 for everything below a fiber whose scope lock is held.
void mark_below(G* g) noexcept {
  for (cancel_frame* f = g->frames; f != nullptr; f = f->outer) {
    if (f->what != cancel_frame::kind::nursery || !effective_outside(g, *f)) continue;
    nursery_access::mark(*f->children, mark_child);
  }
}

void claim_one(G* g, g_list& woken) noexcept {
  if (g->cancel.load(std::memory_order_relaxed) == 0 || !g->wait.claim_if_cancellable()) return;
  g->cause = wait_cause::cancelled;
  woken.push_back(g);
}

// Step 3, with the scope lock held as in step 1.
void claim_below(G* g, g_list& woken) noexcept {
  for (cancel_frame* f = g->frames; f != nullptr; f = f->outer) {
    if (f->what != cancel_frame::kind::nursery) continue;
    nursery_access::visit_if_cancelled(*f->children, [&woken](G* child) noexcept {
      detail::spin_guard guard(child->scope_lock);
      claim_one(child, woken);
      claim_below(child, woken);
    });
  }
}

}  // namespace

void claim_fiber(const fiber_ref& who, g_list& woken) noexcept {
  detail::spin_guard guard(who.g->scope_lock);
  if (who.g->id.load(std::memory_order_relaxed) != who.id) return;
  claim_one(who.g, woken);
  claim_below(who.g, woken);
}

void push_frame(G* g, cancel_frame& frame) noexcept {
  frame.g = g;
  frame.uncaught = std::uncaught_exceptions();
  frame.sheltered = shielded_by_unwinding(g);
  detail::spin_guard guard(g->scope_lock);
  frame.outer = g->frames;
  g->frames = &frame;
  if (frame.cancelled || frame.sheltered || frame.what == cancel_frame::kind::shield) recompute(g);
}

void pop_frame(G* g, cancel_frame& frame) noexcept {
  detail::spin_guard guard(g->scope_lock);
  for (cancel_frame** at = &g->frames; *at != nullptr; at = &(*at)->outer) {
    if (*at != &frame) continue;
    *at = frame.outer;
    break;
  }
  recompute(g);
}

bool mark_region(cancel_frame& frame, fiber_ref& whose) noexcept {
  G* g = static_cast<G*>(frame.g);
  detail::spin_guard guard(g->scope_lock);
  if (frame.cancelled) return false;
  frame.cancelled = true;
  whose = {g, g->id.load(std::memory_order_relaxed)};
  recompute(g);
  mark_below(g);
  return true;
}

void cancel_fiber(G* g, std::uint64_t id) noexcept {
  {
    detail::spin_guard guard(g->scope_lock);
    if (id == 0 || g->id.load(std::memory_order_relaxed) != id || !mark_base(g)) return;
  }
  fence_all_threads();
  g_list woken;
  claim_fiber({g, id}, woken);
  wake_all(woken);
}

void cancel_nursery(nursery& n) noexcept {
  if (!nursery_access::mark(n, mark_child)) return;
  fence_all_threads();
  g_list woken;
  nursery_access::visit_if_cancelled(n, [&woken](G* child) noexcept {
    detail::spin_guard guard(child->scope_lock);
    claim_one(child, woken);
    claim_below(child, woken);
  });
  wake_all(woken);
}

// A fiber that starts meanwhile sees `closing` after it has published its id (start_fiber), or is seen here: the first
// fence stands between the caller's store of `closing` and the look at the ids.
void cancel_everybody(const G* except) noexcept {
  fence_all_threads();
  for_each_g([except](G& g) {
    if (&g == except) return;
    detail::spin_guard guard(g.scope_lock);
    if (g.id.load(std::memory_order_relaxed) != 0) mark_base(&g);
  });
  fence_all_threads();
  g_list woken;
  for_each_g([except, &woken](G& g) {
    if (&g == except) return;
    detail::spin_guard guard(g.scope_lock);
    if (g.id.load(std::memory_order_relaxed) != 0) claim_one(&g, woken);
  });
  wake_all(woken);
}

void retire_identity(G* g) noexcept {
  detail::spin_guard guard(g->scope_lock);
  g->id.store(0, std::memory_order_relaxed);
}

void finish_expired(fired_timers& fired) noexcept {
  if (fired.expired_count == 0) return;
  for (unsigned i = 0; i < fired.expired_count; ++i) {
    G* g = fired.expired[i].g;
    detail::spin_guard guard(g->scope_lock);
    if (g->id.load(std::memory_order_relaxed) != fired.expired[i].id) continue;
    recompute(g);
    mark_below(g);
  }
  fence_all_threads();
  g_list woken;
  for (unsigned i = 0; i < fired.expired_count; ++i) claim_fiber({fired.expired[i].g, fired.expired[i].id}, woken);
  while (G* g = woken.pop_front()) fired.add_ready(g);
}

void throw_cancelled() { throw cancelled{}; }

bool frame_expired(G* g, const cancel_frame& frame) noexcept {
  detail::spin_guard guard(g->scope_lock);
  return frame.by_deadline;
}

bool cancelled_outside(const G* g, const cancel_frame& frame) noexcept {
  auto* locked = const_cast<G*>(g);
  detail::spin_guard guard(locked->scope_lock);
  return effective_outside(g, frame);
}

}  // namespace weft::inline v0::rt
