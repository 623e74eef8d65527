// SPDX-License-Identifier: Apache-2.0
// Signals of the process as values on a channel.
#pragma once

#include <csignal>
#include <initializer_list>

#include <weft/chan.hpp>
#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {

/// signals gives a channel on which these signals arrive, each time they reach the process.
///
/// From the call on they no longer have their default action, for the rest of the process, also when the channel is
/// gone. Every channel that asked for a signal gets it; one whose reader is slow loses signals once 16 are waiting. Any
/// thread, with or without a runtime; never waits. Throws std::invalid_argument for an empty list, for a number that is
/// no signal, and for the ones that cannot be caught (SIGKILL, SIGSTOP) or come from a fault of the program (SIGSEGV,
/// SIGBUS, SIGFPE, SIGILL).
///
/// ```cpp
/// weft::signals({SIGINT, SIGTERM}).recv();
/// listener.close();
/// ```
WEFT_EXPORT recv_chan<int> signals(std::initializer_list<int> wanted);

}  // namespace v0
}  // namespace weft
