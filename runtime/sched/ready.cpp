// SPDX-License-Identifier: Apache-2.0
// Making fibers runnable: where they are put, and whether somebody is woken for them.
//
// With a P: into its `runnext`, whoever was there goes to the ring's tail; a full ring gives its older half to the
// global queue. Without one (a plain thread, a fiber that has lost its P): to the global queue. Steps 1 and 2 of
// idle.hpp:
//   put_next       its exchange is the fence; into an empty runnext nobody is woken for `ready`, since its caller
//                  mostly parks next, and a woken M would only chase the pair. Unless this caller computed on after
//                  its last wake (`computing_wakers`): whoever steals from runnext what has waited there notes that,
//                  and the next wake of that fiber takes the note, and tells somebody. A new fiber counts as work at
//                  once.
//   push_global    a full fence follows.

#include "runtime/sched/ready.hpp"

#include "runtime/base/os.hpp"
#include "runtime/sched/futex.hpp"
#include "runtime/sched/hand_off.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

void wait_until_off_cpu(G* g) noexcept {
  for (int turn = 0; g->on_cpu.load(std::memory_order_acquire); ++turn) {  // pairs with the release in `arrive`
    if (turn < 100)
      std_atomics::pause();
    else
      os::yield_cpu();  // the thread it leaves may have lost its CPU
  }
}

void push_global(G* g) noexcept {
  detail::spin_guard guard(sched.lock);
  sched.global.push(g);
}

void push_global(g_list batch) noexcept {
  detail::spin_guard guard(sched.lock);
  sched.global.push(batch);
}

g_list take_all(P* p) noexcept {
  g_list all;
  while (G* g = pick_own(p)) all.push_back(g);
  return all;
}

void make_room(P* p) noexcept {
  if (p->queue.size() < run_queue<G>::capacity) return;
  g_list half;
  half.size = p->queue.take_half(half.head, half.tail);
  if (half.size == 0) return;  // a thief made room
  p->overflows.add();
  push_global(half);
}

static void put_ring(P* p, G* g) noexcept {
  while (!p->queue.put(g)) make_room(p);
}

static void wake_thread(G* g) noexcept {
  g->thread.futex.store(1, std::memory_order_release);  // pairs with the exchange in park_thread
  futex_wake(g->thread.futex);
}

namespace {

/// A plain thread between making a fiber runnable and the last of what that entails: the end of run() waits until
/// nobody is, since the fiber may be the one that ends it.
class foreign_waker {
 public:
  explicit foreign_waker(const M* m) noexcept : foreign_(m == nullptr) {
    if (foreign_) sched.foreign_wakers.fetch_add(1, std::memory_order_relaxed);  // published by the push that follows
  }
  ~foreign_waker() {
    if (foreign_)
      sched.foreign_wakers.fetch_sub(1, std::memory_order_release);  // pairs with the acquire at the end of run()
  }
  foreign_waker(const foreign_waker&) = delete;
  foreign_waker& operator=(const foreign_waker&) = delete;

 private:
  const bool foreign_;
};

}  // namespace

// Asked on plain threads. In the child of a fork the Ms stayed behind, with what they held: neither a lock nor a stack
// would ever be given up. Elsewhere whoever has a fiber to wake sees a runtime that goes on, as that fiber is part of
// it. Relaxed: the child has one thread.
static bool left_by_all_machines() noexcept { return sched.ended.load(std::memory_order_relaxed); }

static std::uint64_t waker_bit(const G* g) noexcept {
  return std::uint64_t{1} << (reinterpret_cast<std::uintptr_t>(g) / sizeof(G) % 64);
}

void computes_on(const G* waker) noexcept {
  if (waker != nullptr) sched.computing_wakers.fetch_or(waker_bit(waker), std::memory_order_relaxed);
}

