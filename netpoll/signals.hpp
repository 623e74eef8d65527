// SPDX-License-Identifier: Apache-2.0
// What the library itself needs to know of weft/signals.hpp.
#pragma once

namespace weft::rt {

/// Called by run(), after it has noted its caller's mask and before there is another thread: from here on the monitor
/// delivers. Inherited channels of a child take its signals from here on.
void begin_signals() noexcept;
/// Called when the monitor has ended and the caller of run() has its mask again. Harmless if nothing has begun.
void end_signals() noexcept;

/// Returns true if the monitor must call `deliver_signals`. For any thread.
bool signals_are_due() noexcept;
/// Called by the monitor, on its thread.
void deliver_signals() noexcept;

/// Returns true if the program holds a channel that signals() has made, or a handle of cancel_on(): then a signal can
/// wake the fibers that wait for it, and nothing is a deadlock. For any thread.
bool signals_are_awaited() noexcept;

/// Gives a signal its default action where it has `handler`, also where a channel has taken the signal since: then once
/// that channel is gone.
void take_handler_away(int number, void (*handler)(int)) noexcept;

}  // namespace weft::rt
