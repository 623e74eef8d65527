// SPDX-License-Identifier: Apache-2.0
//
// System calls get interrupted all the time.
#pragma once

#include <signal.h>
#include <sys/time.h>

namespace weft_test {

/// While it lives SIGALRM comes ten thousand times a second, to a handler without SA_RESTART.
class signal_storm {
 public:
  signal_storm() noexcept {
    struct sigaction how {};
    how.sa_handler = [](int) {};
    how.sa_flags = SA_ONSTACK;
    sigaction(SIGALRM, &how, nullptr);
    const itimerval often{{0, 100}, {0, 100}};
    setitimer(ITIMER_REAL, &often, nullptr);
  }
  ~signal_storm() {
    const itimerval calm{};
    setitimer(ITIMER_REAL, &calm, nullptr);
  }
  signal_storm(const signal_storm&) = delete;
  signal_storm& operator=(const signal_storm&) = delete;
};

}  // namespace weft_test
