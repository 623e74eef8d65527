// SPDX-License-Identifier: Apache-2.0
// Every fiber, from fields that its owner may be changing: see peek.hpp.
#include "runtime/inspect/dump.hpp"

#include "runtime/inspect/peek.hpp"
#include "runtime/sched/all_g.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::inline v0::rt {

void dump_everything(std::FILE* out) noexcept {
  for_each_g([&](G& g) {
    const std::uint64_t id = g.id.load(std::memory_order_relaxed);
    if (id == 0) return;
    const char* state = g.on_cpu.load(std::memory_order_relaxed) ? "running"
                        : g.wait.is_open()                       ? to_string(g.reason.load(std::memory_order_relaxed))
                                                                 : "runnable";
    std::fprintf(out, "fiber %llu [%s]:\n", static_cast<unsigned long long>(id), state);
  });
}

}  // namespace weft::inline v0::rt
