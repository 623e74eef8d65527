// SPDX-License-Identifier: Apache-2.0
// The atomics of the library: std's. A build with WEFT_SIMULATED takes those of the simulator, whose every access is a
// point at which any thread may come next (tests/sim).
#pragma once

#include <atomic>

#if defined(WEFT_SIMULATED)
#include "tests/sim/seam/atomic.hpp"
#else
namespace weft {
inline namespace v0 {
namespace detail {

template <class T>
using atomic = std::atomic<T>;

}  // namespace detail
}  // namespace v0
}  // namespace weft
#endif
