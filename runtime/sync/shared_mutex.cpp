// SPDX-License-Identifier: Apache-2.0
// shared_mutex: basic_shared_mutex in the scheduler's world.
#include <weft/shared_mutex.hpp>

#include "runtime/base/fatal.hpp"
#include "runtime/sync/basic_shared_mutex.hpp"
#include "runtime/wait/env.hpp"

namespace weft {
inline namespace v0 {

using core = rt::basic_shared_mutex<rt::env>;

bool shared_mutex::try_lock() noexcept { return core(word_, writers_, readers_).try_lock(core::side::writers); }

bool shared_mutex::try_lock_shared() noexcept { return core(word_, writers_, readers_).try_lock(core::side::readers); }

bool shared_mutex::lock_slow(std::int64_t patience) noexcept {
  return core(word_, writers_, readers_).lock(core::side::writers, rt::deadline_in(patience));
}

bool shared_mutex::lock_shared_slow(std::int64_t patience) noexcept {
  return core(word_, writers_, readers_).lock(core::side::readers, rt::deadline_in(patience));
}

void shared_mutex::unlock_slow() noexcept {
  if (!core(word_, writers_, readers_).unlock(core::side::writers)) rt::fatal("weft: unlock of unlocked shared_mutex");
}

void shared_mutex::unlock_shared_slow() noexcept {
  if (!core(word_, writers_, readers_).unlock(core::side::readers))
    rt::fatal("weft: unlock_shared of a shared_mutex that no reader holds");
}

}  // namespace v0
}  // namespace weft
