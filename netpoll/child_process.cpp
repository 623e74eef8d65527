// SPDX-License-Identifier: Apache-2.0
#include "netpoll/child_process.hpp"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <new>

#include <weft/detail/region.hpp>

#include "netpoll/open.hpp"
#include "netpoll/readiness.hpp"
#include "runtime/base/os.hpp"
#include "runtime/sched/blocking.hpp"
#include "runtime/sched/signal_mask.hpp"
#include "runtime/wait/env.hpp"

namespace weft::rt {

namespace {

constexpr nanoseconds_t millisecond = 1'000'000;
constexpr failure not_our_child{ECHILD};

bool is_parent(const child_process& c) noexcept { return c.parent == getpid(); }

/// Returns true if the child has ended, and is reaped: the state says how. Does not wait for it.
bool look(child_process& c) noexcept {
  const std::lock_guard guard(c.looking);
  if (c.now != child_process::state::running) return true;
  int wait_status = 0;
  int found = look_at_child_now(c.in_waitid(), after_look::reap, wait_status);
  if (found == 0) return false;
  if (found < 0 && c.has_pidfd) {
    const blocking_section announced;
    found = status_from_pidfd_now(c.end->fd(), wait_status);
  }
  if (found == 1) c.status = process_status(wait_status);
  c.now = found == 1 ? child_process::state::ended : child_process::state::lost;
  return true;
}

int send_under_lock(child_process& c, int signal) noexcept {
  const std::lock_guard guard(c.looking);
  if (c.now != child_process::state::running) return 0;
  int unused = 0;
  if (look_at_child_now(c.in_waitid(), after_look::keep, unused) < 0) return 0;
  return signal_process_now(c.pid, signal);
}

/// What a watching thread is told; it copies that to its stack.
struct watch {
  pid_t child;
  int closes;  ///< -1: nothing, the child is for the thread to reap
};

void* watching_thread(void* told) noexcept {
  block_foreign_signals();
  os::name_thread("weft-process");
  const std::unique_ptr<watch> owned(static_cast<watch*>(told));
  const watch it = *owned;
  await_child_now(it.child, it.closes >= 0 ? after_look::keep : after_look::reap);
  if (it.closes >= 0) close(it.closes);
  return nullptr;
}

int start_watch(const watch& what) noexcept {
  auto* const told = new (std::nothrow) watch(what);
  if (told == nullptr) return -ENOMEM;
  const int error = os::start_detached_thread(watching_thread, told);
  if (error != 0) delete told;
  return -error;
}

void await_end_of_killed(child_process& c) noexcept {
  if (current_fiber() == nullptr) {  // also after the run, when nobody polls
    await_child_now(c.pid, after_look::keep);
    look(c);
    return;
  }
  const detail::shield_region shielded;
  failure why;
  await_end(c, why);
}

}  // namespace

process_status await_end(child_process& c, failure& why) noexcept {
  why = cancelled_at_entry();
  if (!why && !is_parent(c)) why = not_our_child;
  for (bool has_ended = false; !why && !look(c); has_ended = true) {
    if (!has_ended) {
      await_readiness(c.end, net::readable, why);
    } else {  // whoever traces it (a debugger) has it first, and nobody tells us when they let go
      const wait_outcome how = wait_alone<env>({wait_reason::io_wait, true, steady_now() + millisecond});
      if (how == wait_outcome::cancelled) why = failure_of(how);
    }
  }
  if (why) return {};
  const std::lock_guard guard(c.looking);
  if (c.now == child_process::state::lost) why = not_our_child;
  return c.status;
}

failure send_signal(child_process& c, int signal) noexcept {
  if (!is_parent(c)) return not_our_child;
  if (signal < 0 || signal > SIGRTMAX) return {EINVAL};
  const int result = c.has_pidfd ? signal_pidfd_now(c.end->fd(), signal) : send_under_lock(c, signal);
  return {result == -ESRCH ? 0 : -result};
}

void end_and_delete(child_process* c) noexcept {
  if (!is_parent(*c)) return;
  if (!look(*c)) {
    if (send_signal(*c, SIGKILL).error != EPERM)
      await_end_of_killed(*c);
    else
      start_watch({c->pid, -1});  // a thread that cannot be had leaves a zombie, and nothing worse
  }
  if (c->end != nullptr) release_descriptor(c->end);
  delete c;
}

int watch_by_thread(pid_t child, int writing_end) noexcept { return start_watch({child, writing_end}); }

}  // namespace weft::rt
