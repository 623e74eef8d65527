// SPDX-License-Identifier: Apache-2.0
// Where Gs come from: a slab that only grows, free lists per P over a shared one, and ids in blocks.
//
// Invariants
//  1. A G is constructed once and never destroyed; a chunk is linked into `chunks` before any of its Gs is handed out,
//     so a walk over the chunks sees every G that anyone may hold.
//  2. A P's free list belongs to its holder; the shared one to `slab_lock`. mmap runs with no lock held.
//  3. `started - ended`, summed over the Ps and the foreign counters, is the number of live fibers when none starts or
//     ends. A fiber that somebody may wait for is counted as ended before they hear of it; `gone` counts the last that
//     is left of a fiber: the end of run() waits for that, as between the two it may still run a scope's error handler.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include <weft/detail/atomic.hpp>

#include "runtime/sched/g_pool.hpp"

#include "runtime/fiber/stack.hpp"
#include "runtime/sched/all_g.hpp"
#include "runtime/sched/fiber_limit.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

namespace {

constexpr unsigned refill = 32;
constexpr std::uint64_t id_block = 64;

constinit detail::spin_lock slab_lock;
constinit g_chunk* filling = nullptr;  // the newest chunk; guarded by slab_lock
constinit G* shared_free = nullptr;    // guarded by slab_lock

G* pop_shared(unsigned want, unsigned& got) noexcept {
  detail::spin_guard guard(slab_lock);
  G* list = nullptr;
  got = 0;
  while (got < want && shared_free != nullptr) {
    G* g = shared_free;
    shared_free = g->link;
    g->link = list;
    list = g;
    ++got;
  }
  while (got < want && filling != nullptr && filling->used.load(std::memory_order_relaxed) < g_chunk::capacity) {
    const unsigned n = filling->used.load(std::memory_order_relaxed);
    G* g = new (&filling->storage[n * sizeof(G)]) G;
    g->slab_index = static_cast<std::uint16_t>(n);
    filling->used.store(n + 1, std::memory_order_release);  // pairs with the acquire in for_each_g
    g->link = list;
    list = g;
    ++got;
  }
  return list;
}

void add_chunk() {
  void* memory =
      mmap(nullptr, sizeof(g_chunk), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  auto* chunk = new (memory) g_chunk;
  detail::spin_guard guard(slab_lock);
  // Of two chunks that are added at the same moment one stays partly unused: address space, not memory.
  chunk->next = g_chunks.load(std::memory_order_relaxed);
  g_chunks.store(chunk, std::memory_order_release);
  filling = chunk;
}

G* refill_from_shared(unsigned want, unsigned& got) {
  for (;;) {
    if (G* list = pop_shared(want, got)) return list;
    add_chunk();
  }
}

}  // namespace

constinit detail::atomic<g_chunk*> g_chunks{nullptr};

static G* take_g(P* p) {
  G* g = nullptr;
  std::uint64_t id = 0;
  if (p != nullptr) {
    if (p->free_list == nullptr) p->free_list = refill_from_shared(refill, p->free_count);
    g = p->free_list;
    p->free_list = g->link;
    --p->free_count;
    if (p->next_id == p->last_id) {
      p->next_id = sched.id_blocks.fetch_add(id_block, std::memory_order_relaxed) + 1;
      p->last_id = p->next_id + id_block;
    }
    id = p->next_id++;
    p->started.add();
  } else {
    unsigned got = 0;
    g = refill_from_shared(1, got);
    id = sched.id_blocks.fetch_add(id_block, std::memory_order_relaxed) + 1;
    sched.foreign_started.fetch_add(1, std::memory_order_relaxed);
  }
  g->link = nullptr;
  g->parked_without_p = false;
  g->cause = wait_cause::woken;
  g->cancel.store(0, std::memory_order_relaxed);
  g->base_cancelled.store(false, std::memory_order_relaxed);
  g->eh = {};
  g->bind(nullptr);
  g->ended = nullptr;
  g->home = nullptr;
  g->pinned = nullptr;
  g->pins = 0;
  g->stack_size = 0;
  g->reason.store(wait_reason::none, std::memory_order_relaxed);
  g->name[0] = '\0';
  g->id.store(id, std::memory_order_release);  // last: whoever cancels everybody takes it for a fiber from here on
  return g;
}

G* allocate_g() {
  {
    inside_runtime here(at_entry::hand_p_over);
    if (may_start_fiber(here.p())) return take_g(here.p());
  }
  throw_fiber_limit();
}

G* allocate_g_in_loop() {
  P* const p = current_m()->p;
  if (!may_start_fiber(p)) throw_fiber_limit();
  G* const g = take_g(p);
  // Who readies a batch waits until its fibers are off their stacks, and one that has ended on this G never said so.
  g->on_cpu.store(false, std::memory_order_relaxed);
  return g;
}

void copy_name(G* g, std::string_view name) noexcept {
  const std::size_t n = std::min(name.size(), G::name_size - 1);
  std::memcpy(g->name, name.data(), n);
  g->name[n] = '\0';
}

void free_g(M* m, G* g) noexcept {
  P* p = m != nullptr ? m->p : nullptr;
  const bool counted = g->ended != nullptr || g->home != nullptr;  // by count_end; nobody hears of the others' end
  g->id.store(0, std::memory_order_relaxed);  // a hint for dumps; of cancellers see rule 2 of scope/cancel.hpp
  g->bind(nullptr);
  if (p != nullptr) {
    g->link = p->free_list;
    p->free_list = g;
    if (!counted) p->ended.add();
    p->gone.add();
    if (++p->free_count > P::max_free) {
      detail::spin_guard guard(slab_lock);
      while (p->free_count > P::max_free / 2) {
        G* spare = p->free_list;
        p->free_list = spare->link;
        --p->free_count;
        spare->link = shared_free;
        shared_free = spare;
      }
    }
  } else {
    {
      detail::spin_guard guard(slab_lock);
      g->link = shared_free;
      shared_free = g;
    }
    if (!counted) sched.foreign_ended.fetch_add(1, std::memory_order_release);
    sched.foreign_gone.fetch_add(1, std::memory_order_release);
  }
}

void count_end() noexcept {
  inside_runtime here;
  if (P* p = here.p())
    p->ended.add();
  else
    sched.foreign_ended.fetch_add(1, std::memory_order_release);
}

// Ends before starts: a fiber that starts and ends in between must not make the difference negative.
static std::int64_t started_without(const detail::atomic<std::int64_t>& foreign, owned_counter P::*own) noexcept {
  std::int64_t subtract = foreign.load(std::memory_order_acquire);
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) subtract += (sched.all_ps[i].load(std::memory_order_acquire)->*own).get();
  std::int64_t started = sched.foreign_started.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) started += sched.all_ps[i].load(std::memory_order_acquire)->started.get();
  return started - subtract;
}

std::int64_t live_fibers() noexcept { return started_without(sched.foreign_ended, &P::ended); }

std::int64_t present_fibers() noexcept { return started_without(sched.foreign_gone, &P::gone); }

}  // namespace weft::rt
