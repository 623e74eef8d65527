// SPDX-License-Identifier: Apache-2.0
// event: a lock, whether it is set, and the list of those who wait.
//
// Invariants, under the lock
//  1. While it is set nobody waits who can be claimed.
//  2. Destroy after wake: `set` empties the list under the lock, and its release is the last access; every look at the
//     state takes the lock.
// Locked instructions: each call 1; `set` 2 more for each that it wakes.
#include <weft/event.hpp>

#include "runtime/scope/cancel.hpp"
#include "runtime/wait/outcome.hpp"

namespace weft::inline v0 {

using namespace rt;

void event::set() noexcept {
  g_list woken;
  {
    detail::spin_guard guard(lock_);
    set_ = true;
    woken = wait_queue<env>(waiters_).pop_all(wait_result::ok);
  }
  wake_all(woken);
}

void event::reset() noexcept {
  detail::spin_guard guard(lock_);
  set_ = false;
}

bool event::is_set() const noexcept {
  detail::spin_guard guard(lock_);
  return set_;
}

bool event::wait_ns(std::int64_t patience) WEFT_NO_THREAD_SAFETY_ANALYSIS {
  check_cancelled(current_g());
  lock_.lock();
  if (set_ || patience <= 0) {
    const bool was_set = set_;
    lock_.unlock();
    return was_set;
  }
  waiter<env> w;
  const wait_outcome how = wait_in_queue<env>(lock_, waiters_, w, {wait_reason::event, true, deadline_in(patience)});
  if (how == wait_outcome::timed_out) return false;
  throw_if_not_ok(how);
  return true;
}

}  // namespace weft::inline v0