[[gnu::always_inline]] static inline bool computed_on(const G* waker) noexcept {
  const std::uint64_t all = sched.computing_wakers.load(std::memory_order_relaxed);
  if (all == 0 || waker == nullptr || (all & waker_bit(waker)) == 0) [[likely]]
    return false;
  sched.computing_wakers.fetch_and(~waker_bit(waker), std::memory_order_relaxed);
  return true;
}

static void ready_one(M* m, G* g, bool is_new) noexcept {
  P* p = m != nullptr ? m->p : nullptr;
  if (p == nullptr || g->parked_without_p || g->pinned != nullptr || sched.migrate_on_wake) {
    push_global(g);
    std_atomics::fence_seq_cst();
    wake_if_wanted();
    return;
  }
  p->wakes.add();
  G* displaced = p->queue.put_next(g);
  p->next_waker.store(m->cur, std::memory_order_relaxed);
  if (displaced != nullptr) put_ring(p, displaced);
  if (displaced != nullptr || is_new || computed_on(m->cur)) wake_if_wanted();
}

void wake(G* g) noexcept {
  if (g->kind == g_kind::thread) {
    wake_thread(g);
    return;
  }
  if (current_m() == nullptr && left_by_all_machines()) [[unlikely]]
    return;
  wait_until_off_cpu(g);
  foreign_waker passing(current_m());
  inside_runtime here(at_entry::hand_p_over);
  ready_one(here.m(), g, false);
}

void submit_new(G* g) noexcept {
  inside_runtime here(at_entry::hand_p_over);
  ready_one(here.m(), g, true);
}

// A batch keeps its order and goes to the ring: to let the last one jump the queue by `runnext`, as Go does, helps
// nobody here. `ahead`: those that are due go to the urgent class.
static void ready_batch(M* m, g_list batch, bool ahead) noexcept {
  P* p = m != nullptr ? m->p : nullptr;
  g_list to_global, due;
  bool kept_local = false;
  while (G* g = batch.pop_front()) {
    if (g->kind == g_kind::thread) {
      wake_thread(g);
      continue;
    }
    if (m == nullptr && left_by_all_machines()) [[unlikely]]
      continue;
    wait_until_off_cpu(g);
    // In a batch there is time until it runs, and its stack is the page that is not in the TLB.
    __builtin_prefetch(g->sp);
    if (ahead && !g->parked_without_p && g->pinned == nullptr)
      due.push_back(g);
    else if (p == nullptr || g->parked_without_p || g->pinned != nullptr || sched.migrate_on_wake ||
             to_global.head != nullptr || !p->queue.put(g))
      to_global.push_back(g);
    else
      kept_local = true;
  }
  const std::uint32_t many = to_global.size + due.size + (kept_local ? p->queue.size() : 0);
  if (to_global.head != nullptr || due.head != nullptr) {
    detail::spin_guard guard(sched.lock);
    while (G* g = to_global.pop_front()) sched.global.push(g);
    sched.global.push_due(due);
  }
  if (many == 0) return;
  std_atomics::fence_seq_cst();
  wake_if_wanted();
}

void wake_all(g_list batch) noexcept {
  if (batch.head == nullptr) return;
  if (batch.size == 1) {
    wake(batch.head);
    return;
  }
  foreign_waker passing(current_m());
  inside_runtime here(at_entry::hand_p_over);
  ready_batch(here.m(), batch, false);
}

void ready_from_loop(M* m, g_list batch, bool ahead) noexcept {
  if (batch.head == nullptr) return;
  // What the ring has no room for would wait behind all of the global queue.
  const bool fits = m->p == nullptr || m->p->queue.size() + batch.size <= run_queue<G>::capacity;
  ready_batch(m, batch, ahead || !fits);
}

bool take_ready(M* m, G* g) noexcept {
  if (g->kind == g_kind::thread) return false;
  wait_until_off_cpu(g);  // it may be about to park still, and only then is it said how
  if (g->parked_without_p || g->pinned != nullptr || sched.migrate_on_wake) return false;
  m->p->wakes.add();
  return true;
}

}  // namespace weft::rt
