// SPDX-License-Identifier: Apache-2.0
// The children of a scope: admission, failure, the end.
//
// Invariants
//  1. `active_` counts the children that were admitted and have not left. A child leaves under the lock as its last act
//     here: the release of the lock is what lets `join`, and so the scope, go.
//  2. The first failure is recorded, and the siblings and the owner's waits are cancelled, before the failing child
//     leaves: the scope stands until then.
//  3. A fiber that waits for room is handed it: a leaving child counts the next one in on its behalf, so none
//     overtakes.
//  4. The first error is taken once: by `join`, by a wait of the owner (take_failure in cancel.cpp), or by the `join` of
//     the failed child's handle. One that nobody took ends the process with the scope.
//  5. From its first `join` on a scope fails no wait of its owner any more: `joined` in its frame.
// Lock order: see cancel.hpp.
#include <weft/detail/nursery.hpp>
#include <weft/detail/region.hpp>

#include <algorithm>
#include <mutex>
#include <string>

#include "runtime/base/fatal.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/scope/completion_access.hpp"
#include "runtime/scope/fiber_local.hpp"
#include "runtime/scope/nursery_access.hpp"
#include "runtime/scope/outcome.hpp"
#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

using namespace rt;

nursery::nursery(bool collect, std::size_t limit, error_handler on_error)
    : collect_(collect), limit_(limit), on_error_(std::move(on_error)), uncaught_(std::uncaught_exceptions()) {
  // A failing child must not allocate under the lock.
  if (collect_) collected_ = std::make_unique<std::exception_ptr[]>(most_errors);
  G* g = current_fiber();
  if (g == nullptr) return;
  owner_ = g;
  frame_.what = cancel_frame::kind::nursery;
  frame_.children = this;
  push_frame(g, frame_);
  // Opened in a region that is cancelled already: the cancellation will not come by again.
  if (cancelled_outside(g, frame_)) {
    spin_guard guard(lock_);
    cancelled_ = true;
  }
}

nursery::~nursery() {
  require_owner("destroyed");
  const bool unwinding = std::uncaught_exceptions() > uncaught_;
  if (unwinding) cancel();
  wait_for_children(false);
  if (owner_ != nullptr) pop_frame(static_cast<G*>(owner_), frame_);
  std::exception_ptr error;
  {
    spin_guard guard(lock_);
    if (!unwinding && error_is_open()) error = first_error_;
  }
  if (error != nullptr)
    fatal_uncaught(error, "of a scope's child; neither a join nor a wait of the scope's owner threw it");
  if (first_failed_ != nullptr) first_failed_->release();
}

void nursery::require_owner(const char* misuse) const noexcept {
  if (!orphaned_.load(std::memory_order_relaxed)) [[likely]]
    return;
  fatal((std::string("weft::scope: ") + misuse +
         " after the fiber that made it has ended; a scope is a local object: make it in a fiber that outlives its use")
            .c_str());
}

bool nursery::error_is_open() const noexcept {
  return first_error_ != nullptr && !error_taken_ &&
         (first_failed_ == nullptr || !completion_access::taken(*first_failed_));
}

std::exception_ptr nursery::take_error() noexcept {
  spin_guard guard(lock_);
  if (!error_is_open()) return nullptr;
  error_taken_ = true;
  return first_error_;
}

void nursery::admit() {
  require_owner("go or spawn was called");
  check_cancelled(current_g());
  lock_.lock();
  if (limit_ == 0 || (active_ < limit_ && admissions_.head == nullptr)) {
    ++active_;
    lock_.unlock();
    return;
  }
  waiter<env> w;
  throw_if_not_ok(wait_in_queue<env>(lock_, admissions_, w, {wait_reason::scope_limit, true, never}));
}

// Under the lock: one place became free; the next in line gets it, or it stays free.
static G* hand_place_on(wait_list& admissions, std::size_t& active) noexcept {
  if (waiter<env>* w = wait_queue<env>(admissions).pop_claimed()) {
    w->result = wait_result::ok;
    return w->g;
  }
  --active;
  return nullptr;
}

