// SPDX-License-Identifier: Apache-2.0
// The poller over epoll: one instance for the process, edge-triggered, each descriptor registered once for everything.
//
// The one M that sleeps in it is got up through an eventfd. That is registered level-triggered and drained by a sleeper
// only: a busy M that just looks in leaves it readable, so it cannot eat the wake that was meant for the sleeper.
// `wake_pending_` makes a second wake free while the first one stands.
//
//   wake      pending.exchange(1); it was 0: write the eventfd
//   sleeper   read the eventfd; pending.exchange(0)    acq_rel both: it sees what came before a wake that wrote nothing
//
// The sleeper reads before it exchanges: the other way round a wake in between would be swallowed, and block all later
// ones.
//
// Time-outs are nanoseconds with epoll_pwait2 (Linux 5.11), else milliseconds, rounded up: never early.
// An M counts as sleeping in the kernel while it is here; no lock is held across the system call.
#pragma once

#include <cstdint>

#include <weft/detail/atomic.hpp>

#include "netpoll/table.hpp"
#include "runtime/sched/poller.hpp"

namespace weft::rt {

class epoll_poller final : public poller, public readiness_reporter {
 public:
  constexpr epoll_poller() noexcept = default;

  /// Makes the kernel's side. Returns 0, or the errno. Called once.
  int open() noexcept;
  /// Gives it back; for tests, with no thread inside. (The process's own poller lives as long as the process.)
  void close() noexcept;

  int add(descriptor& d) noexcept override;
  /// Without it a duplicate of the file elsewhere would go on reporting.
  void remove(descriptor& d) noexcept override;

  void poll(nanoseconds_t timeout, g_list& ready) noexcept override;
  void wake() noexcept override;
  /// Returns true if any descriptor is open: to count those that are being waited for would cost every park two locked
  /// instructions.
  bool has_waiters() const noexcept override { return descriptors_.load(std::memory_order_relaxed) != 0; }

  /// Events for descriptors that had been closed by then.
  std::uint64_t stale_events() const noexcept { return stale_.load(std::memory_order_relaxed); }
  /// As on a kernel without epoll_pwait2; for tests.
  void count_in_milliseconds() noexcept { has_pwait2_.store(false, std::memory_order_relaxed); }

 private:
  int wait(void* events, int room, nanoseconds_t timeout) noexcept;

  int epoll_ = -1;
  int wake_ = -1;
  detail::atomic<std::uint32_t> wake_pending_{0};
  detail::atomic<bool> has_pwait2_{true};  // relaxed: a stale answer costs one call that fails
  detail::atomic<int> descriptors_{0};     // relaxed: a hint; a fiber that parks is found by the event, not by this
  detail::atomic<std::uint64_t> stale_{0};
};

}  // namespace weft::rt
