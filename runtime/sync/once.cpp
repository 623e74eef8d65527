// SPDX-License-Identifier: Apache-2.0
// once_flag: a lock, whether it is done, whether a call is running, and the list of the fibers that wait for it.
//
// Invariants, under the lock
//  1. A waiter can be claimed only while a call is running.
//  2. A call that failed lets one waiter go, which then tries itself; one that is done lets all go, which do not touch
//     the flag again.
//  3. Destroy after wake: the release of the lock is the last access of `end`, and the fast path takes a flag for done
//     only while the lock is free.
// Locked instructions: none once it is done.
#include <weft/once.hpp>

#include "runtime/sched/ready.hpp"
#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

bool once_flag::begin() noexcept {
  for (;;) {
    lock_.lock();
    const bool done = done_.load(std::memory_order_relaxed);  // written under the lock
    if (done || !running_) {
      if (!done) running_ = true;
      lock_.unlock();
      return !done;
    }
    waiter<env> w;
    if (wait_in_queue<env>(lock_, waiters_, w, {wait_reason::call_once, false, never}) == wait_outcome::ok)
      return false;
  }
}

void once_flag::end(bool done) noexcept {
  g_list woken;
  {
    detail::spin_guard guard(lock_);
    running_ = false;
    wait_queue<env> queue(waiters_);
    if (done) {
      done_.store(true, std::memory_order_release);
      woken = queue.pop_all(wait_result::ok);
    } else if (waiter<env>* next = queue.pop_claimed()) {
      next->result = wait_result::closed;
      woken.push_back(next->g);
    }
  }
  wake_all(woken);
}

}  // namespace v0
}  // namespace weft
