// SPDX-License-Identifier: Apache-2.0
// Lets plain threads in while a runtime runs, and lets its end wait until they are out.
#pragma once

#include <cstdint>

#include <weft/detail/atomic.hpp>

#include "runtime/base/os.hpp"

namespace weft::rt {

class gate {
 public:
  /// False: closed, and the caller is not counted.
  bool enter() noexcept {
    // Acquire: what run() set up before it opened the gate.
    if ((word_.fetch_add(one, std::memory_order_acquire) & closed) == 0) return true;
    word_.fetch_sub(one, std::memory_order_relaxed);
    return false;
  }
  void leave() noexcept { word_.fetch_sub(one, std::memory_order_release); }

  void open() noexcept { word_.fetch_and(~closed, std::memory_order_release); }
  /// Nobody is inside when it returns. Those who come in vain count themselves for a moment.
  void close() noexcept {
    word_.fetch_or(closed, std::memory_order_relaxed);
    while (word_.load(std::memory_order_acquire) != closed) os::yield_cpu();
  }
  /// In the child of a fork, where those who were inside do not exist.
  void shut() noexcept { word_.store(closed, std::memory_order_relaxed); }

 private:
  static constexpr std::uint32_t closed = 1, one = 2;
  detail::atomic<std::uint32_t> word_{closed};
};

/// Of starting fibers and timers; open while a runtime runs.
inline constinit gate start_gate;

}  // namespace weft::rt
