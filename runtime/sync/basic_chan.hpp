// SPDX-License-Identifier: Apache-2.0
// The channel, without its element type: Go's hchan over the wait protocol.
//
//   core { lock, state, count, head, capacity, receivers, senders } followed by `capacity` slots of raw storage
//
// Invariants, under the lock
//  1. At least one of `receivers` and `senders` holds no waiter that can still be claimed (a select may wait on both
//     sides at once).
//  2. count > 0 means no receiver waits; count < capacity means no sender waits.
//  3. A value is in exactly one place: with its sender, in a slot of the ring, or with its receiver. It leaves a
//     waiting sender, or reaches a waiting receiver, only after that waiter's claim was won.
//  4. Under the lock elements are only move-constructed into raw storage and the emptied shells destroyed; no other
//     user code runs.
//  5. A waker's last access to the channel is the release of the lock.
//
// Stripes. A channel that nobody sends to and everybody selects on, to hear of its end, would have all of them take one
// lock twice for each select. Once such waits were seen to contend, the receivers that select wait in one of several
// queues with a lock of its own:
//   - while it is striped nothing was ever sent, so the only thing that can make it ready is the close, which takes all
//     locks;
//   - a sender ends that for good, before it does anything else: it takes all locks, and moves the waiters into the
//     one queue, in the order of the times at which they came.
//   Lock order: as everywhere by address, the channel's own lock and the stripes' alike.
//
// Looks without the lock (`may_send`, `may_receive`): false means that at some moment of the call there was nothing to
// do. They read one of `count` and the head of a list, and then `state`: as a channel is never opened again, it was
// open also at the first read (hence its acquire). All three are written under the lock, by relaxed atomic stores,
// which cost what plain ones do.
//
// `Env` as in runtime/wait/waiter.hpp. Locked instructions: an operation that need not wait takes the lock, 1; one that
// meets a waiter also claims, 1, and wakes, 1. The unlock is a plain store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <new>
#include <utility>

#include <weft/detail/chan_core.hpp>

#include "runtime/base/atomics.hpp"
#include "runtime/base/user_code.hpp"
#include "runtime/wait/basic_select.hpp"
#include "runtime/wait/wait.hpp"

namespace weft::rt {

template <class Env>
class basic_chan {
 public:
  using node = waiter<Env>;
  using step = select_step<Env>;

  basic_chan(const detail::element_ops& ops, std::size_t capacity, void* slots) noexcept
      : ops_(ops), capacity_(capacity), slots_(static_cast<std::byte*>(slots)) {}
  ~basic_chan() { delete[] stripes_; }
  basic_chan(const basic_chan&) = delete;
  basic_chan& operator=(const basic_chan&) = delete;

  /// Moves `*value` in: to a waiting receiver, or into the ring. The rest of `send` when it cannot is the wait.
  wait_outcome send(void* value, const wait_request& how) noexcept {
    if (!lock_and_gather()) return wait_outcome::closed;
    if (const step did = send_now(value); did.done) {
      finish(did);
      return wait_outcome::ok;
    }
    node w;
    w.slot = value;
    return wait_in_queue<Env>(lock_, senders_, w, how);
  }

  /// Moves a value into raw storage `slot`. `closed`: drained, nothing was constructed.
  wait_outcome receive(void* slot, const wait_request& how) noexcept {
    lock_.lock();
    if (const step did = receive_now(slot); did.done) {
      finish(did);
      return wait_outcome::ok;
    }
    if (closed()) {
      lock_.unlock();
      return wait_outcome::closed;
    }
    node w;
    w.slot = slot;
    if (striped()) w.amount = static_cast<std::size_t>(Env::now());
    return wait_in_queue<Env>(lock_, receivers_, w, how);
  }

  chan_status try_send(void* value) noexcept {
    if (!may_send()) return chan_status::full;
    if (!lock_and_gather()) return chan_status::closed;
    const step did = send_now(value);
    finish(did);
    return did.done ? chan_status::ok : chan_status::full;
  }

  chan_status try_receive(void* slot) noexcept {
    if (!may_receive()) return chan_status::empty;
    lock_.lock();
    const step did = receive_now(slot);
    const bool was_closed = closed();
    finish(did);
    if (did.done) return chan_status::ok;
    return was_closed ? chan_status::closed : chan_status::empty;
  }

  /// Returns false if it was closed before. Wakes all waiters: receivers in the order they came, then senders.
  bool close() noexcept {
    if (!lock_and_gather()) return false;
    set_state(closed_bit);
    typename Env::batch woken;
    wait_queue<Env>(receivers_).pop_all(wait_result::closed, woken);
    wait_queue<Env>(senders_).pop_all(wait_result::closed, woken);
    lock_.unlock();
    Env::wake_all(woken);
    return true;
  }

