// SPDX-License-Identifier: Apache-2.0
// semaphore: basic_semaphore in the scheduler's world, its outcomes as exceptions.
#include <weft/semaphore.hpp>

#include <stdexcept>
#include <string>

#include "runtime/sched/thread_g.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/scope/outcome.hpp"
#include "runtime/sync/basic_semaphore.hpp"
#include "runtime/sync/require_at_least.hpp"
#include "runtime/wait/env.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

using core = basic_semaphore<env>;

std::ptrdiff_t semaphore::refuse(const char* what, std::ptrdiff_t n) { throw_too_small(what, n, 0); }

bool semaphore::acquire_ns(std::ptrdiff_t n, std::int64_t patience) {
  require_at_least("semaphore::acquire", n, 0);
  check_cancelled(current_g());
  if (patience <= 0) return core(lock_, free_, waiters_).try_acquire(n);
  const wait_outcome how =
      core(lock_, free_, waiters_).acquire(n, {wait_reason::semaphore, true, deadline_in(patience)});
  if (how == wait_outcome::timed_out) return false;
  throw_if_not_ok(how);
  return true;
}

bool semaphore::try_acquire(std::ptrdiff_t n) {
  require_at_least("semaphore::try_acquire", n, 0);
  return core(lock_, free_, waiters_).try_acquire(n);
}

void semaphore::release(std::ptrdiff_t n) {
  require_at_least("semaphore::release", n, 0);
  if (!core(lock_, free_, waiters_).release(n))
    throw std::overflow_error("weft: semaphore::release(" + std::to_string(n) +
                              "): there would be more permits than a std::ptrdiff_t can count");
}

}  // namespace v0
}  // namespace weft
