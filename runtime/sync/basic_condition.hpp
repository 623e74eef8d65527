// SPDX-License-Identifier: Apache-2.0
// condition_variable: a lock and the list of waiters.
//
// A waiter is linked and armed before it lets the mutex go, and never touches the object again once it was notified: so
// no notification is missed, they are FIFO in the order in which the mutex was given up, and a fiber that was notified
// may destroy the object though others are still on their way to sleep.
//
// Invariants
//  1. A notification goes to one whose claim was won, and that one does not throw: a lost claim means the next waiter.
//  2. A notifier's last access to the object is the release of the lock.
//  3. The mutex is let go with the lock free: its unlock may wake somebody, which may be a system call.
// Lock order: none; the lock and the mutex are never held together by a waiter, and a notifier needs no mutex.
// `Env` as in runtime/wait/waiter.hpp. Locked instructions: a wait 1 and the mutex's own, a notification 1, and 2 more
// for each that it wakes.
#pragma once

#include "runtime/wait/wait.hpp"

namespace weft::rt {

/// The operations, over the members of a condition_variable.
template <class Env>
class basic_condition {
 public:
  using node = waiter<Env>;

  basic_condition(typename Env::lock& lock, detail::wait_list& waiters) noexcept : lock_(lock), waiters_(waiters) {}

  /// Has the mutex again on return, however the wait ended.
  template <class Mutex>
  wait_outcome wait(Mutex& held, const wait_request& how) noexcept {
    node mine;
    bool let_go = false;
    lock_.lock();
    const wait_outcome outcome =
        wait_holding<Env>(lock_, lock_ref<typename Env::lock>{&lock_}, waiters_, mine, how, [&]() noexcept {
          let_go = true;
          held.unlock();
        });
    if (let_go) held.lock();
    return outcome;
  }

  void notify_one() noexcept {
    lock_.lock();
    node* const first = wait_queue<Env>(waiters_).pop_claimed();
    if (first == nullptr) {
      lock_.unlock();
      return;
    }
    first->result = wait_result::ok;
    auto* const g = static_cast<typename Env::fiber*>(first->g);
    lock_.unlock();
    Env::wake(g);
  }

  void notify_all() noexcept {
    lock_.lock();
    const typename Env::batch woken = wait_queue<Env>(waiters_).pop_all(wait_result::ok);
    lock_.unlock();
    Env::wake_all(woken);
  }

 private:
  typename Env::lock& lock_;
  detail::wait_list& waiters_;
};

}  // namespace weft::rt