  /// Destroys what the ring still holds, in place; for the last handle, when nobody can come any more: no lock, it is
  /// user code.
  void destroy_rest() noexcept {
    if (ops_.destroy == nullptr) return;
    for (; count_ > 0; publish(count_, count_ - 1)) {
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

 protected:  // for a channel that something of its own feeds (timer_chan.hpp)
  template <class T>
  static void publish(T& to, T value) noexcept {
    atomic_ref<T>(to).store(value, std::memory_order_relaxed);
  }
  template <class T>
  static T look(const T& at, std::memory_order order) noexcept {
    return atomic_ref<T>(const_cast<T&>(at)).load(order);
  }
  bool may_receive() const noexcept {
    const bool empty = capacity_ != 0 ? look(count_, std::memory_order_acquire) == 0
                                      : look(senders_.head, std::memory_order_acquire) == nullptr;
    return !empty || (look(state_, std::memory_order_relaxed) & closed_bit) != 0;
  }
  bool may_send() const noexcept {
    const bool full = capacity_ != 0 ? look(count_, std::memory_order_acquire) == capacity_
                                     : look(receivers_.head, std::memory_order_acquire) == nullptr;
    return !full || look(state_, std::memory_order_relaxed) != 0;
  }

  void relocate(void* to, void* from) noexcept {
    if (ops_.move == nullptr) {
      std::memcpy(to, from, ops_.size);
      return;
    }
    const user_code_under here(&lock_);
    ops_.move(to, from);
    ops_.destroy(from);
  }
  /// From a sender's own object, which it keeps.
  void move(void* to, void* from) noexcept {
    if (ops_.move == nullptr) {
      std::memcpy(to, from, ops_.size);
      return;
    }
    const user_code_under here(&lock_);
    ops_.move(to, from);
  }
  std::byte* slot(std::size_t i) noexcept { return slots_ + i * ops_.size; }
  void pop_ring(void* to) noexcept {
    relocate(to, slot(head_));
    head_ = head_ + 1 == capacity_ ? 0 : head_ + 1;
    publish(count_, count_ - 1);
  }
  void push_ring(void* from) noexcept {
    const std::size_t at = head_ + count_;
    move(slot(at >= capacity_ ? at - capacity_ : at), from);
    publish(count_, count_ + 1);
  }

  // Under the lock: does its part, if there is something to do. The caller wakes `woken` once the lock is free.
  step send_now(void* value) noexcept {
    if (node* const w = wait_queue<Env>(receivers_).pop_claimed()) {
      move(w->slot, value);
      return served(w);
    }
    if (count_ == capacity_) return {};
    push_ring(value);
    return {true, wait_result::ok, nullptr};
  }

  step receive_now(void* to) noexcept {
    if (count_ > 0) {
      node* const w = wait_queue<Env>(senders_).pop_claimed();
      pop_ring(to);
      if (w == nullptr) return {true, wait_result::ok, nullptr};
      push_ring(w->slot);
      return served(w);
    }
    node* const w = wait_queue<Env>(senders_).pop_claimed();
    if (w == nullptr) return {};
    move(to, w->slot);
    return served(w);
  }

  static step served(node* w) noexcept {
    w->result = wait_result::ok;
    return {true, wait_result::ok, w->g};
  }

  // The frame of the waiter that was served may be gone once the lock is free.
  void finish(const step& did) noexcept WEFT_RELEASE(lock_) {
    lock_.unlock();
    if (did.woken != nullptr) Env::wake(did.woken);
  }

  static constexpr std::uint8_t closed_bit = 1, striped_bit = 2;

  bool closed() const noexcept { return (state_ & closed_bit) != 0; }
  bool striped() const noexcept { return (state_ & striped_bit) != 0; }
  // Release: a thread that sees it striped sees the stripes.
  void set_state(std::uint8_t to) noexcept { atomic_ref<std::uint8_t>(state_).store(to, std::memory_order_release); }

  // Called by what may make it ready. Returns false, with the lock free, if it is closed.
  bool lock_and_gather() noexcept WEFT_TRY_ACQUIRE(true, lock_) {
    lock_.lock();
    sent_ = true;
    if (state_ == 0) [[likely]]
      return true;
    if (striped()) {
      lock_.unlock();
      gather();
      lock_.lock();
    }
    if (!closed()) return true;
    lock_.unlock();
    return false;
  }

  // --- stripes ---

  struct alignas(64) stripe {
    typename Env::lock lock;
    detail::wait_list receivers;
  };
  static constexpr std::uint8_t contended_enough = 16;

  /// A select's wait had to wait for the lock.
  void note_contention() noexcept {
    lock_.lock();
    const bool would_help = !sent_ && capacity_ == 0 && state_ == 0 && stripes_ == nullptr;
    const bool enough = would_help && ++contended_ == contended_enough;
    lock_.unlock();
    if (enough) split();
  }

 public:
  /// Gives the receivers that select several queues, if nothing was ever sent.
  void split() noexcept {
    auto* const made = new (std::nothrow) stripe[Env::stripes];  // not under the lock
    if (made == nullptr) return;
    lock_.lock();
    const bool install = !sent_ && capacity_ == 0 && state_ == 0 && stripes_ == nullptr;
    if (install) {
      atomic_ref<stripe*>(stripes_).store(made, std::memory_order_release);
      set_state(striped_bit);
    }
    lock_.unlock();
    if (!install) delete[] made;
  }

 private:
  /// Moves all waiters into the one queue, in the order in which they came. The caller holds no lock. From here on the
  /// channel is never striped again. Not analysed: an array of locks.
  void gather() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    stripe* const all = look(stripes_, std::memory_order_acquire);
    const bool own_first = std::less<const void*>()(&lock_, all);
    if (own_first) lock_.lock();
    for (unsigned i = 0; i < Env::stripes; ++i) all[i].lock.lock();
    if (!own_first) lock_.lock();
    sent_ = true;
    if (striped()) {
      set_state(static_cast<std::uint8_t>(state_ & ~striped_bit));
      merge(all);
    }
    for (unsigned i = 0; i < Env::stripes; ++i) all[i].lock.unlock();
    lock_.unlock();
  }

  void merge(stripe* all) noexcept {
    detail::wait_list before = std::exchange(receivers_, {});
    const auto time_of = [](const detail::wait_list& list) -> std::size_t {
      node* const w = static_cast<node*>(list.head);
      return w != nullptr ? std::size_t{w->amount} : ~std::size_t{0};
    };
    for (;;) {
      detail::wait_list* first = &before;
      for (unsigned i = 0; i < Env::stripes; ++i)
        if (time_of(all[i].receivers) < time_of(*first)) first = &all[i].receivers;
      node* const w = wait_queue<Env>(*first).front();
      if (w == nullptr) return;
      wait_queue<Env>(*first).remove(w);
      wait_queue<Env>(receivers_).push_back(w);
      if (first != &before) static_cast<select_node<Env>*>(w)->move_to(&lock_, &receivers_);
    }
  }

  // --- the sides of the channel as cases of a select ---

  static basic_chan& self(void* c) noexcept { return *static_cast<basic_chan*>(c); }
  static bool may_send_to(void* c) noexcept { return self(c).may_send(); }
  static bool may_receive_from(void* c) noexcept { return self(c).may_receive(); }
  static typename Env::lock& lock_of(void* c) noexcept { return self(c).lock_; }
  bool looks_striped() const noexcept { return (look(state_, std::memory_order_acquire) & striped_bit) != 0; }
  static select_place<Env> place_of_senders(void* c) noexcept {
    // Now, as the caller holds no lock: later the stripes' locks would come out of order.
    if (self(c).looks_striped()) self(c).gather();
    return {&self(c).lock_, &self(c).senders_};
  }
  static select_place<Env> place_of_receivers(void* c) noexcept {
    if (!self(c).looks_striped()) return {&self(c).lock_, &self(c).receivers_};
    stripe& mine = look(self(c).stripes_, std::memory_order_acquire)[Env::stripe_index()];
    return {&mine.lock, &mine.receivers, static_cast<std::size_t>(Env::now())};
  }
  static step attempt_send(void* c, typename Env::lock*, void* value) noexcept {
    basic_chan& it = self(c);
    if (it.closed()) return {true, wait_result::closed, nullptr};
    if (it.striped()) return {false, wait_result::none, nullptr, true};
    it.sent_ = true;
    return it.send_now(value);
  }
  static step attempt_receive(void* c, typename Env::lock* held, void* slot) noexcept {
    basic_chan& it = self(c);
    if (held != &it.lock_) {  // a stripe's
      return {false, wait_result::none, nullptr, !it.looks_striped()};
    }
    const step did = it.receive_now(slot);
    if (!did.done && it.closed()) return {true, wait_result::closed, nullptr};
    return did;
  }
  static void contended(void* c) noexcept { self(c).note_contention(); }

 public:
  static constexpr select_ops<Env> send_case{may_send_to, lock_of, place_of_senders, attempt_send, nullptr};
  static constexpr select_ops<Env> receive_case{may_receive_from, lock_of, place_of_receivers, attempt_receive,
                                                contended};

 protected:
  typename Env::lock lock_;
  std::uint8_t state_ = 0;
  bool sent_ = false;  ///< or about to be
  std::uint8_t contended_ = 0;
  const detail::element_ops& ops_;
  const std::size_t capacity_;
  std::byte* const slots_;
  std::size_t head_ = 0;
  std::size_t count_ = 0;
  detail::wait_list receivers_;
  detail::wait_list senders_;
  stripe* stripes_ = nullptr;  ///< made once, and kept: others may be about to take their locks
};

}  // namespace weft::rt
