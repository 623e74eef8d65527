// SPDX-License-Identifier: Apache-2.0
// The channel, without its element type: Go's hchan over the wait protocol.
//
//   core { lock, closed, count, head, capacity, receivers, senders } followed by `capacity` slots of raw storage
//
// Invariants, under the lock
//  1. At least one of `receivers` and `senders` holds no waiter that can still be claimed (a select may wait on both sides at once).
//  2. count > 0 means no receiver waits; count < capacity means no sender waits.
//  3. A value is in exactly one place: with its sender, in a slot of the ring, or with its receiver. It leaves a waiting sender, or
//     reaches a waiting receiver, only after that waiter's claim was won.
//  4. Under the lock elements are only move-constructed into raw storage and the emptied shells destroyed; no other user code runs.
//  5. A waker's last access to the channel is the release of the lock.
//
// `Env` as in runtime/wait/waiter.hpp. Locked instructions: an operation that need not wait takes the lock, 1; one that
// meets a waiter also claims, 1, and wakes, 1. The unlock is a plain store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <weft/detail/chan_core.hpp>

#include "runtime/wait/wait.hpp"

namespace weft::inline v0::rt {

template <class Env>
class basic_chan {
 public:
  using node = waiter<Env>;

  basic_chan(const detail::element_ops& ops, std::size_t capacity, void* slots) noexcept
      : ops_(ops), capacity_(capacity), slots_(static_cast<std::byte*>(slots)) {}
  basic_chan(const basic_chan&) = delete;
  basic_chan& operator=(const basic_chan&) = delete;

  /// Moves `*value` in: to a waiting receiver, or into the ring. The rest of `send` when it cannot is the wait.
  wait_outcome send(void* value, const wait_request& how) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    lock_.lock();
    if (closed_) {
      lock_.unlock();
      return wait_outcome::closed;
    }
    if (send_now(value)) return wait_outcome::ok;
    node w;
    w.slot = value;
    return wait_in_queue<Env>(lock_, senders_, w, how);
  }

  /// Moves a value into raw storage `slot`. `closed`: drained, nothing was constructed.
  wait_outcome receive(void* slot, const wait_request& how) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    lock_.lock();
    if (receive_now(slot)) return wait_outcome::ok;
    if (closed_) {
      lock_.unlock();
      return wait_outcome::closed;
    }
    node w;
    w.slot = slot;
    return wait_in_queue<Env>(lock_, receivers_, w, how);
  }

  chan_status try_send(void* value) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    lock_.lock();
    if (closed_) {
      lock_.unlock();
      return chan_status::closed;
    }
    if (send_now(value)) return chan_status::ok;
    lock_.unlock();
    return chan_status::full;
  }

  chan_status try_receive(void* slot) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    lock_.lock();
    if (receive_now(slot)) return chan_status::ok;
    const bool closed = closed_;
    lock_.unlock();
    return closed ? chan_status::closed : chan_status::empty;
  }

  /// False: it was closed before. Wakes everybody: receivers in the order they came, then senders.
  bool close() noexcept {
    typename Env::batch woken;
    {
      lock_.lock();
      if (closed_) {
        lock_.unlock();
        return false;
      }
      closed_ = true;
      for (detail::wait_list* side : {&receivers_, &senders_}) {
        wait_queue<Env> queue(*side);
        while (node* w = queue.pop_claimed()) {
          w->result = wait_result::closed;
          woken.push_back(w->g);
        }
      }
      lock_.unlock();
    }
    Env::wake_all(woken);
    return true;
  }

  /// Destroys what the ring still holds, in place; for the last handle, when nobody can come any more: no lock, it is
  /// user code.
  void destroy_rest() noexcept {
    if (ops_.destroy == nullptr) return;
    for (; count_ > 0; --count_) {
      ops_.destroy(slot(head_));
      head_ = head_ + 1 == capacity_ ? 0 : head_ + 1;
    }
  }

  std::size_t size() noexcept {
    lock_.lock();
    const std::size_t n = count_;
    lock_.unlock();
    return n;
  }
  std::size_t capacity() const noexcept { return capacity_; }

 private:
  void relocate(void* to, void* from) noexcept {
    if (ops_.move == nullptr) {
      std::memcpy(to, from, ops_.size);
      return;
    }
    ops_.move(to, from);
    ops_.destroy(from);
  }
  /// From a sender's own object, which stays his.
  void move(void* to, void* from) noexcept {
    if (ops_.move == nullptr)
      std::memcpy(to, from, ops_.size);
    else
      ops_.move(to, from);
  }
  std::byte* slot(std::size_t i) noexcept { return slots_ + i * ops_.size; }
  void pop_ring(void* to) noexcept {
    relocate(to, slot(head_));
    head_ = head_ + 1 == capacity_ ? 0 : head_ + 1;
    --count_;
  }
  void push_ring(void* from) noexcept {
    const std::size_t at = head_ + count_;
    move(slot(at >= capacity_ ? at - capacity_ : at), from);
    ++count_;
  }

  // Under the lock. True: done, and the lock is free.
  bool send_now(void* value) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    if (node* w = wait_queue<Env>(receivers_).pop_claimed()) {
      move(w->slot, value);
      w->result = wait_result::ok;
      auto* const g = static_cast<typename Env::fiber*>(w->g);
      lock_.unlock();
      Env::wake(g);
      return true;
    }
    if (count_ == capacity_) return false;
    push_ring(value);
    lock_.unlock();
    return true;
  }

  bool receive_now(void* to) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    if (count_ > 0) {
      node* const w = wait_queue<Env>(senders_).pop_claimed();
      pop_ring(to);
      if (w == nullptr) {
        lock_.unlock();
        return true;
      }
      push_ring(w->slot);
      finish_sender(w);
      return true;
    }
    node* const w = wait_queue<Env>(senders_).pop_claimed();
    if (w == nullptr) return false;
    move(to, w->slot);
    finish_sender(w);
    return true;
  }

  void finish_sender(node* w) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    w->result = wait_result::ok;
    auto* const g = static_cast<typename Env::fiber*>(w->g);
    lock_.unlock();
    Env::wake(g);
  }

  typename Env::lock lock_;
  bool closed_ = false;
  const detail::element_ops& ops_;
  const std::size_t capacity_;
  std::byte* const slots_;
  std::size_t head_ = 0;
  std::size_t count_ = 0;
  detail::wait_list receivers_;
  detail::wait_list senders_;
};

}  // namespace weft::inline v0::rt
