// SPDX-License-Identifier: Apache-2.0
// The slow half of the internal lock. After 100 pauses the holder is probably not running: yield, and if yielding does
// not help
// (a real-time thread yields to nobody of lower rank) sleep 50 µs at a time.
#include <weft/detail/spin_lock.hpp>

#include <sched.h>
#include <time.h>

#include "runtime/base/atomics.hpp"

namespace weft::inline v0::detail {

void spin_lock::lock_slow() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  constexpr int pauses = 100;
  constexpr int yields = 120;
  for (int turn = 0;; ++turn) {
    if (word_.load(std::memory_order_relaxed) == 0 && word_.exchange(1, std::memory_order_acquire) == 0) return;
    if (turn < pauses) {
      rt::std_atomics::pause();
    } else if (turn < yields) {
      sched_yield();
    } else {
      const timespec nap{0, 50'000};
      nanosleep(&nap, nullptr);
    }
  }
}

}  // namespace weft::inline v0::detail
