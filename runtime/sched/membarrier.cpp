// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/membarrier.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weft::inline v0::rt {

constinit bool parkers_must_fence = false;

void init_membarrier() noexcept {
  parkers_must_fence = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
}

void fence_all_threads() noexcept {
  if (parkers_must_fence || syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) std_atomics::fence_seq_cst();
}

}  // namespace weft::inline v0::rt
