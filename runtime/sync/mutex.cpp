// SPDX-License-Identifier: Apache-2.0
// mutex: basic_mutex in the scheduler's world.
#include <weft/mutex.hpp>

#include "runtime/base/fatal.hpp"
#include "runtime/sync/basic_mutex.hpp"
#include "runtime/wait/env.hpp"

namespace weft {
inline namespace v0 {

using core = rt::basic_mutex<rt::env>;

bool mutex::try_lock() noexcept { return core(word_, waiters_).try_lock(); }

bool mutex::lock_slow(std::int64_t patience) noexcept { return core(word_, waiters_).lock(patience); }

void mutex::unlock_slow() noexcept {
  if (!core(word_, waiters_).unlock()) rt::fatal("weft: unlock of unlocked mutex");
}

}  // namespace v0
}  // namespace weft
