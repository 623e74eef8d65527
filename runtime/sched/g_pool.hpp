// SPDX-License-Identifier: Apache-2.0
// Gs, from a slab that only grows, and the counts of fibers.
#pragma once

#include <cstdint>
#include <string_view>

#include "runtime/sched/m.hpp"

namespace weft::rt {

/// Returns a G with a new id and nothing else. Throws std::bad_alloc, std::system_error at a limit.
G* allocate_g();
/// The same in an M's loop, for a deferred action of a timer.
G* allocate_g_in_loop();
void free_g(M* m, G* g) noexcept;
void copy_name(G* g, std::string_view name) noexcept;

/// A fiber that others may hear of (a joiner, its scope) counts as ended from here on, before they do.
void count_end() noexcept;
std::int64_t live_fibers() noexcept;     ///< started and not ended
std::int64_t present_fibers() noexcept;  ///< started and not gone: those whose end still has something to do count, too

}  // namespace weft::rt
