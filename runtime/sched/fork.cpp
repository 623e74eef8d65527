// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/fork.hpp"

#include <pthread.h>

#include <weft/detail/atomic.hpp>

#include "runtime/sched/gate.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/thread_g.hpp"

namespace weft::rt {

constinit detail::atomic<bool> forked_away{false};

void watch_forks() noexcept {
  [[maybe_unused]] static const int once = pthread_atfork(nullptr, nullptr, [] {
    if (sched.procs.load(std::memory_order_relaxed) == 0) return;
    forked_away.store(true, std::memory_order_relaxed);
    start_gate.shut();
    sched.ended.store(true, std::memory_order_relaxed);  // no thread is started any more
    if (plain_waits_are_over(plain_waits.load(std::memory_order_relaxed)))
      plain_waits.fetch_add(1, std::memory_order_relaxed);
    set_current_m(nullptr);  // from here on this is a plain thread
  });
}

}  // namespace weft::rt
