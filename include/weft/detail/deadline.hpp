// SPDX-License-Identifier: Apache-2.0
// From a time point of any clock to the steady clock that waits are measured by.
//
// A clock that is not steady may be set: a wait that its time point began may then end too early by that clock. So who
// waits until a time point looks at the clock itself before he says that it has passed.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>

#include <weft/detail/any_duration.hpp>

namespace weft {
inline namespace v0 {
namespace detail {

/// What is left until `when`; zero if nothing is.
template <class Clock, class Duration>
any_duration time_left(const std::chrono::time_point<Clock, Duration>& when) {
  const std::int64_t then = any_duration(when.time_since_epoch()).ns();
  const std::int64_t now = any_duration(Clock::now().time_since_epoch()).ns();
  std::int64_t left = 0;
  if (then <= now) return std::chrono::nanoseconds(0);
  if (__builtin_sub_overflow(then, now, &left)) left = std::numeric_limits<std::int64_t>::max();
  return std::chrono::nanoseconds(left);
}

/// Calls `attempt(time left)` until it is true or the time has come; at least once.
template <class Clock, class Duration, class Attempt>
bool try_until(const std::chrono::time_point<Clock, Duration>& when, Attempt attempt) {
  for (;;) {
    // Qualified: the clock's namespace may have a `time_left` of its own.
    if (attempt(detail::time_left(when))) return true;
    if (detail::time_left(when).ns() == 0) return false;
  }
}

/// A patience that does not end.
inline constexpr std::int64_t for_ever = std::numeric_limits<std::int64_t>::max();

}  // namespace detail
}  // namespace v0
}  // namespace weft
