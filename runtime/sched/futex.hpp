// SPDX-License-Identifier: Apache-2.0
// The three lines around futex(2) that the runtime needs. All private to the process.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/base/os.hpp"
#include "runtime/sched/timer_heap.hpp"

namespace weft::rt {

/// Sleeps while the word is `expected`, at most `timeout` nanoseconds (`never`: no limit). May return early.
inline void futex_wait(detail::atomic<std::uint32_t>& word, std::uint32_t expected,
                       nanoseconds_t timeout = never) noexcept {
  os::futex_wait(word, expected, timeout != never ? std::max<nanoseconds_t>(timeout, 0) : -1);
}

inline void futex_wake(detail::atomic<std::uint32_t>& word) noexcept { os::futex_wake(word); }

}  // namespace weft::rt
