// SPDX-License-Identifier: Apache-2.0
// Which sentence, from what the C++ runtime still knows of the exception; the stack, or all of them; the end.
#include "runtime/base/fatal.hpp"

#include <cxxabi.h>
#include <unistd.h>

#include <cstdio>
#include <new>
#include <string>
#include <typeinfo>

#include <weft/detail/atomic.hpp>
#include <weft/error.hpp>

namespace weft::rt {

namespace {

constinit detail::atomic<pid_t> speaker{0};  // relaxed: it only says which thread came first

// The first caller goes on. A second one, on another thread, does not return; the first, if it comes again from within
// the report, ends the process at once.
void become_speaker() noexcept {
  const pid_t self = gettid();
  pid_t first = 0;
  if (speaker.compare_exchange_strong(first, self, std::memory_order_relaxed)) return;
  if (first == self) _exit(2);
  for (;;) pause();
}

[[noreturn]] void end_process() noexcept {
  // fflush(stdout) would wait for a thread that blocks while it holds the stream.
  if (ftrylockfile(stdout) == 0) fflush_unlocked(stdout);
  _exit(2);
}

std::string what_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    const std::type_info* const type = abi::__cxa_current_exception_type();
    return (type != nullptr ? "of type " + report_of_fibers.demangle(type->name()) : std::string("of unknown type")) +
           ", which does not derive from std::exception";
  }
}

bool is_cancelled(const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const cancelled&) {
    return true;
  } catch (...) {
    return false;
  }
}

void say(const std::string& sentence) noexcept { std::fprintf(stderr, "fatal: %s\n\n", sentence.c_str()); }

}  // namespace

void fatal(const char* sentence) noexcept {
  become_speaker();
  std::fprintf(stderr, "fatal: %s\n\n", sentence);
  report_of_fibers.dump_everything(stderr);
  end_process();
}

void fatal_uncaught(const std::exception_ptr& error, const char* whose) noexcept {
  become_speaker();
  try {
    say("uncaught exception " + std::string(whose) + ": " + what_of(error));
  } catch (const std::bad_alloc&) {
    std::fputs("fatal: uncaught exception, and no memory to say more\n", stderr);
  }
  report_of_fibers.dump_caller(stderr);
  end_process();
}

void fatal_terminate() noexcept {
  become_speaker();
  try {
    const std::exception_ptr error = std::current_exception();
    const std::string who = report_of_fibers.describe_caller();
    // A noexcept function with clean-ups of its own calls terminate before the exception counts as caught, and its type
    // cannot be had.
    const bool in_flight = error == nullptr && std::uncaught_exceptions() > 0;
    if (error != nullptr ? is_cancelled(error) : in_flight && report_of_fibers.caller_is_cancelled())
      say("weft::cancelled left a noexcept function (a destructor that waits?): wrap it in weft::shield");
    else if (in_flight)
      say("an exception left a noexcept function in " + who);
    else if (error == nullptr)
      say("std::terminate was called in " + who);
    else
      say("uncaught exception in " + who + ": " + what_of(error));
  } catch (const std::bad_alloc&) {
    std::fputs("fatal: std::terminate was called, and there is no memory to say more\n", stderr);
  }
  report_of_fibers.dump_caller(stderr);
  end_process();
}

}  // namespace weft::rt
