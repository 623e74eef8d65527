// SPDX-License-Identifier: Apache-2.0
#include "runtime/inspect/fatal.hpp"

#include <unistd.h>

#include <cstdio>
#include <string>

#include "runtime/inspect/dump.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::inline v0::rt {

void fatal(const char* sentence) noexcept {
  std::fprintf(stderr, "fatal: %s\n", sentence);
  dump_everything(stderr);
  std::fflush(nullptr);
  _exit(2);
}

void fatal_uncaught(const std::exception_ptr& error, const char* whose) noexcept {
  std::string what = "an exception that does not derive from std::exception";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
  }
  fatal(("uncaught exception " + std::string(whose) + ": " + what).c_str());
}

}  // namespace weft::inline v0::rt
