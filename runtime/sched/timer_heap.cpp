// SPDX-License-Identifier: Apache-2.0
// The near heap and the wheel behind runtime/sched/timer_heap.hpp.
#include "runtime/sched/timer_heap.hpp"

#include <time.h>

#include <algorithm>
#include <bit>

#include "runtime/base/os.hpp"
#include "runtime/sched/g.hpp"

namespace weft::rt {

nanoseconds_t steady_now() noexcept { return os::now(); }

void fired_timers::add_ready(G* g) noexcept {
  g->link = nullptr;
  if (ready_tail != nullptr)
    ready_tail->link = g;
  else
    ready_head = g;
  ready_tail = g;
  ++ready;
}

timer* timer_heap::meld(timer* a, timer* b) noexcept {
  if (a == nullptr) return b;
  if (b == nullptr) return a;
  if (b->when < a->when) {
    timer* earlier = b;
    b = a;
    a = earlier;
  }
  b->next_ = a->child_;
  b->prev_ = a;
  if (b->next_ != nullptr) b->next_->prev_ = b;
  a->child_ = b;
  a->next_ = nullptr;
  a->prev_ = nullptr;
  return a;
}

// Pairs left to right, then melds right to left; iterative, since a heap of a million children must not recurse.
timer* timer_heap::merge_pairs(timer* first) noexcept {
  timer* pairs = nullptr;
  while (first != nullptr) {
    timer* a = first;
    timer* b = a->next_;
    first = b != nullptr ? b->next_ : nullptr;
    a->next_ = a->prev_ = nullptr;
    if (b != nullptr) b->next_ = b->prev_ = nullptr;
    timer* pair = meld(a, b);
    pair->next_ = pairs;
    pairs = pair;
  }
  timer* root = nullptr;
  while (pairs != nullptr) {
    timer* rest = pairs->next_;
    pairs->next_ = nullptr;
    root = meld(root, pairs);
    pairs = rest;
  }
  return root;
}

void timer_heap::add_near(timer& t) noexcept {
  t.child_ = t.next_ = t.prev_ = nullptr;
  root_ = meld(root_, &t);
}

void timer_heap::take_near(timer& t) noexcept {
  if (&t == root_) {
    root_ = merge_pairs(t.child_);
  } else {
    if (t.prev_->child_ == &t)
      t.prev_->child_ = t.next_;
    else
      t.prev_->next_ = t.next_;
    if (t.next_ != nullptr) t.next_->prev_ = t.prev_;
    root_ = meld(root_, merge_pairs(t.child_));
  }
}

void timer_heap::link_far(timer*& head, timer& t) noexcept {
  t.child_ = &t;
  t.next_ = head;
  t.at_ = &head;
  if (head != nullptr) head->at_ = &t.next_;
  head = &t;
}

void timer_heap::take_far(timer& t) noexcept {
  *t.at_ = t.next_;
  if (t.next_ != nullptr) t.next_->at_ = t.at_;
}

void timer_heap::add(timer& t) noexcept {
  const tick_t tick = tick_of(t.when);
  if (tick < next_tick_) {
    add_near(t);
    return;
  }
  const tick_t differs = (tick ^ next_tick_) | 1;
  const unsigned level = static_cast<unsigned>(std::bit_width(differs) - 1) / digit_bits;
  const unsigned slot = static_cast<unsigned>(tick >> (level * digit_bits)) % slots;
  link_far(far_[level][slot], t);
  occupied_[level] |= std::uint64_t{1} << slot;
}

void timer_heap::remove(timer& t) noexcept {
  if (is_far(t))
    take_far(t);
  else
    take_near(t);
}

// All of a level comes before all of the next, and no list before `next_tick_` has anything.
bool timer_heap::first_list(place& found) noexcept {
  for (unsigned level = 0; level < levels; ++level) {
    for (std::uint64_t& lists = occupied_[level]; lists != 0; lists &= lists - 1) {
      const auto slot = static_cast<unsigned>(std::countr_zero(lists));
      if (far_[level][slot] == nullptr) continue;
      const unsigned shift = level * digit_bits;
      const tick_t above = next_tick_ >> shift >> digit_bits << digit_bits;
      found = {level, slot, (above | slot) << shift};
      return true;
    }
  }
  return false;
}

// A list is taken as a whole into `spill_`, `next_tick_` moves to its range (past it, if it is of one tick), and each
// of its timers gets its new place: near, or a lower level. A list of a higher level that begins at `tick` is taken
// too, since relative to the new `next_tick_` what is in it belongs to lower levels.
bool timer_heap::bring_near(tick_t tick) noexcept {
  for (unsigned moves = 0;;) {
    while (spill_ != nullptr) {
      if (moves++ == max_moves) return false;
      timer& t = *spill_;
      take_far(t);
      if (spill_ != nullptr) __builtin_prefetch(spill_);
      add(t);
    }
    place list{};
    if (!first_list(list) || list.first > tick || (list.first == tick && list.level == 0)) {
      next_tick_ = std::max(next_tick_, tick);
      return true;
    }
    timer*& head = far_[list.level][list.slot];
    spill_ = head;
    spill_->at_ = &spill_;
    head = nullptr;
    spill_from_ = list.first;
    next_tick_ = list.level == 0 ? list.first + 1 : list.first;
  }
}

nanoseconds_t timer_heap::earliest() noexcept {
  const nanoseconds_t near = root_ != nullptr ? root_->when : never;
  if (spill_ != nullptr) return std::min(near, time_of(spill_from_));
  place list{};
  if (near != never || !first_list(list)) return near;
  nanoseconds_t when = never;
  unsigned looks = 0;
  for (const timer* t = far_[list.level][list.slot]; t != nullptr; t = t->next_) {
    if (looks++ == max_looks) return time_of(list.first);
    when = std::min(when, t->when);
  }
  return when;
}

void timer_heap::publish(nanoseconds_t when) noexcept {
  if (next_when_.load(std::memory_order_relaxed) != when) next_when_.store(when, std::memory_order_seq_cst);
}

bool timer_heap::start(timer& t) noexcept {
  guard g(lock_);
  t.heap_.store(this, std::memory_order_relaxed);  // published by the lock
  add(t);
  grow(1);
  if (t.when >= next_when()) return false;
  publish(t.when);
  return true;
}

bool timer_heap::stop(timer& t) noexcept {
  timer_heap* heap = t.heap_.load(std::memory_order_acquire);
  if (heap == nullptr) return false;
  guard g(heap->lock_);
  if (t.heap_.load(std::memory_order_relaxed) == nullptr) return false;  // fired while we came for the lock
  heap->remove(t);
  heap->grow(std::uint32_t{0} - 1);
  t.heap_.store(nullptr, std::memory_order_relaxed);
  if (t.when <= heap->next_when() || heap->size() == 0) heap->publish(heap->earliest());
  return true;
}

bool timer_heap::run_due(nanoseconds_t now, fired_timers& out) noexcept {
  if (next_when() > now) return false;
  out.now = now;
  guard g(lock_);
  if (!bring_near(tick_of(now) + 1)) {
    publish(earliest());
    return true;
  }
  // First all, then each: meanwhile the fibers that they wake come into the cache.
  timer* due[fired_timers::capacity];
  unsigned count = 0;
  while (root_ != nullptr && root_->when <= now && count < fired_timers::capacity) {
    timer& t = *root_;
    take_near(t);
    __builtin_prefetch(t.g, 1);
    due[count++] = &t;
  }
  std::uint32_t stay = 0;
  for (unsigned i = 0; i < count; ++i) {
    timer& t = *due[i];
    const nanoseconds_t when = t.when;
    t.fire(t, out);
    if (t.when != when) {
      add(t);
      ++stay;
      continue;
    }
    // Last touch of the timer, and only now: a fiber that was woken otherwise and finds null here lets the timer's
    // frame die. Pairs with the acquire in `stop`.
    t.heap_.store(nullptr, std::memory_order_release);
  }
  grow(stay - count);
  publish(earliest());
  return root_ != nullptr && root_->when <= now;
}

void timer_heap::forget(timer& t) noexcept {
  remove(t);
  t.heap_.store(nullptr, std::memory_order_release);  // pairs with the acquire in `stop`
}

void timer_heap::clear() noexcept {
  guard g(lock_);
  while (root_ != nullptr) forget(*root_);
  while (spill_ != nullptr) forget(*spill_);
  for (place list{}; first_list(list);) forget(*far_[list.level][list.slot]);
  size_.store(0, std::memory_order_relaxed);
  publish(never);
}

}  // namespace weft::rt
