// SPDX-License-Identifier: Apache-2.0
// What a waiting fiber leaves in a queue, and the queue.
//
//   fiber's stack                     object (channel, mutex, ...)
//   +-----------------+               +-----------------+
//   | waiter          |<------------->| wait_list       |   guarded by the object's lock: links, `linked`, `result`
//   |  g, token, slot |               +-----------------+
//   +-----------------+
//
// Invariants
//  1. `linked` and the links change only under the lock of the object whose queue it is.
//  2. A waker looks at a waiter only under that lock, until it has won the claim: the frame cannot die before its fiber
//     has taken the same lock and found `linked` false. Therefore a resumed fiber always locks every queue that it was
//     not woken through, and never peeks at `linked` without.
//  3. Claim first, move the value second. A lost claim means: take the next waiter.
//
// `Env` is the world that the protocol runs in: the scheduler in production (runtime/wait/env.hpp), the model checker
// in tests/model. `Env::var<T>` is plain T there and a race-checked variable here.
#pragma once

#include <cstddef>
#include <cstdint>

#include <weft/detail/wait_list.hpp>

#include "runtime/base/atomics.hpp"
#include "runtime/sched/wait_word.hpp"

namespace weft::rt {

/// How a wait ended, as its waker wrote it into the waiter. `none`: no waker took it from the queue (a time-out, a
/// cancellation).
enum class wait_result : std::uint8_t { none, ok, closed };

template <class Env>
struct waiter {
  using fiber = typename Env::fiber;
  using token = typename wait_word<typename Env::atomics>::token;

  waiter() noexcept = default;
  waiter(const waiter&) = delete;
  waiter& operator=(const waiter&) = delete;

  typename Env::template var<fiber*> g{nullptr};
  typename Env::template var<token> wait_token{0};
  typename Env::template var<void*> slot{nullptr};  ///< where the value goes to, or comes from
  waiter* next = nullptr;
  waiter* prev = nullptr;
  typename Env::template var<std::size_t> amount{0};  ///< how much is asked for (semaphore), or which case (select)
  typename Env::template var<wait_result> result{wait_result::none};
  bool linked = false;
  bool sole = false;  ///< in one queue, no timer, not cancellable: the claim needs no compare-and-swap

  /// Under the queue's lock.
  bool claim() noexcept {
    fiber* owner = g;
    if (sole) {
      owner->wait.claim_sole(wait_token);
      return true;
    }
    return owner->wait.claim(wait_token);
  }
};

/// The operations on a wait_list; all under the object's lock.
template <class Env>
class wait_queue {
 public:
  using node = waiter<Env>;

  explicit wait_queue(detail::wait_list& list) noexcept : list_(list) {}

  bool empty() const noexcept { return list_.head == nullptr; }
  node* front() const noexcept { return static_cast<node*>(list_.head); }

  void push_back(node* w) noexcept {
    w->prev = static_cast<node*>(list_.tail);
    w->next = nullptr;
    if (w->prev != nullptr)
      w->prev->next = w;
    else
      set_head(w);
    list_.tail = w;
    w->linked = true;
  }

  void push_front(node* w) noexcept {
    w->next = front();
    w->prev = nullptr;
    if (w->next != nullptr)
      w->next->prev = w;
    else
      list_.tail = w;
    set_head(w);
    w->linked = true;
  }

  void remove(node* w) noexcept {
    if (w->prev != nullptr)
      w->prev->next = w->next;
    else
      set_head(w->next);
    if (w->next != nullptr)
      w->next->prev = w->prev;
    else
      list_.tail = w->prev;
    w->linked = false;
  }

  /// Takes waiters off the front until one is claimed. Returns nullptr if none is left. Waiters whose claim was lost
  /// are popped all the same: their fiber is on its way and will find itself unlinked.
  node* pop_claimed() noexcept {
    int popped = 0;
    return pop_claimed(popped);
  }
  /// The same, adding up how many were popped.
  node* pop_claimed(int& popped) noexcept {
    while (node* w = front()) {
      remove(w);
      ++popped;
      if (w->claim()) return w;
    }
    return nullptr;
  }
  /// Takes all waiters off, and appends the fibers of those that were claimed to `woken`, in order. Their result is
  /// `how`; the caller wakes them after the unlock.
  void pop_all(wait_result how, typename Env::batch& woken) noexcept {
    while (node* w = pop_claimed()) {
      w->result = how;
      woken.push_back(w->g);
    }
  }
  /// The same, with a batch of their own.
  typename Env::batch pop_all(wait_result how) noexcept {
    typename Env::batch woken;
    pop_all(how, woken);
    return woken;
  }

 private:
  // Channels also look without the lock whether a fiber waits, so the store is an atomic one, at no price.
  void set_head(node* w) noexcept { atomic_ref<void*>(list_.head).store(w, std::memory_order_relaxed); }

  detail::wait_list& list_;
};

}  // namespace weft::rt
