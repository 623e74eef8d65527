// SPDX-License-Identifier: Apache-2.0
// select_run in the world of `Env`: that of the network also ends the waits of plain threads when no runtime runs.
#pragma once

#include <weft/detail/select_run.hpp>

#include "runtime/sched/thread_g.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/scope/outcome.hpp"
#include "runtime/wait/basic_select.hpp"
#include "runtime/wait/env.hpp"

namespace weft::rt {

template <class Env>
detail::select_result run_select(const detail::select_entry* entries, std::uint32_t count,
                                 const detail::select_plan& plan, void* room) {
  check_cancelled(current_g());
  auto* const nodes = static_cast<select_node<Env>*>(room);
  auto* const order = reinterpret_cast<std::uint32_t*>(nodes + count);
  basic_select<Env> cases(entries, count, order, order + count, nodes);
  select_request how;
  how.blocking = plan.otherwise == detail::select_plan::absent;
  how.biased = plan.biased;
  how.deadline = plan.deadline;
  how.expired = plan.deadline == detail::select_plan::passed;
  if (count == 0) how.why = wait_reason::select_no_cases;
  const select_outcome found = cases.run(how);
  if (found.none) return {plan.otherwise, false};
  if (found.how == wait_outcome::timed_out) return {plan.timeout, false};
  throw_if_not_ok(found.how);
  return {found.index, found.how == wait_outcome::closed};
}

}  // namespace weft::rt
