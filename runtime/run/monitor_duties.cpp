// SPDX-License-Identifier: Apache-2.0
// What the monitor's thread does for higher floors: signals, the traces, the dump that was asked for, idle stacks, the
// machine's width.

#include "runtime/run/monitor_duties.hpp"

#include <weft/detail/atomic.hpp>

#include "netpoll/signals.hpp"
#include "runtime/config/cpu_width.hpp"
#include "runtime/fiber/stack.hpp"
#include "runtime/inspect/deadlock.hpp"
#include "runtime/inspect/inspection.hpp"
#include "runtime/inspect/schedtrace.hpp"
#include "runtime/run/width.hpp"
#include "runtime/sched/scheduler.hpp"
#include "runtime/sched/upcalls.hpp"

namespace weft::rt {

namespace {

constinit detail::atomic<bool> follow_machine{false};
nanoseconds_t next_width_check = 0;
nanoseconds_t next_trim = 0;
constexpr nanoseconds_t trim_every = 250'000'000;

// Opened once and read again each second: on the monitor's thread only.
cpu_width_watch& width_watch() {
  static cpu_width_watch watch;
  return watch;
}

}  // namespace

void follow_machine_width(bool follow) noexcept {
  next_width_check = 0;
  follow_machine.store(follow, std::memory_order_relaxed);
}

void width_is_set_by_hand() noexcept { follow_machine.store(false, std::memory_order_relaxed); }

bool monitor_wants_ticks() noexcept { return schedtrace_is_on() || inspection_is_due() || signals_are_due(); }
nanoseconds_t monitor_may_sleep(nanoseconds_t now) noexcept { return look_for_deadlock(now); }

bool monitor_tidies_up() noexcept { return trim_stacks() != 0; }

void monitor_tick(nanoseconds_t now) noexcept {
  deliver_signals();
  schedtrace_tick(now);
  inspection_tick(now);
  if (now >= next_trim) {
    next_trim = now + trim_every;
    trim_stacks();
  }
  if (!follow_machine.load(std::memory_order_relaxed) || now < next_width_check) return;
  next_width_check = now + 1'000'000'000;
  const int width = width_watch().width();
  if (width != sched.procs.load(std::memory_order_relaxed) && follow_machine.load(std::memory_order_relaxed))
    change_width(width);
}

}  // namespace weft::rt
