// SPDX-License-Identifier: Apache-2.0
// event: a lock, whether it is set, and the list of waiters.
//
// Invariants, under the lock
//  1. While it is set no waiter can be claimed.
//  2. Destroy after wake: `set` empties the list under the lock, and its release is the last access; every look at the
//     state takes the lock.
// Locked instructions: each call 1; `set` 2 more for each that it wakes.
#include <weft/event.hpp>

#include "runtime/sched/ready.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/scope/outcome.hpp"
#include "runtime/wait/basic_select.hpp"
#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

void event::set() noexcept {
  g_list woken;
  {
    detail::spin_guard guard(lock_);
    set_.store(true, std::memory_order_release);  // pairs with the acquire in `ops`
    woken = wait_queue<env>(waiters_).pop_all(wait_result::ok);
  }
  wake_all(woken);
}

void event::reset() noexcept {
  detail::spin_guard guard(lock_);
  set_.store(false, std::memory_order_relaxed);  // under the lock; a select that sees the old value looks again
}

bool event::is_set() const noexcept {
  detail::spin_guard guard(lock_);
  return set_.load(std::memory_order_relaxed);  // under the lock
}

bool event::wait_ns(std::int64_t patience) {
  check_cancelled(current_g());
  lock_.lock();
  const bool was_set = set_.load(std::memory_order_relaxed);  // under the lock
  if (was_set || patience <= 0) {
    lock_.unlock();
    return was_set;
  }
  waiter<env> w;
  const wait_outcome how = wait_in_queue<env>(lock_, waiters_, w, {wait_reason::event, true, deadline_in(patience)});
  if (how == wait_outcome::timed_out) return false;
  throw_if_not_ok(how);
  return true;
}

struct detail::event_insight::ops {
  static constexpr select_ops<env> set{
      [](void* e) noexcept { return static_cast<event*>(e)->set_.load(std::memory_order_acquire); },
      [](void* e) noexcept -> spin_lock& { return static_cast<event*>(e)->lock_; },
      [](void* e) noexcept -> select_place<env> {
        auto& it = *static_cast<event*>(e);
        return {&it.lock_, &it.waiters_};
      },
      [](void* e, spin_lock*, void*) noexcept {
        return select_step<env>{static_cast<event*>(e)->set_.load(std::memory_order_relaxed), wait_result::ok, nullptr};
      },
      nullptr};
};

detail::select_entry detail::event_insight::set_case(event& e) noexcept { return {&ops::set, &e, nullptr}; }

}  // namespace v0
}  // namespace weft
