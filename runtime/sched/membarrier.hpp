// SPDX-License-Identifier: Apache-2.0
// The expensive half of the asymmetric Dekker pairs: one call makes every running thread of the process execute a full
// fence, so that the frequent side (entering the runtime, arming a wait) needs none.
//
// Where membarrier(2) cannot be had (Linux < 4.14, seccomp), `fence_all_threads` is this thread's own fence only, and
// the frequent side fences too: brackets by their mode, parkers by `order_arm_before_look`. Each run() asks for both,
// the registration and the call itself. A call that is refused later (a filter that was installed while it runs) is
// fatal: others have relied on it already, and nothing but the call could make up for that.
#pragma once

#include <weft/detail/atomic.hpp>

#include "runtime/base/atomics.hpp"

namespace weft::rt {

/// True without membarrier. Relaxed: each run() stores the same answer, before its first M; a plain thread may wait
/// meanwhile.
extern detail::atomic<bool> parkers_must_fence;

void init_membarrier() noexcept;
void fence_all_threads() noexcept;

/// Between arming a wait and looking at the cancel flag. Pairs with fence_all_threads between flag and claim.
inline void order_arm_before_look() noexcept {
  if (parkers_must_fence.load(std::memory_order_relaxed)) [[unlikely]]
    std_atomics::fence_seq_cst();
  else
    std_atomics::compiler_barrier();
}

}  // namespace weft::rt
