// SPDX-License-Identifier: Apache-2.0
// Waiting for the first of several: one claim word, a waiter in each queue.
//
//   look     in random order, each object alone: what may be ready without its lock is tried under it (no lock of a
//            quiet channel is touched while another case can go on; a channel that everybody selects on is not a
//            bottleneck for the busy)
//   decide   the locks of all objects, in the order of their addresses, each once; every case tried in random order
//   park     arm once, a waiter per case, the timer; the look at the cancel flag; park; the hook frees the locks in
//            their order
//   after    the queue of every case but the winner's: lock, unlink if linked, unlock
//
// What may be decided by looks alone: a case that was done was ready when it was done, so a random choice needs no
// more. That nothing was ready (`blocking` false), or that nothing before the chosen one was (`biased`), is a statement
// about all cases at one moment: those look at all under all locks, unless there is one case, or the first one is
// ready.
//
// Invariants
//  1. Only the winner of the claim writes a waiter's `result`, so at most one waiter of a select has one.
//  2. No case can win before all locks have been taken and the word is armed; none is armed while a case is tried. So a
//     select never pairs with itself, and of two selects that face each other one finds the other parked, or neither.
//  3. A waiter may be moved to another queue of its object, by a thread that holds the locks of both; so the place of
//     one that waits is looked up again under the lock. What was chosen before its lock was taken may have moved:
//     `attempt` says so, and all is done again.
//  4. The hook may read the nodes until it has freed the last lock: a fiber that was woken meanwhile has yet to take
//     every lock but the winner's, and if the last lock is the winner's, it was claimed after that lock was freed.
//
// Lock order: objects by the address of their locks, then the timers' heap. Locked instructions: one lock and the
// claim of the waiter there, if something is ready at the look; 2k - 1 locks otherwise for k objects. No allocation.
//
// An object becomes selectable by a constant of type select_ops.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>

#include <weft/detail/select_entry.hpp>

#include "runtime/base/atomics.hpp"
#include "runtime/wait/wait.hpp"

namespace weft::rt {

/// What an attempt on an object did, under its lock: nothing, or its part and perhaps a fiber that is to be woken once
/// all locks are free.
template <class Env>
struct select_step {
  bool done = false;
  wait_result result = wait_result::none;
  typename Env::fiber* woken = nullptr;
  bool moved = false;  ///< one waits elsewhere by now: ask for the place again
};

/// Where one waits for an object: under its own lock, or in a part of it that has a lock and a queue of its own.
template <class Env>
struct select_place {
  typename Env::lock* lock;
  detail::wait_list* queue;
  std::size_t amount = 0;  ///< the object's note in the waiter
};

/// How a select sees an object.
template <class Env>
struct select_ops {
  /// Without the lock. False only if at some moment of the call there was nothing to do.
  bool (*may_be_ready)(void* object) noexcept;
  typename Env::lock& (*lock)(void* object) noexcept;
  /// With no lock held.
  select_place<Env> (*place)(void* object) noexcept;
  /// Under `held`, the object's lock or that of a place, never waits: does what a waker would do for us, if it can be
  /// done now.
  select_step<Env> (*attempt)(void* object, typename Env::lock* held, void* value) noexcept;
  /// With no lock held: the place's lock was not free when it was wanted. May be null.
  void (*contended)(void* object) noexcept;
};

/// A case that waits. It is moved to another queue of its object under the locks of both.
template <class Env>
struct select_node : waiter<Env> {
  typename Env::lock* lock = nullptr;  ///< changes while it waits: read it again once it is held
  detail::wait_list* queue = nullptr;
  std::uint32_t index = 0;

