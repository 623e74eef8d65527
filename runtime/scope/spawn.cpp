// SPDX-License-Identifier: Apache-2.0
// Starting fibers: from the closure's room to the run queue.
//
// The gate. A plain thread may start fibers while a runtime runs; the end of run() must not pass while it does.
// `start_gate` counts the plain threads between prepare and start, and has a closed bit: prepare counts itself in and
// looks at the bit (one RMW), the end sets the bit and waits until nobody is counted. Fibers need no gate: the end
// waits for them anyway.
#include <weft/detail/nursery.hpp>
#include <weft/detail/spawn.hpp>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>

#include "runtime/config/options.hpp"
#include "runtime/sched/fork.hpp"
#include "runtime/sched/g_pool.hpp"
#include "runtime/sched/gate.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/scope/completion_access.hpp"

namespace weft {
namespace rt {

static void* room_for(G* g, std::size_t size, std::size_t alignment) {
  if (size <= G::inline_closure_size && alignment <= 64) return g->inline_closure;
  const std::size_t grain = std::max(alignment, alignof(std::max_align_t));
  return std::aligned_alloc(grain, (size + grain - 1) / grain * grain);
}

}  // namespace rt

inline namespace v0 {

namespace detail {

using namespace rt;

[[gnu::noinline]] unstarted_fiber prepare_fiber(std::size_t size, std::size_t alignment, const attrs* how) {
  const bool foreign = current_fiber() == nullptr;
  if (foreign && !start_gate.enter()) {
    throw std::logic_error(forked_away.load(std::memory_order_relaxed)
                               ? forked_away_sentence
                               : "weft: no runtime runs: go and spawn need one (weft::run), also from plain threads");
  }
  G* g = nullptr;
  try {
    std::size_t stack_kib = 0;
    if (how != nullptr && how->stack_size != 0)
      stack_kib = (check_stack_size("attrs.stack_size", how->stack_size) + 1023) / 1024;
    g = allocate_g();
    g->stack_size = static_cast<std::uint32_t>(stack_kib);
    if (how != nullptr && !how->name.empty()) copy_name(g, how->name);
    g->spawn_site = __builtin_return_address(0);
    g->closure = room_for(g, size, alignment);
    if (g->closure == nullptr) throw std::bad_alloc();
  } catch (...) {
    if (g != nullptr) drop_fiber({g, nullptr});
    if (foreign && g == nullptr) start_gate.leave();
    throw;
  }
  return {g, g->closure};
}

void start_fiber(unstarted_fiber s, void (*entry)(void*), completion* ended, nursery* home) noexcept {
  G* g = static_cast<G*>(s.g);
  const bool foreign = current_fiber() == nullptr;
  g->entry = entry;
  g->ended = ended;
  if (ended != nullptr) completion_access::bind(*ended, g, home != nullptr);
  if (home != nullptr) home->add_child(g);
  order_arm_before_look();  // the id is published before the look; pairs with the fence in cancel_everybody
  if (sched.closing.load(std::memory_order_relaxed)) {
    spin_guard guard(g->scope_lock);
    g->base_cancelled.store(true, std::memory_order_relaxed);
    g->cancel.store(1, std::memory_order_relaxed);
  }
  submit_new(g);
  if (foreign) start_gate.leave();
}

void drop_fiber(unstarted_fiber s) noexcept {
  G* g = static_cast<G*>(s.g);
  const bool foreign = current_fiber() == nullptr;
  if (g->closure != g->inline_closure) std::free(g->closure);
  {
    inside_runtime here;
    free_g(here.m(), g);
  }
  if (foreign) start_gate.leave();
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
