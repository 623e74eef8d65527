// SPDX-License-Identifier: Apache-2.0
// Regions of one fiber: with_deadline, cancel_scope, shield. Each is a frame on the stack of the call; see cancel.hpp.
//
// On a plain thread there is no cancellation: `f` just runs (a deadline cannot end its waits, and a cancel_scope does
// not hear).
#include <weft/scope.hpp>

#include <memory>
#include <new>

#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/poll.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/timers.hpp"
#include "runtime/scope/cancel.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;
using detail::cancel_frame;

namespace detail {

namespace {

struct frame_timer : rt::timer {
  frame_timer(G* owner, cancel_frame& frame, nanoseconds_t deadline) noexcept {
    when = deadline;
    g = owner;
    token = reinterpret_cast<std::uintptr_t>(&frame);
    fire = [](rt::timer& t, fired_timers& out) noexcept {
      spin_guard guard(t.g->scope_lock);
      auto* expired = reinterpret_cast<cancel_frame*>(t.token);
      expired->cancelled = true;
      expired->by_deadline = true;
      out.add_expired(t.g, t.g->id.load(std::memory_order_relaxed));
    };
  }
};

}  // namespace

deadline_region::deadline_region(clock::time_point deadline) noexcept {
  static_assert(sizeof(timer_) >= sizeof(frame_timer) && alignof(void*) >= alignof(frame_timer));
  G* const g = current_fiber();
  if (g == nullptr) return;
  g_ = g;
  const nanoseconds_t when = deadline.time_since_epoch().count();
  frame_.cancelled = frame_.by_deadline = when <= steady_now();
  push_frame(g, frame_);
  auto* const timer = ::new (timer_) frame_timer(g, frame_, when);
  if (!frame_.cancelled && when != never && start_timer(*timer)) wake_sleeper_before(when);
}

deadline_region::~deadline_region() { end(); }

void deadline_region::end() noexcept {
  if (g_ == nullptr) return;
  auto* const timer = std::launder(reinterpret_cast<frame_timer*>(timer_));
  timer_heap::stop(*timer);
  std::destroy_at(timer);
  pop_frame(static_cast<G*>(g_), frame_);
  g_ = nullptr;
}

// A scope outside may have failed since the wait inside threw: its error comes first.
void deadline_region::leave_cancelled() {
  G* const g = static_cast<G*>(g_);
  if (g == nullptr) throw;
  const bool expired = frame_expired(g, frame_) && !cancelled_outside(g, frame_);
  end();
  if (expired) throw timed_out("weft: the time of with_timeout or with_deadline is over");
  rt::check_cancelled(g);
  throw;
}

shield_region::shield_region() noexcept {
  G* const g = current_fiber();
  if (g == nullptr) return;
  g_ = g;
  frame_.what = cancel_frame::kind::shield;
  push_frame(g, frame_);
}

shield_region::~shield_region() {
  if (g_ != nullptr) pop_frame(static_cast<G*>(g_), frame_);
}

}  // namespace detail

bool cancel_scope::run_body(detail::callable_ref f) {
  G* g = current_fiber();
  if (g == nullptr) {
    f();
    return true;
  }
  cancel_frame frame;
  {
    detail::spin_guard guard(lock_);
    frame.cancelled = cancelled_;
    frame.g = g;
    push_frame(g, frame);
    frame.next_active = active_;
    if (active_ != nullptr) active_->prev_active = &frame;
    active_ = &frame;
  }
  struct unlinker {
    cancel_scope& scope;
    G* g;
    cancel_frame& frame;
    ~unlinker() {
      detail::spin_guard guard(scope.lock_);
      (frame.prev_active != nullptr ? frame.prev_active->next_active : scope.active_) = frame.next_active;
      if (frame.next_active != nullptr) frame.next_active->prev_active = frame.prev_active;
      pop_frame(g, frame);
    }
  };
  try {
    unlinker at_the_end{*this, g, frame};
    f();
    return true;
  } catch (const weft::cancelled&) {
    // The frame is unlinked; what is left to ask is whether anything outside also wants the fiber to end.
    rt::check_cancelled(g);
    if (!frame.cancelled) throw;
    return false;
  }
}

// A fiber that is not parked may leave as soon as it is marked, one that leaves by itself does so at any time, and the
// last of them may take this object with it: so all is done under the lock, without which no run is left, and what is
// woken afterwards is known by its G.
void cancel_scope::cancel() noexcept {
  g_list woken;
  {
    detail::spin_guard guard(lock_);
    cancelled_ = true;
    bool any = false;
    for (cancel_frame* frame = active_; frame != nullptr; frame = frame->next_active) any |= mark_region(*frame);
    if (!any) return;
    fence_all_threads();
    for (cancel_frame* frame = active_; frame != nullptr; frame = frame->next_active)
      claim_fiber(*static_cast<G*>(frame->g), woken);
  }
  wake_all(woken);
}

bool cancel_scope::cancelled() const noexcept {
  detail::spin_guard guard(lock_);
  return cancelled_;
}

}  // namespace v0
}  // namespace weft
