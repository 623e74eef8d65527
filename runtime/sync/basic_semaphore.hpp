// SPDX-License-Identifier: Apache-2.0
// semaphore: a lock, a number of free permits, and the list of waiters; a waiter's `amount` is what it asks for.
//
// Invariants, under the lock
//  1. The first in the list asks for more than is free, or cannot be claimed any more and is about to leave.
//  2. Permits go to a waiter only after its claim was won.
//  3. A waiter that leaves the list without permits (cancelled, timed out) runs `grant` in the same step: the ones
//     behind may ask for less.
//  4. A waker's last access to the object is the release of the lock.
//
// `Env` as in runtime/wait/waiter.hpp. Locked instructions: acquire 1, release 1, and 2 more for each that it wakes.
#pragma once

#include <cstddef>

#include "runtime/wait/wait.hpp"

namespace weft::rt {

/// The operations, over the members of a semaphore.
template <class Env>
class basic_semaphore {
 public:
  using node = waiter<Env>;
  using number = typename Env::template var<std::ptrdiff_t>;

  basic_semaphore(typename Env::lock& lock, number& free, detail::wait_list& waiters) noexcept
      : lock_(lock), free_(free), waiters_(waiters) {}

  wait_outcome acquire(std::ptrdiff_t n, const wait_request& how) noexcept {
    lock_.lock();
    if (take(n)) {
      lock_.unlock();
      return wait_outcome::ok;
    }
    node mine;
    mine.amount = static_cast<std::size_t>(n);
    return wait_holding<Env>(lock_, queue_ref{*this}, waiters_, mine, how);
  }

  bool try_acquire(std::ptrdiff_t n) noexcept {
    lock_.lock();
    const bool taken = take(n);
    lock_.unlock();
    return taken;
  }

  /// Returns false if the sum would be more than there is a number for.
  bool release(std::ptrdiff_t n) noexcept {
    lock_.lock();
    std::ptrdiff_t sum = free_;
    if (__builtin_add_overflow(sum, n, &sum)) {
      lock_.unlock();
      return false;
    }
    free_ = sum;
    const typename Env::batch woken = grant();
    lock_.unlock();
    Env::wake_all(woken);
    return true;
  }

 private:
  bool take(std::ptrdiff_t n) noexcept {
    if (free_ < n || !wait_queue<Env>(waiters_).empty()) return false;
    free_ = free_ - n;
    return true;
  }

  typename Env::batch grant() noexcept {
    typename Env::batch woken;
    wait_queue<Env> queue(waiters_);
    while (node* first = queue.front()) {
      const auto wanted = static_cast<std::ptrdiff_t>(std::size_t{first->amount});
      if (free_ < wanted) break;
      queue.remove(first);
      if (!first->claim()) continue;
      free_ = free_ - wanted;
      first->result = wait_result::ok;
      woken.push_back(first->g);
    }
    return woken;
  }

  struct queue_ref {
    basic_semaphore it;

    void lock() noexcept WEFT_ACQUIRE(it.lock_) { it.lock_.lock(); }
    void unlock(int grown_by) noexcept WEFT_RELEASE(it.lock_) {
      if (grown_by >= 0) {
        it.lock_.unlock();
        return;
      }
      const typename Env::batch woken = it.grant();
      it.lock_.unlock();
      Env::wake_all(woken);
    }
  };

  typename Env::lock& lock_;
  number& free_;
  detail::wait_list& waiters_;
};

}  // namespace weft::rt
