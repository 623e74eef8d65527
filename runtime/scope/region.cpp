// SPDX-License-Identifier: Apache-2.0
// Regions of one fiber: with_deadline, cancel_scope, shield. Each is a frame on the stack of the call; see cancel.hpp.
//
// On a plain thread there is no cancellation: `f` just runs (a deadline cannot end its waits, and a cancel_scope does
// not hear).
#include <weft/scope.hpp>

#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/poll.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/timers.hpp"
#include "runtime/scope/cancel.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;
using detail::cancel_frame;

namespace {

class linked_frame {
 public:
  linked_frame(G* g, cancel_frame& frame) noexcept : g_(g), frame_(frame) { push_frame(g_, frame_); }
  ~linked_frame() { pop_frame(g_, frame_); }
  linked_frame(const linked_frame&) = delete;
  linked_frame& operator=(const linked_frame&) = delete;

 private:
  G* g_;
  cancel_frame& frame_;
};

class frame_deadline {
 public:
  frame_deadline(G* g, cancel_frame& frame, nanoseconds_t when) noexcept {
    timer_.when = when;
    timer_.g = g;
    timer_.token = reinterpret_cast<std::uintptr_t>(&frame);
    timer_.fire = [](rt::timer& t, fired_timers& out) noexcept {
      detail::spin_guard guard(t.g->scope_lock);
      auto* expired = reinterpret_cast<cancel_frame*>(t.token);
      expired->cancelled = true;
      expired->by_deadline = true;
      out.add_expired(t.g, t.g->id.load(std::memory_order_relaxed));
    };
    if (when != never && start_timer(timer_)) wake_sleeper_before(when);
  }
  ~frame_deadline() { timer_heap::stop(timer_); }
  frame_deadline(const frame_deadline&) = delete;
  frame_deadline& operator=(const frame_deadline&) = delete;

 private:
  rt::timer timer_;
};

}  // namespace

namespace detail {

void run_until(clock::time_point deadline, callable_ref f) {
  G* g = current_fiber();
  if (g == nullptr) {
    f();
    return;
  }
  const nanoseconds_t when = deadline.time_since_epoch().count();
  cancel_frame frame;
  frame.cancelled = frame.by_deadline = when <= steady_now();
  bool expired = false;
  try {
    linked_frame link(g, frame);
    frame_deadline timer(g, frame, frame.cancelled ? never : when);
    try {
      f();
    } catch (const weft::cancelled&) {
      expired = frame_expired(g, frame) && !cancelled_outside(g, frame);
      throw;
    }
  } catch (const weft::cancelled&) {
    if (!expired) throw;
  }
  if (expired) throw timed_out("weft: the time of with_timeout or with_deadline is over");
}

void run_shielded(callable_ref f) {
  G* g = current_fiber();
  if (g == nullptr) {
    f();
    return;
  }
  cancel_frame frame;
  frame.what = cancel_frame::kind::shield;
  linked_frame link(g, frame);
  f();
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
    if (!frame.cancelled || g->cancel.load(std::memory_order_relaxed) != 0) throw;
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
