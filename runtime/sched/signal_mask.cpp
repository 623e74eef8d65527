// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/signal_mask.hpp"

namespace weft::rt {

namespace {

constexpr int fault_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};

// Written by run() before it starts a thread, and read by Ms only: thread creation orders it.
constinit sigset_t machine_mask{};

void allow_faults(sigset_t& mask) noexcept {
  for (const int fault : fault_signals) sigdelset(&mask, fault);
}

}  // namespace

sigset_t note_callers_mask() noexcept {
  sigset_t callers;
  pthread_sigmask(SIG_SETMASK, nullptr, &callers);
  machine_mask = callers;
  allow_faults(machine_mask);
  return callers;
}

void take_machine_mask() noexcept { pthread_sigmask(SIG_SETMASK, &machine_mask, nullptr); }

void block_foreign_signals() noexcept {
  sigset_t mask;
  sigfillset(&mask);
  allow_faults(mask);
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

}  // namespace weft::rt
