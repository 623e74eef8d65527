// SPDX-License-Identifier: Apache-2.0
// condition_variable: basic_condition in the scheduler's world, its outcomes as exceptions.
#include <weft/condition_variable.hpp>

#include <system_error>

#include "runtime/sched/thread_g.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/scope/outcome.hpp"
#include "runtime/sync/basic_condition.hpp"
#include "runtime/wait/env.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

using core = basic_condition<env>;

std::int64_t condition_variable::enter(const std::unique_lock<mutex>& lock, std::int64_t patience) {
  check_cancelled(current_g());
  if (!lock.owns_lock())
    throw std::system_error(std::make_error_code(std::errc::operation_not_permitted),
                            "weft: condition_variable: the std::unique_lock owns no mutex; lock it before the wait");
  return deadline_in(patience);
}

bool condition_variable::wait_for_ns(std::unique_lock<mutex>& lock, std::int64_t patience) {
  return wait_until_ns(lock, enter(lock, patience));
}

bool condition_variable::wait_until_ns(std::unique_lock<mutex>& lock, std::int64_t deadline) {
  check_cancelled(current_g());
  const wait_outcome how = core(lock_, waiters_).wait(*lock.mutex(), {wait_reason::condition_variable, true, deadline});
  if (how == wait_outcome::timed_out) return false;
  throw_if_not_ok(how);
  return true;
}

void condition_variable::notify_one() noexcept { core(lock_, waiters_).notify_one(); }

void condition_variable::notify_all() noexcept { core(lock_, waiters_).notify_all(); }

}  // namespace v0
}  // namespace weft
