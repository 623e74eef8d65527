// SPDX-License-Identifier: Apache-2.0
// Looking inside a running program: all its fibers, and the runtime's counters.
//
// Besides what is here, `SIGQUIT` (Ctrl-\) prints the dump and the program goes on, unless that signal has a handler of
// the program's own, a channel (weft/signals.hpp), or is ignored, also if that was inherited. In a child of fork it has
// its default action. `WEFT_DEBUG=schedtrace=1000` prints a line of the scheduler's state every second.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>

#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {
namespace debug {

/// dump_fibers writes every fiber to `out`: id, name, state or wait reason, since when (in minutes, once it is one),
/// the stack, and where it was spawned.
///
/// Stops nobody: each fiber is shown as it was at some moment during the call, and the stack of one that runs on
/// another thread cannot be shown. Fibers that wait alike at the same place share one stack. Names need `-rdynamic` or
/// a symbol table, stacks need `-fno-omit-frame-pointer`. Allocates, and blocks the thread while it writes. Any fiber
/// or thread, also without a runtime; not from a signal handler.
WEFT_EXPORT void dump_fibers(std::FILE* out) noexcept;

/// guard_kind is how stacks are guarded against overflow.
enum class guard_kind : std::uint8_t {
  install,  ///< by MADV_GUARD_INSTALL (Linux 6.13), without a limit
  protect,  ///< by mprotect: two mappings a stack, so vm.max_map_count limits their number
};

/// file_engine is who performs operations on files that may block.
enum class file_engine {
  none,      ///< nothing has blocked yet in this run
  io_uring,  ///< the kernel, for one thread of ours
  threads,   ///< a few threads: io_uring was refused, or ruled out
};

/// counters are figures on the runtime since the process began, or as they are now. Each was true at a moment of its
/// own during the call.
struct counters {
  std::int64_t fibers = 0;          ///< live now
  std::int64_t fibers_started = 0;  ///< ever
  std::int64_t fibers_ended = 0;    ///< ever

  std::int64_t parks = 0;      ///< waits that gave up the CPU, ever
  std::int64_t wakes = 0;      ///< fibers put next in line on their waker's own P, new ones included, ever
  std::int64_t steals = 0;     ///< batches taken from another P's queue, ever
  std::int64_t overflows = 0;  ///< batches moved from a full queue to the global one, ever
  std::size_t runnable = 0;    ///< in the queues now

  int maxprocs = 0;      ///< Ps in use now; 0: no runtime runs
  int idle_procs = 0;    ///< of these, without work
  int threads = 0;       ///< of the runtime, now: those that run fibers, and the monitor
  int idle_threads = 0;  ///< of these, asleep until there is a P for them

  std::int64_t handoffs = 0;          ///< Ps taken from threads that did not use them, ever, for one of these reasons:
  std::int64_t handoffs_blocked = 0;  ///< the fiber had blocked its thread
  std::int64_t handoffs_announced = 0;  ///< of those: within blocking(f)
  std::int64_t handoffs_burned = 0;     ///< the fiber had not ended its turn for long, while others waited

  std::size_t stacks = 0;                   ///< ever made
  std::size_t stacks_in_use = 0;            ///< now, on fibers and in the Ps' caches
  std::size_t stacks_pooled = 0;            ///< now, for everybody
  std::size_t stacks_trimmed = 0;           ///< idle ones whose memory went back to the kernel, ever
  std::size_t stack_bytes_reserved = 0;     ///< of address space
  std::size_t stack_bytes_committed = 0;    ///< of these: opened for use; only touched pages cost memory
  guard_kind guards = guard_kind::install;  ///< known once a runtime has run

  file_engine files = file_engine::none;
  std::int64_t io_uring_refused = 0;  ///< times it was wanted and could not be had, ever; WEFT_DEBUG=netpoll=1 says why

  bool membarrier = true;  ///< false: the kernel has no membarrier(2), so every entry into the runtime costs a fence
};

/// stats reads the counters. Any thread; takes one lock for a moment, allocates nothing.
[[nodiscard]] WEFT_EXPORT counters stats() noexcept;

}  // namespace debug
}  // namespace v0
}  // namespace weft
