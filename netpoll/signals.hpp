// SPDX-License-Identifier: Apache-2.0
// What the library itself needs to know of weft/signals.hpp.
#pragma once

namespace weft::rt {

/// Returns true if the program still holds a channel that signals() has made: then a signal can wake the fibers that
/// wait for it, and nothing is a deadlock. For any thread.
bool signals_are_awaited() noexcept;

}  // namespace weft::rt
