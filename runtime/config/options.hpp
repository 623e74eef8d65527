// SPDX-License-Identifier: Apache-2.0
//
// What a runtime runs with, once `options` and the environment are settled: no member left to guess, none out of range.
//
// Invariants of a `resolved_options` that `resolve` returned:
//   1 <= maxprocs <= max_width, min_stack_size <= stack_size <= max_stack_size (not rounded to pages),
//   max_threads >= 1, shutdown_grace >= 0. Whether the netpoll backend can be had is found out by run(), which starts
//   it.
// The environment is read in `resolve` and nowhere else, once, before the runtime starts its first thread: getenv may
// not run beside setenv.
#pragma once

#include <chrono>
#include <cstddef>

#include <weft/options.hpp>

#include "runtime/fiber/stack.hpp"

namespace weft::rt {

/// debug_settings are the words of `WEFT_DEBUG`; a new word is a member here and a line in the table in options.cpp.
struct debug_settings {
  int schedtrace_ms = 0;  ///< A line of scheduler state every so many milliseconds; 0: none.
  int scheddetail = 0;    ///< 1: with each such line, one for every P, M and G.
  int handoffs = 0;       ///< 1: each place that blocks or burns a thread is named once.
  int netpoll = 0;        ///< 1: says what serves sockets and files when they are first used, and why.
};

/// resolved_options is `options` with every default replaced by its value.
struct resolved_options {
  int maxprocs = 1;
  /// Nobody asked for a width: the monitor may change it as affinity mask and cgroup quota change.
  bool maxprocs_follows_machine = false;
  std::size_t stack_size = standard_stack_size;
  netpoll_backend netpoll = netpoll_backend::automatic;
  const char* netpoll_source = "";  ///< the setting that chose io_uring, if it was chosen: for the error
  int max_threads = 1;
  std::size_t max_fibers = 0;
  bool pin_main = false;
  deadlock_policy deadlock = deadlock_policy::automatic;
  std::chrono::nanoseconds shutdown_grace{};
  debug_settings debug;
};

/// resolve settles `asked` with `WEFT_MAXPROCS`, `WEFT_STACK_SIZE`, `WEFT_NETPOLL`, `WEFT_DEBUG` and the machine.
///
/// Throws `std::invalid_argument` for a value out of range. Any thread may call it, while none changes the environment.
resolved_options resolve(const options& asked);

/// check_width returns `width` if it is 1 to `max_width`, else throws `std::invalid_argument` that calls it `what`.
int check_width(const char* what, int width);

/// check_stack_size returns `bytes` if it is 16 KiB to 1 GiB, else throws `std::invalid_argument` that calls it `what`.
std::size_t check_stack_size(const char* what, std::size_t bytes);

}  // namespace weft::rt
