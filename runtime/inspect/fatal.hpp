// SPDX-License-Identifier: Apache-2.0
// The end of the process where state is broken, or where nobody is left to hear of an error: a sentence, who it was,
// exit status 2.
//
// Nothing is unwound and no handler of atexit runs: others may be in the middle of anything. What the program has put
// into stdout's buffer is written if nobody holds that stream. The first thread to get here speaks, others wait for the
// end that it brings.
#pragma once

#include <exception>

namespace weft::inline v0::rt {

/// "fatal: " sentence, and the dump of all fibers. Any thread, whatever it holds.
[[noreturn]] void fatal(const char* sentence) noexcept;

/// An exception that no handler will ever see; `whose` completes "uncaught exception ...". With the calling fiber's
/// stack.
[[noreturn]] void fatal_uncaught(const std::exception_ptr& error, const char* whose) noexcept;

/// std::terminate was called on a fiber: by an exception that nobody catches, by one that left a noexcept function, or
/// by the program.
[[noreturn]] void fatal_terminate() noexcept;

}  // namespace weft::inline v0::rt
