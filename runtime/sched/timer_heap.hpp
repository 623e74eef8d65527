// SPDX-License-Identifier: Apache-2.0
// Timers: one heap per P, entries beside the Gs (of a wait: see sched/all_g.hpp) or in the objects that have a
// deadline.
//
// Structure: near timers, those whose tick of 2^20 ns has come or is about to, are in a pairing heap; far ones lie in
// the lists of a timing wheel and are brought near when their tick comes. Both are made of the timers themselves, so
// starting and stopping one allocates nothing: a timed wait can be set up while a queue's lock is held. To start or
// stop a far timer is O(1) and touches its neighbours only; the near heap stays so small that it lies in the first
// cache, and it gives them out in exact order.
//
//   wheel: level 0 has a list for each of 64 ticks (1 ms each), level 1 for each of 64 times 64 ticks, ...; a far
//   timer's level is the highest digit (of 6 bits) in which its tick differs from `next_tick_`, the first far tick.
//
// Rejected: the pairing heap alone (the removal of the earliest misses the cache at every node it touches: to start and
// fire one of 10 000 timers costs 150 ns, of 100 000 870, of a million 2200; like this 80, 360, 590); an array heap
// that deletes lazily, as Go's (it grows, by malloc or by a reservation per P, under the locks of others; and a stopped
// timer stays in it, so that its memory is not its owner's, or needs a table of slots beside it).
//
// Invariants
//  1. A timer is in at most one heap, the one in `heap`, and its links belong to that heap's lock. It never moves to
//     another heap: whoever finds a heap with something due runs it, so a P that is idle or gone needs no migration.
//  2. `next_when` is not later than the earliest timer, and `never` only if there is none; it is written under the lock
//     and read by anyone without. It is exact while a timer is near, or the first list of far ones is short; else it
//     says when to bring them near.
//  3. `fire` runs under the heap's lock, on the M's own stack: it claims and collects, nothing else. What it collected
//     is made ready after the lock is released. It takes no lock but a fiber's scope lock. It may set `when` to a later
//     time: then the timer stays.
//  4. After `stop` has returned, `fire` neither runs nor will run for that start. What it `defer`red may still run:
//     whoever defers keeps the object alive until then, and notices by himself that he was overtaken.
//  5. A timer with a tick before `next_tick_` is near, or on its way there in `spill_`; all others are far.
// Lock order: object's lock < heap lock < fiber's scope lock. Memory order: `next_when` is stored seq_cst by `start`
// and pairs with the idle side, which looks at all heaps after it has stopped searching (runtime/sched/idle.hpp).
#pragma once

#include <cstdint>
#include <limits>

#include <weft/detail/atomic.hpp>
#include <weft/detail/spin_lock.hpp>

namespace weft::rt {

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
  detail::atomic<timer_heap*> heap_{nullptr};  ///< null: not started, fired or stopped
  timer* child_ = nullptr;                     ///< near: first child. Far: itself
  timer* next_ = nullptr;                      ///< sibling, or next in its list
  union {
    timer* prev_ = nullptr;  ///< near: previous sibling, or the parent if this is its first child
    timer** at_;             ///< far: what points to this one
  };
};

class alignas(64) timer_heap {
 public:
  using guard = detail::spin_guard;

  /// Any thread. True if it is now the earliest of this heap.
  bool start(timer& t) noexcept;

  /// Any thread. True if it was still to fire.
  static bool stop(timer& t) noexcept;

  /// Fires what is due at `now`, at most one batch's worth, into an empty `out`; returns whether there is more to do.
  /// On an M's own stack, with no lock held.
  bool run_due(nanoseconds_t now, fired_timers& out) noexcept;

  /// Forgets all timers: none of them fires any more. For the end of a runtime.
  void clear() noexcept;

  nanoseconds_t next_when() const noexcept { return next_when_.load(std::memory_order_relaxed); }
  /// Somebody is at it just now; a hint.
  bool is_locked() const noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS { return lock_.is_locked(); }
  /// How many there are; a hint.
  std::uint32_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

 private:
  using tick_t = std::uint64_t;
  static constexpr unsigned tick_bits = 20;
  static constexpr unsigned digit_bits = 6;  ///< 4 KiB a heap; with 8 (12 KiB) timers move less, but cost the same
  static constexpr unsigned slots = 1u << digit_bits;
  static constexpr unsigned levels = (63 - tick_bits + digit_bits - 1) / digit_bits;
  /// So many far timers are moved at a time, before somebody else may have the lock.
  static constexpr unsigned max_moves = 256;
  /// So many of a list are looked at to find its earliest.
  static constexpr unsigned max_looks = 8;

  static tick_t tick_of(nanoseconds_t when) noexcept {
    return when > 0 ? static_cast<tick_t>(when) >> tick_bits : tick_t{0};
  }
  static nanoseconds_t time_of(tick_t tick) noexcept { return static_cast<nanoseconds_t>(tick << tick_bits); }

  static timer* meld(timer* a, timer* b) noexcept;
  static timer* merge_pairs(timer* first) noexcept;
  void add_near(timer& t) noexcept WEFT_REQUIRES(lock_);
  void take_near(timer& t) noexcept WEFT_REQUIRES(lock_);

  static bool is_far(const timer& t) noexcept { return t.child_ == &t; }
  static void link_far(timer*& head, timer& t) noexcept;
  static void take_far(timer& t) noexcept;
  void add(timer& t) noexcept WEFT_REQUIRES(lock_);
  void remove(timer& t) noexcept WEFT_REQUIRES(lock_);
  void forget(timer& t) noexcept WEFT_REQUIRES(lock_);
  /// The first list that is not empty; false: nothing is far but what is in `spill_`.
  struct place {
    unsigned level;
    unsigned slot;
    tick_t first;  ///< tick of its range
  };
  bool first_list(place& found) noexcept WEFT_REQUIRES(lock_);
  /// Brings what lies before `tick` near. False: some of it is left in `spill_`.
  bool bring_near(tick_t tick) noexcept WEFT_REQUIRES(lock_);
  nanoseconds_t earliest() noexcept WEFT_REQUIRES(lock_);
  void publish(nanoseconds_t when) noexcept WEFT_REQUIRES(lock_);
  void grow(std::uint32_t n) noexcept WEFT_REQUIRES(lock_) { size_.store(size() + n, std::memory_order_relaxed); }

  detail::spin_lock lock_;
  timer* root_ WEFT_GUARDED_BY(lock_) = nullptr;   ///< near
  timer* spill_ WEFT_GUARDED_BY(lock_) = nullptr;  ///< from a list that is being moved; none of it before spill_from_
  tick_t spill_from_ WEFT_GUARDED_BY(lock_) = 0;
  tick_t next_tick_ WEFT_GUARDED_BY(lock_) = 0;
  detail::atomic<nanoseconds_t> next_when_{never};
  detail::atomic<std::uint32_t> size_{0};  ///< written under the lock
  /// A bit for each list that has had a timer since it was last found empty.
  std::uint64_t occupied_[levels] WEFT_GUARDED_BY(lock_){};
  timer* far_[levels][slots] WEFT_GUARDED_BY(lock_){};
};

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

}  // namespace weft::rt
