// SPDX-License-Identifier: Apache-2.0
// The three lines around futex(2) that the runtime needs. All private to the process.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "runtime/sched/timer_heap.hpp"

namespace weft::rt {

/// Sleeps while the word is `expected`, at most `timeout` nanoseconds (`never`: no limit). May return early.
inline void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected,
                       nanoseconds_t timeout = never) noexcept {
  timespec limit;
  timespec* at_most = nullptr;
  if (timeout != never) {
    limit = {static_cast<time_t>(timeout / 1'000'000'000), static_cast<long>(timeout % 1'000'000'000)};
    at_most = &limit;
  }
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, at_most, nullptr, 0);
}

inline void futex_wake(std::atomic<std::uint32_t>& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace weft::rt
