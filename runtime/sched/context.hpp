// SPDX-License-Identifier: Apache-2.0
// The one place where a thread changes stacks.
//
// A switch leaves an *execution* (a fiber, the idle runner of a pooled stack, or an M's own loop) and arrives in
// another. What must happen only once the old one is off its stack — release a queue's lock, put it into a run queue,
// pool its stack — is the commit hook; the side that arrives runs it first. `arrive` is called at the three places
// where a switch can arrive: after the jump of an execution that is resumed, in the entry of a stack that runs for the
// first time, and after the jump of an M's loop (which is the first case on another stack).
//
// Invariants
//  1. `arrive` saves the context that was left, then clears its fiber's `on_cpu` (release; pairs with the acquire in
//     `wake`), then runs the hook, in this order: once `on_cpu` is clear and the hook has released its locks, the fiber
//     may run elsewhere, so the hook touches nothing of it after its last release.
//  2. A hook is noexcept, allocates nothing, and only releases.
//  3. The M is another one after every jump, as the execution may continue on another thread: it comes with the jump,
//     from the thread that made it. Nothing that depends on the thread (the M, errno, a thread_local's address) lives
//     across `switch_execution`; functions that call it are not inlined.
//  4. The exception state of libstdc++ is per thread; each execution carries its own.
//  5. Sanitizers are told through weak hooks, in the same frame as the jump. Nothing else in weft jumps.
#pragma once

#include <boost/context/detail/fcontext.hpp>

#include <cstddef>

#include "runtime/fiber/sanitizer_context.hpp"
#include "runtime/sched/g.hpp"
#include "runtime/sched/m.hpp"

// Null unless the program that links weft has the sanitizer.
extern "C" {
[[gnu::weak]] void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, std::size_t size);
[[gnu::weak]] void __sanitizer_finish_switch_fiber(void* fake_stack, const void** old_bottom, std::size_t* old_size);
[[gnu::weak]] void* __tsan_get_current_fiber();
[[gnu::weak]] void* __tsan_create_fiber(unsigned flags);
[[gnu::weak]] void __tsan_destroy_fiber(void* fiber);
[[gnu::weak]] void __tsan_switch_to_fiber(void* fiber, unsigned flags);
}

namespace weft::rt {

/// Whether the program has a sanitizer that wants to hear of switches; set once, before the first M.
extern bool sanitizer_hooks;
void probe_sanitizer_hooks() noexcept;

/// Learns the bounds of the calling thread's own stack; once per M, on it.
void describe_thread_stack(sanitizer_context& view) noexcept;

/// The execution that is left: where its context and exception state are saved, and the fiber whose `on_cpu` is cleared
/// then (nullptr: an M's loop, or the runner of a fiber that has ended).
struct departure {
  void** sp;
  eh_globals* eh;
  sanitizer_context* view;
  G* left;
};
struct destination {
  void* sp;
  const eh_globals& eh;
  sanitizer_context* view;
};

/// The first act on the new stack. In a debug build of the program `self` is told to the sanitizer as the one that runs
/// now.
[[gnu::always_inline]] inline void arrive(void* left_sp, M* m, sanitizer_context* self) noexcept {
  if (sanitizer_hooks && __sanitizer_finish_switch_fiber != nullptr) [[unlikely]]
    __sanitizer_finish_switch_fiber(self->fake_stack, nullptr, nullptr);
  *m->left_sp = left_sp;
  if (G* left = m->left) {
    m->left = nullptr;
    left->on_cpu.store(false, std::memory_order_release);  // pairs with the acquire in wait_until_off_cpu
  }
  if (commit_fn hook = m->hook) {
    m->hook = nullptr;
    hook(m->hook_arg);
  }
}

/// Leaves `from` for `to`; returns when somebody switches back, perhaps on another thread: gives the M there.
[[gnu::always_inline]] inline M* switch_execution(M* m, const departure& from, const destination& to) noexcept {
  m->left_sp = from.sp;
  m->left = from.left;
  *from.eh = *m->eh;
  *m->eh = to.eh;
  sanitizer_context* const self = from.view;
  if (sanitizer_hooks) [[unlikely]] {
    if (__sanitizer_start_switch_fiber != nullptr)
      __sanitizer_start_switch_fiber(&self->fake_stack, to.view->bottom, to.view->size);
    if (__tsan_switch_to_fiber != nullptr) __tsan_switch_to_fiber(to.view->tsan_fiber, 0);
  }
  const auto back = boost::context::detail::jump_fcontext(to.sp, m);
  M* const here = static_cast<M*>(back.data);
  arrive(back.fctx, here, self);
  return here;
}

}  // namespace weft::rt
