// SPDX-License-Identifier: Apache-2.0
// Every G that was ever made, for those who must look at all of them: the end of run(), dumps.
//
// Beside the Gs lie the rooms for the timers of their waits, one each: a fiber waits for one thing at a time. On the
// fibers' stacks, which are pages apart, a heap of ten thousand timers would pay a TLB miss for every node it touches.
// Rooms never used stay untouched memory.
#pragma once

#include <cstddef>

#include <weft/detail/atomic.hpp>

#include "runtime/sched/g.hpp"

namespace weft::rt {

struct g_chunk {
  static constexpr unsigned capacity = 1023;
  alignas(64) g_chunk* next = nullptr;
  detail::atomic<unsigned> used{0};
  alignas(64) std::byte storage[capacity * sizeof(G)];
  alignas(64) std::byte timer_rooms[capacity * sizeof(timer)];
};
static_assert(sizeof(timer) == 64, "one cache line a timer");

/// Where the timer of this fiber's wait is made. Not for a plain thread's stand-in.
inline void* timer_room(G* g) noexcept {
  std::byte* const storage = reinterpret_cast<std::byte*>(g - g->slab_index);
  return storage - offsetof(g_chunk, storage) + offsetof(g_chunk, timer_rooms) + g->slab_index * sizeof(timer);
}

extern detail::atomic<g_chunk*> g_chunks;

/// Calls f(G&) for every G ever made, running, parked or free. No lock; what it sees of a G may change while it looks.
template <class F>
void for_each_g(F&& f) {
  for (g_chunk* c = g_chunks.load(std::memory_order_acquire); c != nullptr; c = c->next) {
    const unsigned used = c->used.load(std::memory_order_acquire);
    for (unsigned i = 0; i < used; ++i) f(*reinterpret_cast<G*>(&c->storage[i * sizeof(G)]));
  }
}

}  // namespace weft::rt
