// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/membarrier.hpp"

#include <linux/membarrier.h>

#include <weft/detail/atomic.hpp>

#include "runtime/base/fatal.hpp"
#include "runtime/base/os.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

constinit detail::atomic<bool> parkers_must_fence{false};

void init_membarrier() noexcept {
  const bool granted =
      os::membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) && os::membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  parkers_must_fence.store(!granted, std::memory_order_relaxed);
}

void fence_all_threads() noexcept {
  const auto is_granted = [] {
    return !parkers_must_fence.load(std::memory_order_relaxed) && os::membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  };
  if (is_granted()) return;
  std_atomics::fence_seq_cst();
  // Before the first run(), between two and in the child of a fork there is no fiber to cancel and no P to take.
  // Acquire: a run that has begun since has registered before, and now the call is granted.
  const bool runs = sched.procs.load(std::memory_order_acquire) != 0 && !sched.ended.load(std::memory_order_relaxed);
  if (runs && !parkers_must_fence.load(std::memory_order_relaxed) && !is_granted()) {
    fatal(
        "weft: membarrier(2), which run() was granted, is refused now, while threads rely on it; allow it in the "
        "seccomp filter, or install the filter before weft::run, which then does without");
  }
}

}  // namespace weft::rt
