// SPDX-License-Identifier: Apache-2.0
// The world in which the wait protocol runs in production: the scheduler. tests/model has another one with the same
// names.
#pragma once

#include <cstdint>
#include <new>

#include <weft/detail/spin_lock.hpp>

#include "runtime/base/atomics.hpp"
#include "runtime/sched/all_g.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/poll.hpp"
#include "runtime/sched/random.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/sched/timer_heap.hpp"
#include "runtime/sched/timers.hpp"
#include "runtime/wait/cancel_state.hpp"

namespace weft::rt {

struct env {
  using atomics = std_atomics;
  template <class T>
  using var = T;
  using lock = detail::spin_lock;
  using fiber = G;
  using batch = g_list;

  static G* current() noexcept { return current_g(); }
  static bool cancel_pending(const G* g) noexcept { return rt::cancel_pending(g); }
  static bool may_be_cancelled(const G* g) noexcept { return !rt::shielded_by_unwinding(g); }
  static void order_arm_before_look() noexcept { rt::order_arm_before_look(); }
  static void park(wait_reason why, commit_fn commit, void* arg) noexcept { rt::park(why, commit, arg); }
  static void wake(G* g) noexcept { rt::wake(g); }
  static std::uint32_t random(std::uint32_t n) noexcept { return random_below(n); }

  /// Into how many parts a queue may be split, and which is the caller's: what stays with one M usually stays in one
  /// cache. (Not the P's: outside of the bracket the monitor may be taking it.)
  static constexpr unsigned stripes = 16;
  static unsigned stripe_index() noexcept {
    const M* const m = current_m();
    return static_cast<unsigned>(m != nullptr ? m->number : 0) % stripes;
  }
  /// Returns true if it was not free at once.
  static bool lock_and_tell(lock& it) noexcept WEFT_ACQUIRE(it) {
    if (it.try_lock()) return false;
    it.lock();
    return true;
  }
  static void wake_all(g_list list) noexcept { rt::wake_all(list); }
  static nanoseconds_t now() noexcept { return steady_now(); }
  /// Returns true if what the caller waits for may happen while it spins. A hint.
  static bool may_spin() noexcept { return sched.procs.load(std::memory_order_relaxed) > 1; }

  /// Ends the wait at a time. `start` under the object's lock, or none; `stop` with no lock.
  class deadline_timer {
   public:
    /// Returns true if no thread that holds a P will see the timer by itself: `announce` it once the lock is free.
    bool start(G* g, std::uint64_t token, nanoseconds_t when) noexcept {
      if (g->kind == g_kind::thread) {  // its own timer, so that it needs no runtime: see park_thread
        g->thread.deadline = when;
        g->thread.token = token;
        return false;
      }
      timer_ = new (timer_room(g)) timer;  // trivially destroyed; the last wait's is in no heap any more
      timer_->when = when;
      timer_->g = g;
      timer_->token = token;
      timer_->fire = [](timer& t, fired_timers& out) noexcept {
        if (!t.g->wait.claim(t.token)) return;
        t.g->cause = wait_cause::timeout;
        out.add_ready(t.g);
      };
      return start_timer(*timer_);
    }
    void stop() noexcept {
      if (timer_ != nullptr) timer_heap::stop(*timer_);
    }

   private:
    timer* timer_ = nullptr;
  };
  static void announce_timer(nanoseconds_t when) noexcept { wake_sleeper_before(when); }
};

}  // namespace weft::rt
