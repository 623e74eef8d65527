// SPDX-License-Identifier: Apache-2.0
// Spreading a cancellation; see cancel.hpp for the rules.
#include "runtime/scope/cancel.hpp"

#include <exception>
#include <system_error>

#include <weft/error.hpp>

#include "runtime/base/fatal.hpp"
#include "runtime/sched/all_g.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/sched/upcalls.hpp"
#include "runtime/scope/nursery_access.hpp"

namespace weft::rt {

using detail::cancel_frame;
using detail::nursery;
using detail::nursery_access;

namespace {

// Under g's scope lock.
bool effective_from(const G* g, const cancel_frame* frame) noexcept {
  for (; frame != nullptr; frame = frame->outer) {
    if (frame->what == cancel_frame::kind::shield) return false;
    if (frame->cancelled) return true;
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

bool set_base(G* g) noexcept {
  if (g->base_cancelled.load(std::memory_order_relaxed)) return false;
  g->base_cancelled.store(true, std::memory_order_relaxed);
  recompute(g);
  return true;
}

void claim_one(G* g, g_list& woken) noexcept {
  if (g->cancel.load(std::memory_order_relaxed) == 0 || !g->wait.claim_if_cancellable()) return;
  g->cause = wait_cause::cancelled;
  woken.push_back(g);
}

// What a walk does on its way down. Step 1:
struct marking {
  bool may_enter(const G* owner, const cancel_frame& frame) const noexcept { return effective_outside(owner, frame); }
  bool enter(nursery& n) const noexcept { return nursery_access::lock_to_mark(n); }
  bool visit(G* child) const noexcept { return set_base(child); }  // false: what did it has also been below
};

// Step 3:
struct claiming {
  g_list& woken;
  bool may_enter(const G*, const cancel_frame&) const noexcept { return true; }
  bool enter(nursery& n) const noexcept { return nursery_access::lock_if_cancelled(n); }
  bool visit(G* child) const noexcept {
    claim_one(child, woken);
    return true;
  }
};

// From `frame` outward, the first nursery to go down into; its lock is held then.
template <class Step>
cancel_frame* next_nursery(const Step& step, const G* owner, cancel_frame* frame) noexcept {
  for (; frame != nullptr; frame = frame->outer) {
    if (frame->what == cancel_frame::kind::nursery && step.may_enter(owner, *frame) && step.enter(*frame->children))
      return frame;
  }
  return nullptr;
}

// Everything below a nursery whose lock is held, which is free on return. No recursion: the tree itself says where the
// walk came from, and it stands still, since all locks between `top` and the place of the walk are held. Not analysed:
// how many these are is known at run time only.
template <class Step>
void walk(const Step& step, nursery& top) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  nursery* in = &top;
  G* child = nursery_access::first_member(top);
  for (;;) {
    cancel_frame* below = nullptr;
    if (child != nullptr) {
      child->scope_lock.lock();
      if (step.visit(child)) below = next_nursery(step, child, child->frames);
    } else {  // through with this nursery: back to its owner, and on from its frame
      cancel_frame& frame = nursery_access::frame(*in);
      nursery_access::unlock(*in);
      if (in == &top) return;
      child = static_cast<G*>(frame.g);
      in = child->home;
      below = next_nursery(step, child, frame.outer);
    }
    if (below != nullptr) {
      in = below->children;
      child = nursery_access::first_member(*in);
    } else {
      G* const sibling = child->sibling_next;
      child->scope_lock.unlock();
      child = sibling;
    }
  }
}

// The same below a fiber whose scope lock is held.
template <class Step>
void walk_below(const Step& step, G* g) noexcept {
  cancel_frame* frame = g->frames;
  while ((frame = next_nursery(step, g, frame)) != nullptr) {
    walk(step, *frame->children);
    frame = frame->outer;
  }
}

// Step 1 for a fiber that is cancelled as a whole, and everything below it. Returns false if it was before.
bool mark_base(G* g) noexcept {
  if (!set_base(g)) return false;
  walk_below(marking{}, g);
  return true;
}

}  // namespace

// Step 3 for a fiber whose scope lock is held, and everything below it.
static void claim_below(G* g, g_list& woken) noexcept {
  claim_one(g, woken);
  walk_below(claiming{woken}, g);
}

void claim_fiber(G& g, g_list& woken) noexcept {
  detail::spin_guard guard(g.scope_lock);
  claim_below(&g, woken);
}

// It may have ended meanwhile.
static void claim_fiber(G& g, std::uint64_t id, g_list& woken) noexcept {
  detail::spin_guard guard(g.scope_lock);
  if (g.id.load(std::memory_order_relaxed) == id) claim_below(&g, woken);
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

bool mark_region(cancel_frame& frame) noexcept {
  G* g = static_cast<G*>(frame.g);
  detail::spin_guard guard(g->scope_lock);
  if (frame.cancelled) return false;
  frame.cancelled = true;
  recompute(g);
  walk_below(marking{}, g);
  return true;
}

void cancel_fiber(G* g, std::uint64_t id) noexcept {
  {
    detail::spin_guard guard(g->scope_lock);
    if (id == 0 || g->id.load(std::memory_order_relaxed) != id || !mark_base(g)) return;
  }
  fence_all_threads();
  g_list woken;
  claim_fiber(*g, id, woken);
  wake_all(woken);
}

void cancel_nursery(nursery& n) noexcept {
  const marking mark;
  if (!mark.enter(n)) return;
  walk(mark, n);
  fence_all_threads();
  g_list woken;
  const claiming claim{woken};
  if (claim.enter(n)) walk(claim, n);
  wake_all(woken);
}

// The owner is marked before the siblings: who joins one of them, and finds it cancelled, finds why. The scope, its frame
// and so its owner stay until the caller has left, unless the owner has ended: then the frame is nobody's.
void fail_nursery(nursery& n) noexcept {
  G* const owner = nursery_access::owner(n);
  cancel_frame& frame = nursery_access::frame(n);
  bool reached = false;
  if (owner != nullptr) {
    detail::spin_guard guard(owner->scope_lock);
    if (frame.g == owner && !frame.joined) {
      frame.cancelled = true;
      recompute(owner);
      walk_below(marking{}, owner);
      reached = true;
    }
  }
  const marking mark;
  const bool marked = mark.enter(n);
  if (marked) walk(mark, n);
  if (!reached && !marked) return;
  fence_all_threads();
  g_list woken;
  if (reached) {
    detail::spin_guard guard(owner->scope_lock);
    if (frame.g == owner) claim_below(owner, woken);
  }
  const claiming claim{woken};
  if (claim.enter(n)) walk(claim, n);
  wake_all(woken);
}

void stop_failure(G* owner, cancel_frame& frame) noexcept {
  detail::spin_guard guard(owner->scope_lock);
  frame.joined = true;
  if (!frame.cancelled) return;
  frame.cancelled = false;
  recompute(owner);
}

void orphan_scopes(G* g) noexcept {
  std::exception_ptr error;
  {
    detail::spin_guard guard(g->scope_lock);
    while (cancel_frame* const frame = g->frames) {
      g->frames = frame->outer;
      frame->g = nullptr;
      if (std::exception_ptr open = nursery_access::orphan(*frame->children)) error = std::move(open);
    }
    recompute(g);
  }
  if (error != nullptr) fatal_uncaught(error, "of a child of a scope whose owner has ended");
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
    walk_below(marking{}, g);
  }
  fence_all_threads();
  g_list woken;
  for (unsigned i = 0; i < fired.expired_count; ++i) claim_fiber(*fired.expired[i].g, fired.expired[i].id, woken);
  while (G* g = woken.pop_front()) fired.add_ready(g);
}

// The error of the innermost failed scope around the fiber's next wait, if nobody has taken it; it is taken then.
static std::exception_ptr take_failure(G* g) noexcept {
  detail::spin_guard guard(g->scope_lock);
  for (cancel_frame* frame = g->frames; frame != nullptr; frame = frame->outer) {
    if (frame->what == cancel_frame::kind::shield || frame->keeps_errors) break;
    if (frame->what == cancel_frame::kind::nursery && frame->cancelled)
      if (std::exception_ptr error = nursery_access::take_error(*frame->children)) return error;
    if (frame->sheltered) break;
  }
  return nullptr;
}

void throw_cancelled() {
  G* const g = current_g();
  if (g->kind == g_kind::thread)
    throw std::system_error(std::make_error_code(std::errc::operation_canceled),
                            "weft: the runtime has ended, or is about to, while this thread waits");
  if (std::exception_ptr error = take_failure(g)) std::rethrow_exception(std::move(error));
  throw cancelled{};
}

bool frame_expired(G* g, const cancel_frame& frame) noexcept {
  detail::spin_guard guard(g->scope_lock);
  return frame.by_deadline;
}

bool cancelled_outside(const G* g, const cancel_frame& frame) noexcept {
  auto* locked = const_cast<G*>(g);
  detail::spin_guard guard(locked->scope_lock);
  return effective_outside(g, frame);
}

}  // namespace weft::rt
