// SPDX-License-Identifier: Apache-2.0
// A timer that runs a function: timer(d, f).
//
// `fire` may not start the fiber: that maps memory, and the heap's lock is held. It defers; the action allocates the
// fiber first and looks afterwards, under the timer's lock, whether the timer was stopped or set again meanwhile: then
// the fiber is given back unborn. If no fiber can be had (a limit, no memory) the timer goes off again a millisecond
// later: late, but not lost, and there is no caller to throw an exception to.
//
// Two counts, as the function is the user's and must not be destroyed in an M's loop:
//   users    the handle, and each fiber that runs the function; the last one destroys it
//   holders  the users together, and each action under way; the last one frees the block
// An action gains a user only while the handle has not stopped the timer, so it is never the last one.
//
// `setting_` and `pending_` belong to the lock, as in runtime/sync/timer_chan.hpp. Lock order: timer < heap. The end of
// run(): the gate is closed first, so no function is started any more when main has returned.
#include <weft/detail/timer_core.hpp>

#include <algorithm>
#include <cstdlib>
#include <new>

#include <weft/detail/atomic.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/detail/spin_lock.hpp>

#include "runtime/sched/admission.hpp"
#include "runtime/sched/g_pool.hpp"
#include "runtime/sched/poll.hpp"
#include "runtime/sched/timer_heap.hpp"
#include "runtime/sched/timers.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

using namespace rt;

class timed_call {
 public:
  timed_call(const timed_function_ops& ops, void* function) noexcept : ops_(ops), function_(function) {
    alarm_.owner = this;
    alarm_.fire = fire;
  }
  timed_call(const timed_call&) = delete;
  timed_call& operator=(const timed_call&) = delete;

  void* function() const noexcept { return function_; }

  bool stop() noexcept {
    spin_guard guard(lock_);
    return take_back();
  }

  bool reset(nanoseconds_t d, const void* site) {
    if (d <= 0) return call_now(site);
    const admission inside("timer");
    const nanoseconds_t when = saturating_add(steady_now(), d);
    bool announce = false;
    bool was_pending = false;
    {
      spin_guard guard(lock_);
      was_pending = take_back();
      pending_ = true;
      site_ = site;
      alarm_.when = when;
      alarm_.token = setting_;
      if (when != never) announce = start_timer(alarm_);
    }
    if (announce) wake_sleeper_before(when);
    return was_pending;
  }

  void drop_user() noexcept {
    if (users_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;  // publish our use of it, see the others'
    ops_.destroy(function_);
    drop_holder();
  }
  void drop_holder() noexcept {
    if (holders_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;  // as above
    this->~timed_call();
    std::free(this);
  }

 private:
  struct alarm : rt::timer {
    timed_call* owner = nullptr;
  };
  static constexpr nanoseconds_t try_again_after = 1'000'000;

  ~timed_call() = default;

  bool take_back() noexcept WEFT_REQUIRES(lock_) {
    timer_heap::stop(alarm_);
    ++setting_;
    return std::exchange(pending_, false);
  }

  // A fiber's body: not noexcept, so that an exception that nobody handles is reported where it was thrown.
  static void run_function(void* closure) {
    struct user {
      timed_call* call;
      ~user() { call->drop_user(); }
    } self{*static_cast<timed_call**>(closure)};
    self.call->ops_.call(self.call->function_);
  }

  bool call_now(const void* site) {
    const unstarted_fiber s = prepare_fiber(sizeof(timed_call*), alignof(timed_call*), nullptr);
    static_cast<G*>(s.g)->spawn_site = site;
    ::new (s.room) timed_call*(this);
    bool was_pending = false;
    {
      spin_guard guard(lock_);
      was_pending = take_back();
    }
    users_.fetch_add(1, std::memory_order_relaxed);  // the caller's handle is one
    start_fiber(s, run_function, nullptr, nullptr);
    return was_pending;
  }

  // Under the heap's lock. The timer is in a heap, so the handle is there, and with it a holder.
  static void fire(rt::timer& t, fired_timers& fired) noexcept {
    timed_call* const call = static_cast<alarm&>(t).owner;
    call->holders_.fetch_add(1, std::memory_order_relaxed);
    fired.defer({begin, call, t.token, t.when});
  }

  static void begin(const fired_timers::action& action, fired_timers& fired) noexcept {
    auto* const call = static_cast<timed_call*>(action.object);
    if (start_gate.enter()) {
      if (G* g = call->fiber_for(action.token, fired.now)) fired.add_ready(g);
      start_gate.leave();  // main, if it has returned, cancels the fiber and waits for it: its id is published
    }
    call->drop_holder();
  }

  // In an M's loop, within the gate. Null: it was taken back, or comes again.
  G* fiber_for(std::uint64_t setting, nanoseconds_t now) noexcept {
    G* g = nullptr;
    try {
      g = allocate_g_in_loop();
    } catch (...) {
      spin_guard guard(lock_);
      if (setting == setting_) {
        alarm_.when = saturating_add(now, try_again_after);
        restart_timer_in_loop(alarm_);
      }
      return nullptr;
    }
    {
      spin_guard guard(lock_);
      if (setting == setting_) {
        pending_ = false;
        users_.fetch_add(1, std::memory_order_relaxed);  // the handle is one
        g->spawn_site = site_;
        g->entry = run_function;
        g->closure = ::new (g->inline_closure) timed_call*(this);
        return g;
      }
    }
    free_g(current_m(), g);
    return nullptr;
  }

  spin_lock lock_;
  bool pending_ WEFT_GUARDED_BY(lock_) = false;  ///< to fire, or fired and its fiber is not born yet
  std::uint64_t setting_ WEFT_GUARDED_BY(lock_) = 0;
  const void* site_ WEFT_GUARDED_BY(lock_) = nullptr;
  alarm alarm_;
  detail::atomic<std::size_t> users_{1}, holders_{1};
  const timed_function_ops& ops_;
  void* const function_;
};

timed_call* timed_call_make(const timed_function_ops& ops) {
  const std::size_t alignment = std::max(ops.alignment, alignof(timed_call));
  const std::size_t head = (sizeof(timed_call) + ops.alignment - 1) / ops.alignment * ops.alignment;
  void* const block = std::aligned_alloc(alignment, (head + ops.size + alignment - 1) / alignment * alignment);
  if (block == nullptr) throw std::bad_alloc();
  return ::new (block) timed_call(ops, static_cast<std::byte*>(block) + head);
}

void* timed_call_room(timed_call* c) noexcept { return c->function(); }

void timed_call_drop(timed_call* c) noexcept { c->drop_holder(); }

bool timed_call_stop(timed_call* c) noexcept { return c->stop(); }

[[gnu::noinline]] bool timed_call_reset(timed_call* c, any_duration d) {
  return c->reset(d.ns(), __builtin_return_address(0));
}

void timed_call_release(timed_call* c) noexcept {
  c->stop();
  c->drop_user();
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
