// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/signal_mask.hpp"

#include <weft/detail/spin_lock.hpp>

#include "runtime/sched/m.hpp"

namespace weft::rt {

namespace {

constexpr int fault_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};

constinit detail::spin_lock lock;
constinit sigset_t machine_mask WEFT_GUARDED_BY(lock){};

void allow_faults(sigset_t& mask) noexcept {
  for (const int fault : fault_signals) sigdelset(&mask, fault);
}

void change_mask(int how, std::uint64_t set) noexcept {
  sigset_t changed;
  sigemptyset(&changed);
  for (int number = 1; number < NSIG; ++number)
    if ((set & signal_bit(number)) != 0) sigaddset(&changed, number);
  pthread_sigmask(how, &changed, nullptr);
}

}  // namespace

sigset_t note_callers_mask() noexcept {
  sigset_t callers;
  pthread_sigmask(SIG_SETMASK, nullptr, &callers);
  const detail::spin_guard guard(lock);
  machine_mask = callers;
  allow_faults(machine_mask);
  return callers;
}

void take_machine_mask() noexcept {
  sigset_t mask;
  {
    const detail::spin_guard guard(lock);
    mask = machine_mask;
  }
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

void block_foreign_signals() noexcept {
  sigset_t mask;
  sigfillset(&mask);
  allow_faults(mask);
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

bool open_signal(int number) noexcept {
  {
    const detail::spin_guard guard(lock);
    if (sigismember(&machine_mask, number) != 1) return false;
    sigdelset(&machine_mask, number);
  }
  if (current_m() != nullptr) unblock_signals(signal_bit(number));
  return true;
}

void block_signals(std::uint64_t set) noexcept { change_mask(SIG_BLOCK, set); }
void unblock_signals(std::uint64_t set) noexcept { change_mask(SIG_UNBLOCK, set); }

}  // namespace weft::rt
