// SPDX-License-Identifier: Apache-2.0
// SIGQUIT and fork. The handler belongs to the process whose runtime has installed it. In a child of `fork` the signal
// has its default action again, until the child runs a runtime of its own; a child that came about otherwise (`_Fork`,
// clone) and still has the handler takes the default action there.
//
// Memory order: the SIGQUIT handler stores `dump_wanted` and calls the monitor; the call releases, and the monitor
// acquires it before it ticks.
#include "runtime/inspect/inspection.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include <weft/detail/atomic.hpp>

#include "netpoll/signals.hpp"
#include "runtime/base/fatal.hpp"
#include "runtime/inspect/deadlock.hpp"
#include "runtime/inspect/dump.hpp"
#include "runtime/inspect/handoff.hpp"
#include "runtime/inspect/symbols.hpp"
#include "runtime/sched/monitor.hpp"

namespace weft::rt {

namespace {

constinit detail::atomic<bool> dump_wanted{false};
constinit detail::atomic<pid_t> handler_of{0};  // relaxed: whose SIGQUIT handler it is; 0: none of ours stands
constinit bool terminate_is_ours = false;
constinit std::terminate_handler former_terminate = nullptr;

void on_quit(int) {
  const int interrupted_errno = errno;
  if (getpid() == handler_of.load(std::memory_order_relaxed)) {
    dump_wanted.store(true, std::memory_order_relaxed);
    call_monitor();
  } else {
    signal(SIGQUIT, SIG_DFL);
    raise(SIGQUIT);  // pending until this handler returns
  }
  errno = interrupted_errno;
}

void on_terminate() {
  if (current_fiber() != nullptr) fatal_terminate();
  if (former_terminate != nullptr) former_terminate();
  std::abort();
}

bool stands(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == &on_quit;
}

// In the child of a fork. Async-signal-safe.
void forget_quit() noexcept {
  dump_wanted.store(false, std::memory_order_relaxed);
  handler_of.store(0, std::memory_order_relaxed);
  struct sigaction found {};
  if (sigaction(SIGQUIT, nullptr, &found) == 0 && stands(found)) signal(SIGQUIT, SIG_DFL);
}

void take_quit() noexcept {
  struct sigaction found {};
  if (sigaction(SIGQUIT, nullptr, &found) != 0 || (found.sa_flags & SA_SIGINFO) != 0 || found.sa_handler != SIG_DFL)
    return;
  [[maybe_unused]] static const int once = pthread_atfork(nullptr, nullptr, forget_quit);
  handler_of.store(getpid(), std::memory_order_relaxed);
  struct sigaction ours {};
  ours.sa_handler = &on_quit;
  ours.sa_flags = SA_RESTART | SA_ONSTACK;  // fibers' stacks are small
  sigemptyset(&ours.sa_mask);
  sigaction(SIGQUIT, &ours, nullptr);
}

void give_back_quit() noexcept {
  if (handler_of.exchange(0, std::memory_order_relaxed) != 0) take_handler_away(SIGQUIT, &on_quit);
}

}  // namespace

constinit const fatal_report report_of_fibers{dump_everything, dump_caller, describe_caller, demangle, []() noexcept {
                                                const G* const g = current_fiber();
                                                return g != nullptr && g->cancel.load(std::memory_order_relaxed) != 0;
                                              }};

void begin_inspection(const resolved_options& how) noexcept {
  configure_deadlock_report(how.deadlock);
  configure_handoff_notes(how.debug);
  dump_wanted.store(false, std::memory_order_relaxed);
  take_quit();
  former_terminate = std::set_terminate(on_terminate);
  terminate_is_ours = true;
}

void end_inspection() noexcept {
  give_back_quit();
  if (terminate_is_ours && std::get_terminate() == &on_terminate) std::set_terminate(former_terminate);
  terminate_is_ours = false;
}

bool inspection_is_due() noexcept { return dump_wanted.load(std::memory_order_relaxed); }

void inspection_tick(nanoseconds_t now) noexcept {
  if (dump_wanted.load(std::memory_order_relaxed) && dump_wanted.exchange(false, std::memory_order_relaxed)) {
    std::fputs("SIGQUIT: all fibers\n\n", stderr);
    dump_everything(stderr);
  }
  look_for_deadlock(now);
}

}  // namespace weft::rt
