// SPDX-License-Identifier: Apache-2.0
// Ends the process where state is broken: a sentence, the dump of all fibers, exit status 2.
#pragma once

#include <exception>

namespace weft::inline v0::rt {

/// "fatal: " sentence.
[[noreturn]] void fatal(const char* sentence) noexcept;
/// An exception that no handler will ever see; `whose` completes "uncaught exception ...".
[[noreturn]] void fatal_uncaught(const std::exception_ptr& error, const char* whose) noexcept;

}  // namespace weft::inline v0::rt
