// SPDX-License-Identifier: Apache-2.0
// Joining a fiber.
//
// Invariants
//  1. `error_` and `cancelled_` are written once, by the fiber, before the release store of `done_`; readers come after
//     its acquire, and the joiner takes the error away.
//  2. The fiber holds a reference until `finish` has woken everybody, so a joiner that destroys the handle destroys
//     nothing under it.
//  3. A joiner is in `joiners_` only while `done_` is false under the lock.
#include <weft/error.hpp>

#include <utility>

#include "runtime/base/fatal.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/scope/completion_access.hpp"
#include "runtime/scope/outcome.hpp"
#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

using namespace rt;

completion::~completion() = default;

void completion::release() noexcept {
  // Releases what the caller did, acquires what the others did.
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

void completion_access::finish(completion& c, std::exception_ptr error, bool was_cancelled) noexcept {
  g_list woken;
  bool nobody_will_ask = false;
  {
    spin_guard guard(c.lock_);
    c.error_ = std::move(error);
    c.cancelled_ = was_cancelled;
    c.done_.store(true, std::memory_order_release);
    nobody_will_ask = c.detached_ && c.error_ != nullptr && !c.in_scope_;
    woken = wait_queue<env>(c.joiners_).pop_all(wait_result::ok);
  }
  if (nobody_will_ask) fatal_uncaught(c.error_, "of a detached fiber");
  wake_all(woken);
  c.release();
}

// The caller holds the lock, which is free on return.
static wait_outcome wait_locked(spin_lock& lock, wait_list& joiners, const wait_request& how) noexcept
    WEFT_RELEASE(lock) {
  waiter<env> w;
  return wait_in_queue<env>(lock, joiners, w, how);
}

void completion::wait() {
  G* g = current_g();
  check_cancelled(g);
  if (done()) return;
  lock_.lock();
  if (done()) {
    lock_.unlock();
    return;
  }
  throw_if_not_ok(wait_locked(lock_, joiners_, {wait_reason::join, true, never}));
}

bool completion::wait_for(any_duration at_most) {
  check_cancelled(current_g());
  if (done()) return true;
  if (at_most.ns() <= 0) return false;
  lock_.lock();
  if (done()) {
    lock_.unlock();
    return true;
  }
  const wait_outcome how =
      wait_locked(lock_, joiners_, {wait_reason::join, true, saturating_add(steady_now(), at_most.ns())});
  if (how == wait_outcome::timed_out) return done();
  throw_if_not_ok(how);
  return true;
}

constexpr select_ops<env> completion_access::end_case{
    [](void* c) noexcept { return static_cast<completion*>(c)->done(); },
    [](void* c) noexcept -> spin_lock& { return static_cast<completion*>(c)->lock_; },
    [](void* c) noexcept -> select_place<env> {
      auto& it = *static_cast<completion*>(c);
      return {&it.lock_, &it.joiners_};
    },
    [](void* c, spin_lock*, void*) noexcept {
      return select_step<env>{static_cast<completion*>(c)->done(), wait_result::ok, nullptr};
    },
    nullptr};

select_entry completion::end_case() noexcept { return {&completion_access::end_case, this, nullptr}; }

void completion::take_error() {
  if (error_ != nullptr) {
    // Pairs with the acquire in `taken`: the scope does not throw it again.
    taken_.store(true, std::memory_order_release);
    // The joiner's alone: the last to let go of `this` drops nothing of it.
    std::rethrow_exception(std::move(error_));
  }
  if (!cancelled_) return;
  if (in_scope_) check_cancelled(current_g());  // where the scope's failure cancelled it, the scope's error says why
  throw fiber_cancelled("the joined fiber was cancelled");
}

void completion::cancel() noexcept { cancel_fiber(static_cast<G*>(g_), id_); }

void completion::detach() noexcept {
  bool fatal = false;
  {
    spin_guard guard(lock_);
    detached_ = true;
    fatal = done_.load(std::memory_order_relaxed) && error_ != nullptr && !in_scope_;
  }
  if (fatal) fatal_uncaught(error_, "of a fiber that was detached after it had failed");
}

void completion::abandon() noexcept {
  const bool ended_before = done();
  if (!ended_before) {
    cancel();
    lock_.lock();
    if (done())
      lock_.unlock();
    else
      wait_locked(lock_, joiners_, {wait_reason::join, false, never});
  }
  if (ended_before && error_ != nullptr && !in_scope_ && std::uncaught_exceptions() == 0)
    fatal_uncaught(error_, "of a fiber that nobody joined");
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
