// SPDX-License-Identifier: Apache-2.0
// Giving up the CPU: park, yield, and the straight way to the next fiber.
//
// A fiber picks its successor here, on its own stack, from its own P only: `runnext`, then the ring. It goes to the M's
// loop instead if
//   - it has no P, or nothing is local,
//   - it is time to look around (looks.hpp): timers, the global queue, the poller and the ring get their turn there,
//   - the successor cannot be entered from here: its stack must first be mapped, or it is pinned to another M.
// Locks that the commit hook will release may be held meanwhile, so nothing here takes a lock, maps memory or runs
// callbacks. A yield holds none, and takes a batch from the global queue where all of the own queue has had some turns:
// fibers that wait for others in loops of yields must not keep those to the picks that look there.
//
// Locked instructions: park and resume none of their own; the pick costs one (runnext or ring).
#include "runtime/sched/park.hpp"

#include <utility>

#include "runtime/base/fatal.hpp"
#include "runtime/base/os.hpp"
#include "runtime/base/user_code.hpp"
#include "runtime/fiber/stack.hpp"
#include "runtime/sched/context.hpp"
#include "runtime/sched/find_work.hpp"
#include "runtime/sched/futex.hpp"
#include "runtime/sched/looks.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/stack_shortage.hpp"
#include "runtime/sched/thread_g.hpp"