  void move_to(typename Env::lock* to, detail::wait_list* its_queue) noexcept {
    atomic_ref<typename Env::lock*>(lock).store(to, std::memory_order_relaxed);
    queue = its_queue;
  }
  /// Returns true if it was not free at once. Not analysed: which lock it is shows only once it is held.
  bool lock_place() noexcept WEFT_ACQUIRE(lock) WEFT_NO_THREAD_SAFETY_ANALYSIS {
    for (bool contended = false;;) {
      typename Env::lock* const held = atomic_ref<typename Env::lock*>(lock).load(std::memory_order_relaxed);
      contended |= Env::lock_and_tell(*held);
      if (held == lock) return contended;
      held->unlock();
    }
  }
};

struct select_request {
  wait_reason why = wait_reason::select;
  bool blocking = true;
  bool biased = false;
  bool expired = false;  ///< the deadline has passed: as `blocking` false, but the outcome is `timed_out`
  nanoseconds_t deadline = never;
};

struct select_outcome {
  wait_outcome how = wait_outcome::ok;
  bool none = false;  ///< nothing was ready, and it was not to wait
  std::uint32_t index = 0;
};

template <class Env>
class basic_select {
 public:
  using entry = detail::select_entry;
  using node = select_node<Env>;

  /// `order` and `sorted` have room for `count` numbers, `nodes` is raw storage for as many.
  basic_select(const entry* entries, std::uint32_t count, std::uint32_t* order, std::uint32_t* sorted,
               void* nodes) noexcept
      : entries_(entries), order_(order), sorted_(sorted), nodes_(static_cast<node*>(nodes)) {
    for (std::uint32_t i = 0; i < count; ++i)
      if (entries[i].ops != nullptr) order_[count_++] = i;
  }

  /// `ok` and `closed` come with the index of the case. Does not throw, nor look at the cancel flag before it waits.
  select_outcome run(const select_request& how) noexcept {
    if (!how.biased) shuffle();
    const bool waits = how.blocking && !how.expired;
    const std::uint32_t alone = how.biased ? std::min(count_, 1U) : waits || count_ == 1 ? count_ : 0;
    for (;;) {
      if (const select_outcome found = look(alone); !found.none) return found;
      if (count_ == 0 && waits) return {wait_alone<Env>({how.why, true, how.deadline})};
      if (count_ <= 1 && !waits) break;
      build_nodes();
      moved_ = false;
      const select_outcome found = decide(how, waits);
      destroy_nodes();
      if (moved_) continue;
      if (!found.none) return found;
      break;
    }
    if (how.blocking) return {wait_outcome::timed_out};
    return {wait_outcome::ok, true};
  }

 private:
  static const select_ops<Env>& ops(const entry& e) noexcept { return *static_cast<const select_ops<Env>*>(e.ops); }

  void shuffle() noexcept {
    for (std::uint32_t i = count_; i > 1; --i) std::swap(order_[i - 1], order_[Env::random(i)]);
  }

  static select_outcome outcome(wait_result result, std::uint32_t index) noexcept {
    return {result == wait_result::closed ? wait_outcome::closed : wait_outcome::ok, false, index};
  }

  // The first `many` in order, one by one.
  select_outcome look(std::uint32_t many) noexcept {
    for (std::uint32_t i = 0; i < many; ++i) {
      const entry& e = entries_[order_[i]];
      if (!ops(e).may_be_ready(e.object)) continue;
      typename Env::lock& lock = ops(e).lock(e.object);
      lock.lock();
      const select_step<Env> did = ops(e).attempt(e.object, &lock, e.value);
      lock.unlock();
      if (did.moved) {
        static_cast<void>(ops(e).place(e.object));
        --i;  // once more
      }
      if (!did.done) continue;
      if (did.woken != nullptr) Env::wake(did.woken);
      return outcome(did.result, order_[i]);
    }
    return {wait_outcome::ok, true};
  }

  void build_nodes() noexcept {
    for (std::uint32_t i = 0; i < count_; ++i) {
      const entry& e = entries_[order_[i]];
      node* const n = ::new (static_cast<void*>(nodes_ + i)) node;
      const select_place<Env> place = ops(e).place(e.object);
      n->lock = place.lock;
      n->queue = place.queue;
      n->amount = place.amount;
      n->index = order_[i];
      n->slot = e.value;
      sorted_[i] = i;
    }
    if (count_ > 1)
      std::sort(sorted_, sorted_ + count_, [this](std::uint32_t a, std::uint32_t b) {
        return std::less<typename Env::lock*>()(nodes_[a].lock, nodes_[b].lock);
      });
  }
  void destroy_nodes() noexcept {
    for (std::uint32_t i = 0; i < count_; ++i) nodes_[i].~node();
  }

