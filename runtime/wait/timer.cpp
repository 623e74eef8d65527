// SPDX-License-Identifier: Apache-2.0
// The pairing heap behind runtime/wait/timer.hpp.
#include "runtime/wait/timer.hpp"

#include <time.h>

#include "runtime/sched/g.hpp"

namespace weft::inline v0::rt {

nanoseconds_t steady_now() noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return nanoseconds_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

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

void timer_heap::remove(timer& t) noexcept {
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
  t.child_ = t.next_ = t.prev_ = nullptr;
  grow(std::uint32_t{0} - 1);
}

void timer_heap::publish() noexcept {
  const nanoseconds_t when = root_ != nullptr ? root_->when : never;
  if (next_when_.load(std::memory_order_relaxed) != when) next_when_.store(when, std::memory_order_seq_cst);
}

void timer_heap::insert(timer& t) noexcept {
  t.child_ = t.next_ = t.prev_ = nullptr;
  root_ = meld(root_, &t);
  grow(1);
}

bool timer_heap::start(timer& t) noexcept {
  guard g(lock_);
  t.heap_.store(this, std::memory_order_relaxed);  // published by the lock
  insert(t);
  publish();
  return root_ == &t;
}

bool timer_heap::stop(timer& t) noexcept {
  timer_heap* heap = t.heap_.load(std::memory_order_acquire);
  if (heap == nullptr) return false;
  guard g(heap->lock_);
  if (t.heap_.load(std::memory_order_relaxed) == nullptr) return false;  // fired while we came for the lock
  heap->remove(t);
  t.heap_.store(nullptr, std::memory_order_relaxed);
  heap->publish();
  return true;
}

bool timer_heap::run_due(nanoseconds_t now, fired_timers& out) noexcept {
  if (next_when() > now) return false;
  out.now = now;
  guard g(lock_);
  while (root_ != nullptr && root_->when <= now && !out.full()) {
    timer& t = *root_;
    remove(t);
    const nanoseconds_t due = t.when;
    t.fire(t, out);
    if (t.when != due) {
      insert(t);
      continue;
    }
    // Last touch of the timer, and only now: a fiber that was woken otherwise and finds null here lets the timer's
    // frame die. Pairs with the acquire in `stop`.
    t.heap_.store(nullptr, std::memory_order_release);
  }
  publish();
  return root_ != nullptr && root_->when <= now;
}

void timer_heap::clear() noexcept {
  guard g(lock_);
  while (root_ != nullptr) {
    timer& t = *root_;
    remove(t);
    t.heap_.store(nullptr, std::memory_order_release);  // pairs with the acquire in `stop`
  }
  publish();
}

}  // namespace weft::inline v0::rt
