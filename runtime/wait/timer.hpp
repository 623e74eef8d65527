// SPDX-License-Identifier: Apache-2.0
// Timers: one heap per P, entries beside the Gs (of a wait: see sched/all_g.hpp) or in the objects that have a
// deadline.
//
// The heap is a pairing heap over nodes that the timers themselves are: starting and stopping a timer allocates
// nothing, so a timed wait can be set up while a queue's lock is held. Insert is O(1), the earliest and an arbitrary
// one leave in O(log n).
//
// Invariants
//  1. A timer is in at most one heap, the one in `heap`, and its links belong to that heap's lock. It never moves to another heap:
//     whoever finds a heap with something due runs it, so a P that is idle or gone needs no migration.
//  2. `next_when` equals the root's time, or `never`; it is written under the lock and read by anyone without.
//  3. `fire` runs under the heap's lock, on the M's own stack: it claims and collects, nothing else. What it collected is made ready
//     after the lock is released. It takes no lock but a fiber's scope lock. It may set `when` to a later time: then the timer stays.
//  4. After `stop` has returned, `fire` neither runs nor will run for that start. What it `defer`red may still run: whoever defers
//     keeps the object alive until then, and notices by himself that he was overtaken.
// Lock order: object's lock < heap lock < fiber's scope lock. Memory order: `next_when` is stored seq_cst by `start`
// and pairs with the idle side, which looks at all heaps after it has stopped searching (runtime/sched/idle.hpp).
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

#include <weft/detail/spin_lock.hpp>

namespace weft::inline v0::rt {

using nanoseconds_t = std::int64_t;  ///< on the steady clock, from its epoch
inline constexpr nanoseconds_t never = std::numeric_limits<nanoseconds_t>::max();

struct G;
class timer_heap;

/// What a pass over due timers collected, to be acted upon when the heap's lock is free again.
struct fired_timers {
  static constexpr unsigned capacity = 64;
  G* ready_head = nullptr;  ///< claimed fibers, linked, in the order their timers were due
  G* ready_tail = nullptr;
  unsigned ready = 0;
  struct expired_scope {
    G* g;
    std::uint64_t id;
  } expired[capacity];  ///< fibers in which a cancellation frame reached its deadline
  unsigned expired_count = 0;
  /// What takes locks, and is done when the heap's is free: in the M's loop, inside its bracket.
  struct action {
    void (*run)(const action& self, fired_timers& fired) noexcept;
    void* object;
    std::uint64_t token;
    nanoseconds_t due;
  } deferred[capacity];
  unsigned deferred_count = 0;
  nanoseconds_t now = 0;  ///< of this pass

  bool full() const noexcept { return ready >= capacity || expired_count >= capacity || deferred_count >= capacity; }
  void add_ready(G* g) noexcept;
  void add_expired(G* g, std::uint64_t id) noexcept { expired[expired_count++] = {g, id}; }
  void defer(const action& what) noexcept { deferred[deferred_count++] = what; }
  void run_deferred() noexcept {
    for (unsigned i = 0; i < deferred_count; ++i) deferred[i].run(deferred[i], *this);
  }
};

struct timer {
  using fire_fn = void (*)(timer&, fired_timers&) noexcept;

  timer() noexcept = default;
  timer(const timer&) = delete;
  timer& operator=(const timer&) = delete;

  nanoseconds_t when = never;
  fire_fn fire = nullptr;
  G* g = nullptr;
  std::uint64_t token = 0;  ///< of the wait that it ends

 private:
  friend class timer_heap;
  std::atomic<timer_heap*> heap_{nullptr};  ///< null: not started, fired or stopped
  timer* child_ = nullptr;
  timer* next_ = nullptr;  ///< sibling
  timer* prev_ = nullptr;  ///< previous sibling, or the parent if this is its first child
};

class alignas(64) timer_heap {
 public:
  using guard = detail::spin_guard;

  /// Any thread. True if it is now the earliest of this heap.
  bool start(timer& t) noexcept;

  /// Any thread. True if it was still to fire.
  static bool stop(timer& t) noexcept;

  /// Fires what is due at `now`, at most one batch's worth; returns whether more is due. On an M's own stack, with no
  /// lock held.
  bool run_due(nanoseconds_t now, fired_timers& out) noexcept;

  /// Forgets all timers: none of them fires any more. For the end of a runtime.
  void clear() noexcept;

  nanoseconds_t next_when() const noexcept { return next_when_.load(std::memory_order_relaxed); }
  /// How many there are; a hint.
  std::uint32_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

 private:
  static timer* meld(timer* a, timer* b) noexcept;
  static timer* merge_pairs(timer* first) noexcept;
  void insert(timer& t) noexcept WEFT_REQUIRES(lock_);
  void remove(timer& t) noexcept WEFT_REQUIRES(lock_);
  void publish() noexcept WEFT_REQUIRES(lock_);
  void grow(std::uint32_t n) noexcept WEFT_REQUIRES(lock_) { size_.store(size() + n, std::memory_order_relaxed); }

  detail::spin_lock lock_;
  timer* root_ WEFT_GUARDED_BY(lock_) = nullptr;
  std::atomic<nanoseconds_t> next_when_{never};
  std::atomic<std::uint32_t> size_{0};  ///< written under the lock
};

/// What is left to do for `expired` once the heap's lock is free: wakes the cancelled fibers. Defined with cancellation
/// itself, on a higher floor (runtime/scope/cancel.cpp).
void finish_expired(fired_timers& fired) noexcept;

nanoseconds_t steady_now() noexcept;

/// `from + d`, or `never` where that does not fit.
constexpr nanoseconds_t saturating_add(nanoseconds_t from, nanoseconds_t d) noexcept {
  nanoseconds_t sum = 0;
  return __builtin_add_overflow(from, d, &sum) ? never : sum;
}

/// When a patience that begins now ends; one of `never` does not.
inline nanoseconds_t deadline_in(nanoseconds_t patience) noexcept {
  return patience == never ? never : saturating_add(steady_now(), patience);
}

}  // namespace weft::inline v0::rt
