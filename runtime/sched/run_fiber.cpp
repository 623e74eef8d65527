// SPDX-License-Identifier: Apache-2.0
// A stack's runner: the loop at the bottom of every fiber stack, which runs one fiber after the other.
//
// A fiber that ends does not abandon its context. If the P's next fiber has not started yet, it simply runs here, on
// this stack, with no switch at all; otherwise the runner leaves like any other execution and its stack goes to the
// pool with the context in `stack::runner`, where the next new fiber resumes it. So a stack's context is made once, and
// the shadow stacks of sanitizers stay balanced.
#include "runtime/sched/run_fiber.hpp"

#include <cassert>

#include "runtime/base/fatal.hpp"
#include "runtime/fiber/stack.hpp"
#include "runtime/sched/context.hpp"
#include "runtime/sched/g_pool.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/pinned.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/stack_shortage.hpp"
#include "runtime/sched/upcalls.hpp"

namespace weft::rt {

static void pool_stack(void* arg) noexcept {
  M* m = current_m();
  stack* s = static_cast<stack*>(arg);
  if (m->p != nullptr && !cached_stacks_are_short())
    m->p->stacks.put(s);
  else
    release_stack(s);  // where everybody finds it
}

// The bottom frame. Unwinders, perf and gdb stop here: the caller is Boost.Context's trampoline, which has no frame
// information. Not noexcept, as little as what it calls: see run_detached.
[[gnu::noinline]] static void runner(boost::context::detail::transfer_t from) {
#if defined(__x86_64__)
  asm volatile(".cfi_undefined rip");
#elif defined(__aarch64__)
  asm volatile(".cfi_undefined x30");
#endif
  M* m = static_cast<M*>(from.data);
  arrive(from.fctx, m, m->cur->stk->view);
  for (;;) {
    stack* const s = m->cur->stk;
    leave(m);
    run_body(m->cur);
    assert(s->locals() == nullptr && "a value of this fiber would be the next one's");
    m = enter(at_entry::keep_p);  // on whatever thread the fiber has ended
    if (m == nullptr) [[unlikely]]
      fatal(
          "weft: the child of a fork returned from the fiber that it was forked in, which exists in its parent only; "
          "call exec or _exit");
    if (m->cur->pinned != nullptr && m->cur->pins < pin_base) [[unlikely]]
      forget_pins(m, m->cur);
    free_g(m, m->cur);
    order_arm_before_look();  // the count of the gone before the look; pairs with the fences in cancel_everybody
    if (sched.closing.load(std::memory_order_relaxed)) [[unlikely]]
      fiber_gone(m);
    G* next = m->p != nullptr && m->pinned_g == nullptr ? pick_local(m->p) : nullptr;
    if (next != nullptr && next->stk == nullptr && next->stack_size == 0 && next->pinned == nullptr &&
        s->size == default_stack_size.load(std::memory_order_relaxed) && !cached_stacks_are_short()) {
      forget_frames(s);
      next->bind(s);
      s->owner = next;
      next->on_cpu.store(true, std::memory_order_relaxed);
      m->cur = next;
      continue;
    }
    m = leave_runner(m, s, next, pool_stack, s);
  }
}

bool bind_fiber(stack_cache& cache, unsigned shard, G* g) noexcept {
  stack* s = bind_stack(cache, std::size_t{g->stack_size} * 1024, shard);
  if (s == nullptr) return false;
  if (s->runner == nullptr) {
    s->runner = boost::context::detail::make_fcontext(s->first_frame(),
                                                      static_cast<std::size_t>(s->first_frame() - s->lo), runner);
    s->locals() = nullptr;
    if (sanitizer_hooks) {
      s->view->fake_stack = nullptr;
      if (__tsan_create_fiber != nullptr) {
        if (s->view->tsan_fiber != nullptr)
          __tsan_destroy_fiber(s->view->tsan_fiber);  // of a runner whose memory went back
        s->view->tsan_fiber = __tsan_create_fiber(0);
      }
    }
  }
  g->bind(s);
  g->sp = s->runner;
  s->owner = g;
  return true;
}

[[gnu::noinline]] void run_from_loop(M* m, G* g) noexcept {
  m->cur = g;
  g->on_cpu.store(true, std::memory_order_relaxed);  // only whoever runs it writes it before it is left again
  m->hook = nullptr;
  switch_execution(m, {&m->loop_sp, &m->loop_eh, &m->loop_view, nullptr}, {g->sp, g->eh, g->stk->view});
}

}  // namespace weft::rt
