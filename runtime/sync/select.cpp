// SPDX-License-Identifier: Apache-2.0
// The select of the library: basic_select in the scheduler's world, with its outcomes as exceptions.
#include <weft/detail/select_run.hpp>

#include "runtime/sched/thread_g.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/scope/outcome.hpp"
#include "runtime/sync/run_select.hpp"
#include "runtime/wait/basic_select.hpp"
#include "runtime/wait/env.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

using namespace rt;

static_assert(sizeof(select_node<env>) + 2 * sizeof(std::uint32_t) <= select_room);
static_assert(alignof(select_node<env>) <= alignof(void*) && select_plan::never == never);

select_result select_run(const select_entry* entries, std::uint32_t count, const select_plan& plan, void* room) {
  return run_select<env>(entries, count, plan, room);
}

std::int64_t select_deadline_in(std::int64_t patience) noexcept {
  return patience <= 0 ? select_plan::passed : saturating_add(steady_now(), patience);
}

std::int64_t select_deadline_at(std::int64_t when) noexcept {
  return when == never || when > steady_now() ? when : select_plan::passed;
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
