// SPDX-License-Identifier: Apache-2.0
// Every G that was ever made, for those who must look at all of them: the end of run(), dumps.
#pragma once

#include <atomic>
#include <cstddef>

#include "runtime/sched/g.hpp"

namespace weft::inline v0::rt {

struct g_chunk {
  static constexpr unsigned capacity = 1023;
  alignas(64) g_chunk* next = nullptr;
  std::atomic<unsigned> used{0};
  alignas(64) std::byte storage[capacity * sizeof(G)];
};

extern std::atomic<g_chunk*> g_chunks;

/// Calls f(G&) for every G ever made, running, parked or free. No lock; what it sees of a G may change while it looks.
template <class F>
void for_each_g(F&& f) {
  for (g_chunk* c = g_chunks.load(std::memory_order_acquire); c != nullptr; c = c->next) {
    const unsigned used = c->used.load(std::memory_order_acquire);
    for (unsigned i = 0; i < used; ++i) f(*reinterpret_cast<G*>(&c->storage[i * sizeof(G)]));
  }
}

}  // namespace weft::inline v0::rt