void nursery::take_back() noexcept {
  g_list woken;
  {
    spin_guard guard(lock_);
    if (G* next = hand_place_on(admissions_, active_)) woken.push_back(next);
    if (active_ == 0) wait_queue<env>(joiners_).pop_all(wait_result::ok, woken);
  }
  wake_all(woken);
}

void nursery::add_child(void* child) noexcept {
  auto* g = static_cast<G*>(child);
  g->home = this;
  spin_guard guard(lock_);
  if (cancelled_) {
    g->base_cancelled.store(true, std::memory_order_relaxed);  // nobody else knows the fiber yet
    g->cancel.store(1, std::memory_order_relaxed);
  }
  auto* first = static_cast<G*>(members_);
  g->sibling_prev = nullptr;
  g->sibling_next = first;
  if (first != nullptr) first->sibling_prev = g;
  members_ = g;
}

void nursery_access::leave(nursery& n, G* g, std::exception_ptr error) noexcept {
  if (error != nullptr) {
    if (n.on_error_) {
      std::lock_guard one_at_a_time(n.handler_lock_);
      const shield_region here;  // a wait in the handler must not throw out of here
      n.on_error_(error);
      end_locals(g);
    }
    bool first = false;  // of a scope that does not collect
    {
      spin_guard guard(n.lock_);
      ++n.error_count_;
      if (n.collect_) {
        if (n.error_count_ <= nursery::most_errors) n.collected_[n.error_count_ - 1] = error;
      } else if (n.first_error_ == nullptr) {
        first = true;
        n.first_error_ = error;
        n.first_failed_ = g->ended;
        if (g->ended != nullptr) g->ended->retain();
      }
    }
    if (first && n.orphaned_.load(std::memory_order_relaxed))
      fatal_uncaught(error, "of a child of a scope whose owner has ended");
    if (first) fail_nursery(n);
  }
  error = nullptr;
  g_list woken;
  {
    spin_guard guard(n.lock_);
    if (g->sibling_prev != nullptr)
      g->sibling_prev->sibling_next = g->sibling_next;
    else
      n.members_ = g->sibling_next;
    if (g->sibling_next != nullptr) g->sibling_next->sibling_prev = g->sibling_prev;
    if (G* next = hand_place_on(n.admissions_, n.active_)) woken.push_back(next);
    if (n.active_ == 0) wait_queue<env>(n.joiners_).pop_all(wait_result::ok, woken);
  }
  wake_all(woken);
}

bool nursery::wait_for_children(bool cancellable) noexcept {
  lock_.lock();
  if (active_ == 0) {
    lock_.unlock();
    return true;
  }
  waiter<env> w;
  return wait_in_queue<env>(lock_, joiners_, w, {wait_reason::scope_join, cancellable, never}) == wait_outcome::ok;
}

void nursery::join() {
  require_owner("join was called");
  G* const g = current_g();
  if (g == owner_) stop_failure(g, frame_);
  // What is left to cancel this wait comes from outside, and the scope's own error goes first.
  const bool all_have_ended = !cancel_pending_at_entry(g) && wait_for_children(true);
  if (std::exception_ptr error = take_error()) std::rethrow_exception(std::move(error));
  if (!all_have_ended) throw_cancelled();
  // A cancellation from outside may end the children, and so the wait, before it claims the wait. Silence would then
  // say "all done".
  if (is_cancelled()) check_cancelled(current_g());
}

void nursery::cancel() noexcept { cancel_nursery(*this); }

bool nursery::is_cancelled() const noexcept {
  spin_guard guard(lock_);
  return cancelled_;
}

std::size_t nursery::copy_errors(std::exception_ptr* to) const noexcept {
  spin_guard guard(lock_);
  if (!collect_) {
    to[0] = first_error_;
    return first_error_ != nullptr ? 1 : 0;
  }
  const std::size_t kept = std::min(error_count_, most_errors);
  std::copy_n(collected_.get(), kept, to);
  return kept;
}

std::size_t nursery::error_count() const noexcept {
  spin_guard guard(lock_);
  return error_count_;
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
