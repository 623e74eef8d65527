// SPDX-License-Identifier: Apache-2.0
// System calls on processes, each with its errno in one piece: the result, or minus the errno (see calls.hpp).
#pragma once

#include <spawn.h>
#include <sys/types.h>
#include <sys/wait.h>

namespace weft::rt {

/// A pidfd, close-on-exec. It stands for this process also when the number has become another's.
int open_pidfd_now(pid_t of) noexcept;
int signal_pidfd_now(int pidfd, int signal) noexcept;
int signal_process_now(pid_t to, int signal) noexcept;

/// A child, as waitid names it.
struct child_name {
  idtype_t kind;  ///< P_PID or P_PIDFD
  id_t id;
};
enum class after_look : bool { reap, keep };
/// 1: it has ended, and `wait_status` is what waitpid would have stored; 0: it has not; -ECHILD: it is no child, or was
/// reaped. Does not wait.
int look_at_child_now(child_name which, after_look then, int& wait_status) noexcept;
/// Blocks the thread until the child has ended, and reaps it or leaves that to others.
void await_child_now(pid_t which, after_look then) noexcept;
/// For a child that others have reaped, or the kernel has: its status, which the kernel keeps with a pidfd from Linux
/// 6.15 on. 1: here it is. May block the thread for the moment until it is there.
int status_from_pidfd_now(int pidfd, int& wait_status) noexcept;

/// posix_spawnp by a thread of the runtime. Blocks it until the child has begun its program.
int spawn_now(pid_t& child, const posix_spawn_file_actions_t& actions, const posix_spawnattr_t& attributes,
              char* const* argv, char* const* environment) noexcept;

int blocking_pipe_now(int ends[2]) noexcept;  // close-on-exec
int copy_above_streams_now(int fd) noexcept;  // a duplicate that is none of 0, 1, 2; close-on-exec
bool is_open_now(int fd) noexcept;
/// Whether a process could start there: 0, or why not.
int may_enter_now(const char* folder) noexcept;
bool exists_now(const char* path) noexcept;

}  // namespace weft::rt