namespace weft::rt {

namespace {

// False: it is the turn of the M's loop, which counts it.
[[gnu::always_inline]] inline bool count_pick(P* p) noexcept {
  const std::uint32_t before = p->picks.load(std::memory_order_relaxed);
  if (is_time_to_look(p, before)) return false;
  p->picks.store(before + 1, std::memory_order_relaxed);
  return true;
}

[[gnu::always_inline]] inline G* pick(P* p) noexcept {
  if (G* next = p->queue.get_next()) return next;
  p->chain_since = 0;
  return p->queue.get();
}

// Gives a fiber that has not started a pooled stack.
[[gnu::noinline]] bool give_stack(M* m, G* next) noexcept {
  if (next->stack_size != 0 || cached_stacks_are_short()) return false;
  stack* s = m->p->stacks.get();
  if (s == nullptr || s->runner == nullptr) {
    if (s != nullptr) m->p->stacks.put(s);
    return false;
  }
  next->bind(s);
  next->sp = s->runner;
  s->owner = next;
  return true;
}

// Makes sure that `next` has a context to jump to. False: only the M's loop can start it (nothing was changed).
[[gnu::always_inline]] inline bool enter_directly(M* m, G* next) noexcept {
  return next->pinned == nullptr && (next->stk != nullptr || give_stack(m, next));
}

// Leaves the running execution for `next`, or for the M's loop if there is none or it cannot be entered from here.
[[gnu::always_inline]] inline M* leave_cpu(M* m, G* next, const departure& from, commit_fn commit, void* arg) noexcept {
  m->hook = commit;
  m->hook_arg = arg;
  if (next != nullptr && !enter_directly(m, next)) {
    m->pending = next;
    next = nullptr;
  }
  m->cur = next;
  if (next != nullptr) {
    next->on_cpu.store(true, std::memory_order_relaxed);  // only whoever runs it writes it before it is left again
    return switch_execution(m, from, {next->sp, next->eh, next->stk->view});
  }
  return switch_execution(m, from, {m->loop_sp, m->loop_eh, &m->loop_view});
}

}  // namespace

G* pick_local(P* p) noexcept { return count_pick(p) ? pick(p) : nullptr; }

G* pick_own(P* p) noexcept { return pick(p); }

[[gnu::noinline]] M* leave_runner(M* m, stack* s, G* next, commit_fn commit, void* arg) noexcept {
  eh_globals nothing;
  return leave_cpu(m, next, {&s->runner, &nothing, s->view, nullptr}, commit, arg);
}

[[gnu::noinline]] static void park_fiber(M* m, wait_reason why, commit_fn commit, void* arg) noexcept {
  G* g = m->cur;
  if (lock_over_user_code != nullptr) [[unlikely]]
    fatal(
        "weft::chan: the move constructor or destructor of an element waits while it is moved, under the lock of its "
        "channel; let it wait for nothing");
  g->reason.store(why, std::memory_order_relaxed);  // read by dumps
  g->since.store(sched.coarse_now.load(std::memory_order_relaxed), std::memory_order_relaxed);
  g->parked_without_p = m->p == nullptr;
  if (m->p != nullptr) m->p->parks.add();
  m->slice_over.store(false, std::memory_order_relaxed);  // the slice ends here anyway
  G* const next = m->p != nullptr && m->pinned_g == nullptr && count_pick(m->p) ? pick(m->p) : nullptr;
  M* const here = leave_cpu(m, next, {&g->sp, &g->eh, g->stk->view, g}, commit, arg);
  g->reason.store(wait_reason::none, std::memory_order_relaxed);
  leave(here);
}

static void park_thread(G* g, wait_reason why, commit_fn commit, void* arg) noexcept {
  g->reason.store(why, std::memory_order_relaxed);
  if (commit != nullptr) commit(arg);
  while (g->thread.futex.exchange(0, std::memory_order_acquire) == 0) {  // pairs with the store in `wake_thread`
    const nanoseconds_t deadline = g->thread.deadline;
    const nanoseconds_t now = deadline != never ? steady_now() : 0;
    if (now < deadline) {
      futex_wait(g->thread.futex, 0, deadline != never ? deadline - now : never);
    } else {
      g->thread.deadline = never;
      if (!g->wait.claim(g->thread.token)) continue;  // somebody else has claimed it, and is about to wake us
      g->cause = wait_cause::timeout;
      break;
    }
  }
  g->thread.deadline = never;
  g->reason.store(wait_reason::none, std::memory_order_relaxed);
}

void park(wait_reason why, commit_fn commit, void* arg) noexcept {
  M* m = current_m();
  if (m == nullptr || m->cur == nullptr || m->in_blocking != 0) {
    park_thread(current_g(), why, commit, arg);
    return;
  }
  enter(m);
  park_fiber(m, why, commit, arg);
}

// A commit hook: it runs on the thread that was left, so its M is the yielding fiber's.
static void put_yielding(void* arg) noexcept {
  M* m = static_cast<M*>(arg);
  m->p->queue.put(m->yielding);
}

// A batch is dear if the queue is long (its half goes back, and all of them are cold), so not at each turn of it.
static G* pick_for_yield(P* p) noexcept {
  constexpr std::uint32_t turns = 16;
  if (sched.normal_in_global() != 0 && ++p->yields_in_a_row > turns * p->queue.size()) {
    p->yields_in_a_row = 0;
    if (G* g = take_global(p, false)) return g;
  }
  return pick(p);
}

[[gnu::noinline]] static void yield_fiber(M* m) noexcept {
  G* g = m->cur;
  P* p = m->p;
  m->slice_over.store(false, std::memory_order_relaxed);
  if (p == nullptr) {
    g->parked_without_p = true;
    leave(leave_cpu(
        m, nullptr, {&g->sp, &g->eh, g->stk->view, g}, [](void* self) noexcept { push_global(static_cast<G*>(self)); },
        g));
    return;
  }
  G* next = nullptr;
  if (count_pick(p)) {  // every time: a loop of yields must still see timers, the global queue and the poller
    if (m->pinned_g == nullptr) next = pick_for_yield(p);
    if (next == nullptr && p->queue.empty()) {  // nobody to yield to
      leave(m);
      return;
    }
  }
  if (p->queue.size() >= run_queue<G>::capacity) [[unlikely]]
    make_room(p);  // so that the hook's put cannot fail: thieves only take
  m->yielding = g;
  leave(leave_cpu(m, next, {&g->sp, &g->eh, g->stk->view, g}, put_yielding, m));
}

void yield_now() noexcept {
  M* m = current_m();
  if (m == nullptr || m->cur == nullptr || m->in_blocking != 0) {
    os::yield_cpu();
    return;
  }
  enter(m);
  yield_fiber(m);
}

}  // namespace weft::rt
