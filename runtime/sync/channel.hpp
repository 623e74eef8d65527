// SPDX-License-Identifier: Apache-2.0
// The object behind the library's channel handles.
#pragma once

#include <cstddef>
#include <cstdint>

#include <weft/detail/atomic.hpp>

#include "runtime/sync/basic_chan.hpp"
#include "runtime/wait/env.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

class chan_core : public rt::basic_chan<rt::env> {
 public:
  using basic_chan::basic_chan;

  /// For a caller that knows the channel but has no handle. Returns false if the last one is gone, and the object
  /// about to go.
  bool try_retain() noexcept {
    std::size_t n = handles.load(std::memory_order_relaxed);
    while (n != 0)  // relaxed: what the object holds is read under its lock
      if (handles.compare_exchange_weak(n, n + 1, std::memory_order_relaxed)) return true;
    return false;
  }

  detail::atomic<std::size_t> handles{1};
  // Of channel<T>(); an end that is counted also has a handle.
  detail::atomic<std::uint32_t> ends[2]{};
  detail::atomic<bool> abandoned{false};  ///< its last receiver went
  /// Of a channel that something else feeds, a timer or signals: takes the channel from there, before the object goes.
  /// Null for all others.
  void (*stop_source)(chan_core& self) noexcept = nullptr;
  /// A timer's, whose stop and reset take back what lies in it: its size and capacity are 0.
  bool shows_as_unbuffered = false;
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
