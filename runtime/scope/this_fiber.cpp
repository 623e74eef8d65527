// SPDX-License-Identifier: Apache-2.0
#include <weft/runtime.hpp>

#include "runtime/sched/g_pool.hpp"
#include "runtime/sched/m.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/scope/cancel.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

std::size_t num_fibers() noexcept {
  const std::int64_t n = live_fibers();
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

void yield() {
  rt::check_cancelled(current_g());
  yield_now();
}

namespace this_fiber {

std::uint64_t id() noexcept {
  const G* g = current_fiber();
  return g != nullptr ? g->id.load(std::memory_order_relaxed) : 0;
}

std::string name() {
  const G* g = current_fiber();
  return g != nullptr ? g->name : "";
}

void set_name(std::string_view name) noexcept {
  if (G* g = current_fiber()) copy_name(g, name);
}

bool cancelled() noexcept {
  const G* g = current_fiber();
  return g != nullptr && cancel_pending(g);
}

void check_cancelled() { rt::check_cancelled(current_g()); }

}  // namespace this_fiber
}  // namespace v0
}  // namespace weft
