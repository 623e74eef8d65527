// SPDX-License-Identifier: Apache-2.0
// What others than the users need to know of weft/signals.hpp.
#pragma once

namespace weft::inline v0::rt {

/// Whether somebody still holds a channel that signals() has made: then a signal can wake the fibers that wait for it,
/// and nothing is a deadlock. Any thread.
bool signals_are_awaited() noexcept;

}  // namespace weft::inline v0::rt
