// SPDX-License-Identifier: Apache-2.0
// System calls that write, without the signals that the kernel raises in the thread that makes them: SIGPIPE, where
// nobody reads, and SIGXFSZ, past the limit on the size of files. Both come with an error, which is all that a caller
// is to hear.
//
// The signal is held back around the call and taken away again, which costs two more calls. Neither other way would do:
// an action of the process would be the program's no longer, and would be inherited by what it starts, as a mask that
// stays would be.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include <cerrno>

namespace weft::rt {

/// Makes `call`, whose signals reach no handler, and returns its result, or minus the errno. A signal that was pending
/// before stays so: signals of a kind do not add up.
/// `may_move_some`: it may raise a signal and still return how much it has moved before.
template <bool may_move_some = false, class F>
ssize_t without_write_signals(F call) noexcept {
  constexpr int numbers[] = {SIGPIPE, SIGXFSZ};
  sigset_t ours, before;
  sigemptyset(&ours);
  for (const int number : numbers) sigaddset(&ours, number);
  pthread_sigmask(SIG_BLOCK, &ours, &before);
  bool all_were_blocked = true;
  for (const int number : numbers) {
    const bool was_blocked = sigismember(&before, number) == 1;
    all_were_blocked = all_were_blocked && was_blocked;
    sigset_t pending;
    if (was_blocked && sigpending(&pending) == 0 && sigismember(&pending, number) == 1) sigdelset(&ours, number);
  }
  const ssize_t moved = call();
  const ssize_t result = moved >= 0 ? moved : -static_cast<ssize_t>(errno);
  if (may_move_some || result == -EPIPE || result == -EFBIG) {
    const timespec at_once{};
    while (sigtimedwait(&ours, nullptr, &at_once) < 0 && errno == EINTR) {
    }
  }
  if (!all_were_blocked) pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return result;
}

}  // namespace weft::rt
