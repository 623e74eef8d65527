// SPDX-License-Identifier: Apache-2.0
// A lock that is one bit of an object's state word, so that a fast path which reads the word also sees whether a waker
// is inside: the object may be destroyed by whoever sees it free.
//
// Locked instructions: one to lock; the unlock is the caller's store or RMW that also changes the state.
#pragma once

#include <sched.h>

#include "runtime/base/atomics.hpp"

namespace weft::inline v0::rt {

/// Waits a moment for the holder of a bit lock; `turn` counts the calls.
inline void bit_lock_pause(int turn) noexcept {
  if (turn < 100)
    std_atomics::pause();
  else
    sched_yield();
}

}  // namespace weft::inline v0::rt
