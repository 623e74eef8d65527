// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/membarrier.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weft::inline v0::rt {

constinit std::atomic<bool> parkers_must_fence{false};

void init_membarrier() noexcept {
  const bool refused = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
  parkers_must_fence.store(refused, std::memory_order_relaxed);
}

void fence_all_threads() noexcept {
  const bool refused = parkers_must_fence.load(std::memory_order_relaxed);
  if (refused || syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) std_atomics::fence_seq_cst();
}

}  // namespace weft::inline v0::rt
