// SPDX-License-Identifier: Apache-2.0
// A child process: how its end is seen, who reaps it, and who may signal it.
//
// Problem: a child's number may be another process's as soon as it is reaped, and a thread that waits for a child blocks.
// So a child is a pidfd where the kernel has them (Linux 5.4): it becomes readable when the child has ended, the poller
// watches it like any descriptor, and a signal through it reaches this child or nobody. Elsewhere (an older kernel, a
// filter of system calls) a thread for each child waits in waitid, without reaping, and closes the writing end of a
// pipe; the reading end takes the pidfd's place.
//
// Invariants
//  1. `end` is readable once the child has ended, for good. It is closed by the owner alone, at the end of the object.
//  2. The child is reaped under `looking`, by whoever looks first after its end; the state leaves `running` once.
//  3. Without a pidfd, a signal is sent under `looking` while the child is a child still: not reaped by anybody.
//  4. What a watching thread knows is a number and a descriptor of its own: it outlives the object, and the run.
//
// Others may reap it: a handler of SIGCHLD that waits for any child, or the kernel, where SIGCHLD is ignored. Its status
// is then the kernel's to tell, by the pidfd; if that cannot be had, it is `lost`.
//
// A forked child has a copy of the object and no such child: there nothing is waited for, sent or closed (the poller is
// shared with the parent).
//
// Lock order: `looking` is held across system calls that do not wait (but for a moment, where others reap), never across
// a park.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include <weft/mutex.hpp>
#include <weft/net/fd.hpp>
#include <weft/process.hpp>

#include "netpoll/failure.hpp"
#include "netpoll/process_calls.hpp"
#include "netpoll/table.hpp"

namespace weft::rt {

struct child_process {
  enum class state : std::uint8_t { running, ended, lost };

  std::string name;    ///< argv[0], for messages
  net::fd streams[3];  ///< our ends of the pipes
  pid_t pid = -1;
  pid_t parent = -1;          ///< the process whose child it is
  descriptor* end = nullptr;  ///< null: it was reaped before there was one
  bool has_pidfd = false;
  mutex looking;
  state now = state::running;  // under `looking`, as is `status`
  process_status status;

  child_name in_waitid() const noexcept {
    return has_pidfd ? child_name{P_PIDFD, static_cast<id_t>(end->fd())} : child_name{P_PID, static_cast<id_t>(pid)};
  }
};

/// Waits until the child has ended, cancellably, and gives its status.
process_status await_end(child_process& c, failure& why) noexcept;
/// Sends it a signal, if it has not ended.
failure send_signal(child_process& c, int signal) noexcept;
/// Kills it if it runs, waits for its end, shielded, reaps it, and deletes the object.
void end_and_delete(child_process* c) noexcept;

struct child_deleter {
  void operator()(child_process* c) const noexcept { end_and_delete(c); }
};
using owned_child = std::unique_ptr<child_process, child_deleter>;

/// Starts a thread that closes `writing_end`, which it takes over, once the child has ended. Returns 0, or minus the
/// errno.
int watch_by_thread(pid_t child, int writing_end) noexcept;

}  // namespace weft::rt
