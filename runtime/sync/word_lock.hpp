// SPDX-License-Identifier: Apache-2.0
// A lock that is one bit of an object's state word, so that a fast path which reads the word also sees whether a waker
// is inside: the object may be destroyed by a thread that sees it free.
//
// Locked instructions: one to lock; the unlock is the caller's store or RMW that also changes the state.
#pragma once

#include <type_traits>

#include "runtime/base/atomics.hpp"
#include "runtime/base/os.hpp"

namespace weft::rt {

/// Waits a moment for the holder of a bit lock; `turn` counts the calls. Under the model checker every pause is a wait.
template <class Atomics = std_atomics>
void bit_lock_pause(int turn) noexcept {
  if (!std::is_same_v<Atomics, std_atomics> || turn < 100)
    Atomics::pause();
  else
    os::yield_cpu();
}

}  // namespace weft::rt