  // These two are not analysed: which locks they take is known at run time only.
  void lock_all() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    typename Env::lock* last = nullptr;
    for (std::uint32_t i = 0; i < count_; ++i) {
      typename Env::lock* const next = nodes_[sorted_[i]].lock;
      if (next != last) next->lock();
      last = next;
    }
  }
  static void unlock_all(const node* nodes, const std::uint32_t* sorted,
                         std::uint32_t count) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    typename Env::lock* last = nodes[sorted[0]].lock;
    for (std::uint32_t i = 1; i < count; ++i) {
      typename Env::lock* const next = nodes[sorted[i]].lock;
      if (next != last) last->unlock();
      last = next;
    }
    last->unlock();
  }

  select_outcome decide(const select_request& how, bool waits) noexcept {
    lock_all();
    for (std::uint32_t i = 0; i < count_; ++i) {
      const entry& e = entries_[order_[i]];
      const select_step<Env> did = ops(e).attempt(e.object, nodes_[i].lock, e.value);
      moved_ |= did.moved;
      if (!did.done) continue;
      moved_ = false;
      unlock_all(nodes_, sorted_, count_);
      if (did.woken != nullptr) Env::wake(did.woken);
      return outcome(did.result, order_[i]);
    }
    if (moved_ || !waits) {
      unlock_all(nodes_, sorted_, count_);
      return {wait_outcome::ok, true};
    }
    return park(how);
  }

  struct commit {
    const node* nodes;
    const std::uint32_t* sorted;
    std::uint32_t count;
    typename Env::template var<nanoseconds_t> announce{never};

    static void run(void* arg) noexcept {
      const commit& frame = *static_cast<commit*>(arg);
      const nanoseconds_t announce = frame.announce;
      unlock_all(frame.nodes, frame.sorted, frame.count);
      if (announce != never) Env::announce_timer(announce);
    }
  };

  // Under all locks, which are free on return.
  select_outcome park(const select_request& how) noexcept {
    typename Env::fiber* const g = Env::current();
    const bool cancellable = Env::may_be_cancelled(g);
    const bool timed = how.deadline != never;
    const auto token = g->wait.arm(cancellable);
    for (std::uint32_t i = 0; i < count_; ++i) {
      node& n = nodes_[i];
      n.g = g;
      n.wait_token = token;
      n.sole = count_ == 1 && !cancellable && !timed;
      wait_queue<Env>(*n.queue).push_back(&n);
    }
    commit at_rest{nodes_, sorted_, count_};
    typename Env::deadline_timer timer;
    if (timed && timer.start(g, token, how.deadline)) at_rest.announce = how.deadline;
    if (cancellable) {
      Env::order_arm_before_look();
      if (Env::cancel_pending(g) && g->wait.claim(token)) {
        for (std::uint32_t i = 0; i < count_; ++i) wait_queue<Env>(*nodes_[i].queue).remove(&nodes_[i]);
        unlock_all(nodes_, sorted_, count_);
        if (timed) timer.stop();
        g->wait.disarm();
        return {wait_outcome::cancelled};
      }
    }
    Env::park(how.why, commit::run, &at_rest);
    g->wait.disarm();
    if (timed) timer.stop();
    select_outcome found{wait_outcome::ok, true};
    for (std::uint32_t i = 0; i < count_; ++i) {
      node& n = nodes_[i];
      if (const wait_result result = n.result; result != wait_result::none) {
        found = outcome(result, n.index);
        continue;
      }
      const bool contended = n.lock_place();  // always: a waker may have popped us and be about to try its claim
      if (n.linked) wait_queue<Env>(*n.queue).remove(&n);
      n.lock->unlock();
      const entry& e = entries_[n.index];
      if (contended && ops(e).contended != nullptr) ops(e).contended(e.object);
    }
    return found.none ? select_outcome{outcome_of(g->cause)} : found;
  }

  const entry* entries_;
  std::uint32_t* order_;
  std::uint32_t* sorted_;
  node* nodes_;
  std::uint32_t count_ = 0;
  bool moved_ = false;
};

}  // namespace weft::rt
