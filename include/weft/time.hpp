// SPDX-License-Identifier: Apache-2.0
// Time: the clock, and sleeping.
#pragma once

#include <chrono>

#include <weft/detail/any_duration.hpp>
#include <weft/detail/export.hpp>

namespace weft::inline v0 {

/// clock is steady: it never goes back, and a change of the wall clock does not touch it.
using clock = std::chrono::steady_clock;

namespace detail {
WEFT_EXPORT void sleep_until_ns(std::chrono::nanoseconds since_epoch);
}

/// sleep_until waits until `when`; never less. A time that has passed returns at once. Cancellable. On a plain thread
/// it blocks it.
inline void sleep_until(clock::time_point when) { detail::sleep_until_ns(when.time_since_epoch()); }

/// sleep_for waits for `how_long`; never less. Zero or less returns at once. Cancellable. On a plain thread it blocks
/// it.
WEFT_EXPORT void sleep_for(detail::any_duration how_long);

}  // namespace weft::inline v0
