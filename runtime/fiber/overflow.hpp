// SPDX-License-Identifier: Apache-2.0
//
// Stack overflow, told as such: a fault in the guard of a fiber's stack prints which fiber, its stack's size, where it
// was spawned and its innermost frames, and then takes the default action (a core dump with the faulting context).
//
// The handler runs on the alternate stack of its thread: every M gives itself one. Faults elsewhere go to the handler
// that was there before ours, as if ours did not exist. The report uses write(2) and nothing that allocates or locks,
// until it comes to the names of functions: these need the loader's lock, so they are printed last.
#pragma once

#include <cstddef>
#include <cstdint>

#include <weft/detail/atomic.hpp>

namespace weft::rt {

// What the report says about the fiber that runs on a stack. All of it is read in a signal handler.
struct overflow_info {
  std::uint64_t id;
  const char* name;        // may be null or empty
  const void* spawn_site;  // a code address, or null
};

// describe_owner: set by the scheduler, called with `stack::owner` (never null). Relaxed is enough: it is set before
// the handler is installed and points to a function.
extern detail::atomic<overflow_info (*)(void* owner)> describe_owner;

// install_overflow_handler: for SIGSEGV and SIGBUS; chains to what it finds. Called by each run(); does nothing where
// our handler still stands, and puts it before a handler that has replaced it. Any thread.
void install_overflow_handler() noexcept;

// overflow_handler_installed: returns true if ours is still the handler of both signals. A dump says so if not.
[[nodiscard]] bool overflow_handler_installed() noexcept;

// fault_on_guard: after a system call that failed with EFAULT, for the buffer it was given. The kernel raises no signal
// for a guard that it runs into, so a buffer on an overflowing stack would look like a bad argument: this runs into the
// same guard, and so ends in the report. Returns if no guard is among these bytes.
void fault_on_guard(const void* buffer, std::size_t size) noexcept;

// give_thread_altstack: an alternate signal stack of 64 KiB for the calling thread, unless it has one that is large
// enough (a sanitizer's, the user's). Returns false if there is no memory; an overflow on this thread then ends the
// process without a report.
bool give_thread_altstack() noexcept;

// drop_thread_altstack: takes back what give_thread_altstack gave to the calling thread, and restores what it replaced.
// Before the thread ends, or leaves the runtime; harmless if nothing was given.
void drop_thread_altstack() noexcept;

}  // namespace weft::rt
