// SPDX-License-Identifier: Apache-2.0
// What the programs share: numbers from the seed, how late a fiber comes, how a wait ends.
#pragma once

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <system_error>

#include <weft/weft.hpp>

#include "tests/sim/programs.hpp"
#include "tests/sim/simulation.hpp"

namespace sim {

using namespace std::chrono_literals;

inline constexpr instant us = 1'000;
inline constexpr instant ms = 1'000'000;

inline int up_to(int most) noexcept { return 1 + static_cast<int>(choose(static_cast<std::uint32_t>(most))); }
inline bool maybe(std::uint32_t one_in) noexcept { return choose(one_in) == 0; }

inline std::chrono::nanoseconds ns(instant t) noexcept { return std::chrono::nanoseconds(t); }

/// How late a fiber comes that sleeps, or takes turns.
class lateness {
 public:
  void sleep(instant time) {
    const instant before = now();
    weft::sleep_for(ns(time));
    add(now() - before - time);
  }
  /// Since the last call.
  void turn() noexcept {
    const instant t = now();
    if (last_ >= 0) add(t - last_);
    last_ = t;
  }
  instant worst() const noexcept { return worst_; }
  void add(instant late) noexcept { worst_ = std::max(worst_, late); }
  void expect_at_most(instant bound, const char* what) const noexcept { expect_within(worst_, bound, what); }

 private:
  instant worst_ = 0, last_ = -1;
};

// Of `many` that come at once and never wait each has 10 ms with a P first, and the monitor's tick; then it is a thread
// among those that share the CPUs, for which the monitor and the next M wait. However many Ps there are: all may lie in
// the queue of one, while the others' holders, whose own queues are empty, run on.
inline instant turns_of(int many) noexcept { return 10 * ms + many * (10 * ms + 3 * current_plan().slice); }

// For what waits for no burner, only for a thread whose CPU is another's for a slice: the monitor's, or an M's.
inline instant a_slice_and(instant time) noexcept { return current_plan().slice + time; }

struct failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class F>
bool was_cancelled(F&& f) {
  try {
    f();
    return false;
  } catch (const weft::cancelled&) {
    return true;
  }
}

// True if the fiber was cancelled before its end.
inline bool joined_cancelled(weft::fiber<void>& f) {
  try {
    f.join();
    return false;
  } catch (const weft::fiber_cancelled&) {
    return true;
  }
}

template <class F>
bool ended_with_the_runtime(F&& f) {
  try {
    f();
    return false;
  } catch (const std::system_error& e) {
    expect(e.code() == std::errc::operation_canceled, "the end of the runtime is operation_canceled");
    return true;
  }
}

// Who never waits keeps a P for 10 ms, and up to nine others come before: the most that `turns_of` is. What the
// monitor's tick is to announce, or a timer whose P is to be taken, waits for its and the next M's time on the CPU.
inline constexpr bounds load = {.ready = 240 * ms, .ready_beside_idle = 8 * ms, .overdue = 60 * ms};

}  // namespace sim
