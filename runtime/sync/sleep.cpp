// SPDX-License-Identifier: Apache-2.0
// Sleeping: a wait that only its timer and a cancellation can end.
#include <weft/time.hpp>

#include "runtime/sched/thread_g.hpp"
#include "runtime/sched/timer_heap.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/scope/outcome.hpp"
#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

static void sleep_to(nanoseconds_t deadline) {
  G* g = current_g();
  check_cancelled(g);
  const wait_outcome how = wait_alone<env>({wait_reason::sleep, true, deadline});
  if (how != wait_outcome::timed_out) throw_if_not_ok(how);
}

void detail::sleep_until_ns(std::chrono::nanoseconds since_epoch) {
  const nanoseconds_t deadline = since_epoch.count();
  if (deadline <= steady_now())
    rt::check_cancelled(current_g());
  else
    sleep_to(deadline);
}

void sleep_for(detail::any_duration how_long) {
  if (how_long.ns() <= 0)
    rt::check_cancelled(current_g());
  else
    sleep_to(saturating_add(steady_now(), how_long.ns()));
}

}  // namespace v0
}  // namespace weft
