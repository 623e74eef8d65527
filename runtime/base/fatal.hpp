// SPDX-License-Identifier: Apache-2.0
// The end of the process where state is broken, or where nothing is left that could handle an error: a sentence, which
// fiber it was, exit status 2.
//
// Nothing is unwound and no handler of atexit runs: others may be in the middle of anything. What the program has put
// into stdout's buffer is written if nobody holds that stream. The first thread to get here speaks, others wait for the
// end that it brings.
//
// Every floor may call this, so what it prints from higher floors comes through one hook, `report_of_fibers`.
#pragma once

#include <cstdio>
#include <exception>
#include <string>

namespace weft::rt {

/// What a report shows of the runtime; called on the thread that ends the process, whatever it holds.
struct fatal_report {
  void (*dump_everything)(std::FILE* out) noexcept;
  void (*dump_caller)(std::FILE* out) noexcept;
  std::string (*describe_caller)();              ///< throws std::bad_alloc
  std::string (*demangle)(const char* mangled);  ///< throws std::bad_alloc
  bool (*caller_is_cancelled)() noexcept;
};
/// The hook. A constant, so that it also stands before the first run(). Defined in inspect/inspection.cpp.
extern const fatal_report report_of_fibers;

/// "fatal: " sentence, and the dump of all fibers. Any thread, whatever it holds.
[[noreturn]] void fatal(const char* sentence) noexcept;

/// An exception that no handler will ever see; `whose` completes "uncaught exception ...". With the calling fiber's
/// stack.
[[noreturn]] void fatal_uncaught(const std::exception_ptr& error, const char* whose) noexcept;

/// std::terminate was called on a fiber: by an exception that nobody catches, by one that left a noexcept function, or
/// by the program.
[[noreturn]] void fatal_terminate() noexcept;

}  // namespace weft::rt
