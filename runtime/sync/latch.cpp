// SPDX-License-Identifier: Apache-2.0
// latch: a lock, a count, and the list of waiters.
//
// Invariants, under the lock
//  1. A waiter can be claimed only while the count is above zero.
//  2. Destroy after wake: the call that brings it to zero empties the list under the lock, and its release is the last
//     access; every look at the count takes the lock, so no other call sees zero while that one is inside.
// Locked instructions: each call 1; the last `count_down` 2 more for each that it wakes.
#include <weft/latch.hpp>

#include <stdexcept>
#include <string>

#include "runtime/sched/ready.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/scope/outcome.hpp"
#include "runtime/sync/require_at_least.hpp"
#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

std::ptrdiff_t latch::refuse(const char* what, std::ptrdiff_t n) { throw_too_small(what, n, 0); }

[[noreturn]] static void throw_below_zero(std::ptrdiff_t n, std::ptrdiff_t left) {
  throw std::logic_error("weft: latch::count_down(" + std::to_string(n) + ") with a count of " + std::to_string(left) +
                         ": it cannot go below zero");
}

void latch::count_down(std::ptrdiff_t n) {
  require_at_least("latch::count_down", n, 0);
  lock_.lock();
  if (const std::ptrdiff_t left = left_; n > left) {
    lock_.unlock();
    throw_below_zero(n, left);
  }
  left_ -= n;
  g_list woken;
  if (left_ == 0) woken = wait_queue<env>(waiters_).pop_all(wait_result::ok);
  lock_.unlock();
  wake_all(woken);
}

bool latch::try_wait() const noexcept {
  detail::spin_guard guard(lock_);
  return left_ == 0;
}

void latch::wait() const {
  check_cancelled(current_g());
  lock_.lock();
  if (left_ == 0) {
    lock_.unlock();
    return;
  }
  waiter<env> w;
  throw_if_not_ok(wait_in_queue<env>(lock_, waiters_, w, {wait_reason::latch, true, never}));
}

void latch::arrive_and_wait(std::ptrdiff_t n) {
  require_at_least("latch::arrive_and_wait", n, 0);
  check_cancelled(current_g());
  lock_.lock();
  if (const std::ptrdiff_t left = left_; n > left) {
    lock_.unlock();
    throw_below_zero(n, left);
  }
  left_ -= n;
  if (left_ == 0) {
    const g_list woken = wait_queue<env>(waiters_).pop_all(wait_result::ok);
    lock_.unlock();
    wake_all(woken);
    return;
  }
  waiter<env> w;
  throw_if_not_ok(wait_in_queue<env>(lock_, waiters_, w, {wait_reason::latch, true, never}));
}

}  // namespace v0
}  // namespace weft
