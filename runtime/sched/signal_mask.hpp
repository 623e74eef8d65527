// SPDX-License-Identifier: Apache-2.0
// Which signals the runtime's threads block.
//
// Problem: a new thread inherits the mask of the thread that starts it, and an M is started by whichever fiber or plain
// thread happens to make work. One that has blocked SIGSEGV for a moment would leave Ms on which a stack overflow kills
// without a report, one that has blocked SIGTERM would make it undeliverable. So no thread of the runtime keeps what it
// inherited:
//
//   M, and the caller of run() while it is one   the mask that the caller of run() had, without the fault signals, and
//                                                without those that a channel wants
//   monitor                                      everything but the fault signals, and those that a channel wants and
//                                                that the caller of run() has blocked: it takes what nobody else may
//   dumper, threads for files                    everything but the fault signals: no handler of the program runs there
//
// Fault signals are those that an instruction raises in its own thread; blocked, they kill without a word. The caller
// has its own mask back when run() returns. A fiber that changes the mask changes its thread's, as pthread_sigmask
// says, and that alone.
//
// Opened signals (those that a channel wants although the caller of run() has blocked them) stay open until the end of
// run(): no thread can block a signal on behalf of another. So their action may not go back before either
// (netpoll/signals.cpp).
//
// Between its start and its first line a thread still has the inherited mask: then it runs only what libc runs, on a
// stack of its own.
#pragma once

#include <signal.h>

#include <cstdint>

namespace weft::rt {

/// A set of signals, as the kernel has it.
constexpr std::uint64_t signal_bit(int number) noexcept { return std::uint64_t{1} << (number - 1); }

/// Makes the calling thread's mask the one of the run() that begins, before it has an M, and returns it.
sigset_t note_callers_mask() noexcept;
/// Gives the calling thread the mask of an M.
void take_machine_mask() noexcept;
/// Leaves the calling thread no signals but those of its own faults.
void block_foreign_signals() noexcept;

/// Opens a signal for the Ms that are still to start and, if it runs one, the calling thread. Returns false if the
/// caller of run() had not blocked it, or it was opened before.
bool open_signal(int number) noexcept;
/// In all signals of `set`: blocks, or unblocks, the calling thread. Async-signal-safe.
void block_signals(std::uint64_t set) noexcept;
void unblock_signals(std::uint64_t set) noexcept;

}  // namespace weft::rt
