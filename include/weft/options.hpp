// SPDX-License-Identifier: Apache-2.0
//
// How a runtime is configured: one struct with defaults, filled in with designated initialisers and handed to
// `weft::run`.
//
// Invariant: members stand in the order in which the guide lists them, because g++ accepts designated initialisers only
// in declaration order; a new member goes to the end of what it belongs to and is named in the guide there.
//
// A member that is left at its default takes its value from the environment (`WEFT_MAXPROCS`, `WEFT_STACK_SIZE`,
// `WEFT_NETPOLL`) and, where that is unset or empty, from the machine. A member that is set beats the variable.
#pragma once

#include <chrono>
#include <cstddef>

namespace weft {
inline namespace v0 {

/// netpoll_backend says what the runtime may ask the kernel for when fibers wait for sockets and files.
enum class netpoll_backend {
  /// epoll for sockets, io_uring for files, threads where io_uring is refused.
  automatic,
  /// epoll for sockets, threads for files; io_uring is never touched.
  epoll,
  /// io_uring for both; `run` throws `std::system_error` with the reason where it cannot be had.
  io_uring,
};

/// deadlock_policy says what happens when no fiber can ever run again.
enum class deadlock_policy {
  /// Ends the process with a dump and status 2; one line instead where a foreign thread could still wake someone.
  automatic,
  /// As `automatic`, but threads that are not the runtime's do not count as hope.
  fatal,
  /// Nothing is reported; the process sleeps.
  off,
};

/// options configures a runtime; every member has a default, and `run(f)` is `run(options{}, f)`.
///
/// A value that is not accepted, also one in a variable, makes `run` throw `std::invalid_argument` that names it, the
/// value and what is accepted; this holds for a variable that a member overrides, too. An empty variable counts as
/// unset.
///
/// ```cpp
/// using namespace std::chrono_literals;
/// weft::run({.maxprocs = 4, .deadlock = weft::deadlock_policy::fatal, .shutdown_grace = 2s}, [] { serve(); });
/// ```
struct options {
  /// How many fibers may run at the same time, 1 to 1024. 0: `WEFT_MAXPROCS`, else the CPUs that this process may use
  /// (affinity mask, and the tightest cgroup quota above it, rounded up), which are then followed while it runs.
  int maxprocs = 0;

  /// Address space of a fiber's stack in bytes, 16 KiB to 1 GiB; only pages that are touched cost memory. 0:
  /// `WEFT_STACK_SIZE` (`262144`, `256K`, `1M`; K and M in upper case), else 256 KiB.
  std::size_t stack_size = 0;

  /// The backend for sockets and files. `automatic`: `WEFT_NETPOLL` (`auto`, `epoll`, `io_uring`), else as its name
  /// says.
  netpoll_backend netpoll = netpoll_backend::automatic;

  /// The most OS threads that the runtime starts to run fibers on, at least 1, and 2 with `pin_main`. Once it is
  /// reached (or the system refuses another thread) the fibers go on with those there are; this is said once on stderr.
  int max_threads = 10000;

  /// The most fibers that may live at a time; past it `spawn` throws `std::system_error` with
  /// `std::errc::resource_unavailable_try_again`. 0: no limit.
  std::size_t max_fibers = 0;

  /// Keeps the main fiber on the thread that called `run`, for libraries that insist on it. That thread runs other
  /// fibers only if not one other thread can be had, and main may then have to wait until one of those parks.
  bool pin_main = false;

  /// What happens when no fiber can ever run again.
  deadlock_policy deadlock = deadlock_policy::automatic;

  /// How long fibers may take to end after the main fiber did; past it those that have not are named, again each time
  /// it passes. 0 or more.
  std::chrono::nanoseconds shutdown_grace = std::chrono::seconds(10);
};

}  // namespace v0
}  // namespace weft
