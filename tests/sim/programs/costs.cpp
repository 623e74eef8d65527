// SPDX-License-Identifier: Apache-2.0
// What it costs to do little, or nothing.
#include <cstdint>

#include <weft/weft.hpp>

#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

// The monitor beside two pairs that always run, and one call each 50 ms that blocks.
void cost_of_the_monitor() {
  weft::run({.maxprocs = 2}, [] {
    bool stop = false;
    const unsigned how = choose(3);
    weft::scope s;
    for (int k = 0; k < 2; ++k) {
      const weft::chan<int> there, back;
      s.go([&, there, back] {
        while (!stop) {
          compute(20 * us);
          there.send(1);
          back.recv();
        }
        there.close();
      });
      s.go([=] {
        for (int v : there) back.send(v);
      });
    }
    const instant begin = now();
    const std::uint64_t before = wake_ups_of("weft-monitor");
    for (int i = 0; i < 4; ++i) {
      weft::sleep_for(50ms);
      if (how == 1) weft::blocking([] { block(300 * us); });
      if (how == 2) block(300 * us);
    }
    const auto times = static_cast<instant>(wake_ups_of("weft-monitor") - before);
    const instant per_second = times * 1'000 * ms / (now() - begin);
    stop = true;
    s.join();
    // It looks each 2 ms, and each 200 µs while it attends: for 20 ms after it began, or for 150 where calls block more
    // often than that.
    if (current_plan().in_time() && current_plan().wake_for_nothing_one_in == 0)
      expect(per_second < (how == 0 ? 1'500 : 8'000), "the monitor gets up too often");
  });
}

// An idle process sleeps.
void idle_process() {
  weft::run({.maxprocs = 4}, [] {
    weft::scope s;
    for (int i = 0; i < 4; ++i) s.go([] { weft::yield(); });
    s.join();
    weft::sleep_for(12s);  // by then the threads beyond need have ended
    const std::uint64_t before = wake_ups_of("weft-monitor") + wake_ups_of("weft");
    weft::sleep_for(5s);
    const std::uint64_t times = wake_ups_of("weft-monitor") + wake_ups_of("weft") - before;
    if (current_plan().in_time() && current_plan().wake_for_nothing_one_in == 0)
      expect(times <= 20, "an idle process gets up too often");
  });
}

constexpr program all[] = {
    {"cost_of_the_monitor", cost_of_the_monitor, load},
    {"idle_process", idle_process},
};

}  // namespace

constinit const std::span<const program> programs_of_costs = all;

}  // namespace sim
