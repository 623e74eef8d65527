// SPDX-License-Identifier: Apache-2.0
// barrier: a lock, the phase, how many are expected in the next one and still missing in this one, and the list of the
// waiters for its end.
//
// Invariants, under the lock
//  1. Each waiter in the list waits for the end of the present phase: earlier ones are over, later ones have no
//     arrivals.
//  2. No arrival is missing only while the last to arrive runs the completion function, with the lock free.
//  3. Destroy after wake: the release of the lock is the last access of `complete`; an arrival that waits does so in
//     the step in which it arrives.
// Locked instructions: an arrival 1, the end of a phase 1, and 2 more for each that it wakes.
#include <weft/barrier.hpp>

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
namespace detail {

using namespace rt;

std::ptrdiff_t barrier_core::refuse(const char* what, std::ptrdiff_t n) { throw_too_small(what, n, 0); }

[[noreturn]] static void throw_too_many(std::ptrdiff_t n, std::ptrdiff_t left) {
  throw std::logic_error("weft: barrier: " + std::to_string(n) + " arrivals where " + std::to_string(left) +
                         " are expected in this phase");
}

// Returns true if that was the last one. If there are fewer, it frees the lock and throws.
bool barrier_core::take(std::ptrdiff_t n) {
  if (const std::ptrdiff_t left = left_; n > left) {
    lock_.unlock();
    throw_too_many(n, left);
  }
  left_ -= n;
  return left_ == 0;
}

barrier_core::arrival barrier_core::arrive(std::ptrdiff_t n, bool drop) {
  require_at_least("barrier::arrive", n, 1);
  lock_.lock();
  const bool last = take(n);
  if (drop) expected_ -= n;
  const arrival mine{phase_, last};
  lock_.unlock();
  return mine;
}

bool barrier_core::arrive_and_wait() {
  rt::check_cancelled(current_g());
  lock_.lock();
  if (take(1)) {
    lock_.unlock();
    return true;
  }
  waiter<env> w;
  throw_if_not_ok(wait_in_queue<env>(lock_, waiters_, w, {wait_reason::barrier, true, never}));
  return false;
}

void barrier_core::complete() noexcept {
  g_list woken;
  {
    spin_guard guard(lock_);
    ++phase_;
    left_ = expected_;
    woken = wait_queue<env>(waiters_).pop_all(wait_result::ok);
  }
  wake_all(woken);
}

void barrier_core::wait(std::uint64_t phase) {
  rt::check_cancelled(current_g());
  lock_.lock();
  if (phase_ != phase) {
    lock_.unlock();
    return;
  }
  waiter<env> w;
  throw_if_not_ok(wait_in_queue<env>(lock_, waiters_, w, {wait_reason::barrier, true, never}));
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
