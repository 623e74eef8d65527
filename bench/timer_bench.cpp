// SPDX-License-Identifier: Apache-2.0
//
// Many sleepers: what the timers cost in CPU time (of the whole process), and how late a sleeper wakes. Each sleeps
// five times, between 1 and 100 ms (1 000 ms with 100 000 sleepers: the same rate of expiries) at odd microseconds,
// from a fixed sequence: about 200 000 expiries a second that no millisecond clock can coalesce unseen. And one sleeper
// alone.
#include <weft/weft.hpp>

#include <chrono>
#include <vector>

#include "bench/harness.hpp"

namespace {

// The peers use the same sequence: durations depend only on the number of the sleep.
long sleep_us(unsigned long number, unsigned long range_us) {
  unsigned long x = number * 0x9E3779B97F4A7C15UL;
  x ^= x >> 29;
  x *= 0xBF58476D1CE4E5B9UL;
  x ^= x >> 32;
  return static_cast<long>(1000 + x % range_us);
}

void sleepers(const bench::context& c, long full, long full_range_us) {
  const long count = c.scale(full);
  const auto range_us = static_cast<unsigned long>(c.scale(full_range_us));  // --quick keeps the rate of expiries
  weft::run({.maxprocs = c.w}, [&] {
    constexpr long sleeps = 5;
    std::vector<long> late(static_cast<std::size_t>(count * sleeps));
    double cpu = 0;
    for (int repetition = 0; repetition < 2; ++repetition) {  // the first one touches the stacks
      weft::wait_group done;
      done.add(static_cast<int>(count));
      const auto before = bench::cpu_ns();
      for (long i = 0; i < count; ++i)
        weft::go([&, i] {
          for (long k = 0; k < sleeps; ++k) {
            const long number = i * sleeps + k;
            const long us = sleep_us(static_cast<unsigned long>(number), range_us);
            const auto start = bench::now_ns();
            weft::sleep_for(std::chrono::microseconds(us));
            late[static_cast<std::size_t>(number)] = bench::now_ns() - start - us * 1000;
          }
          done.done();
        });
      done.wait();
      cpu = static_cast<double>(bench::cpu_ns() - before);
    }
    c.report(c.row + "_cpu", cpu / 1e6, "ms");
    c.report(c.row + "_p50", static_cast<double>(bench::percentile(late, 0.5)) / 1e3, "us");
    c.report(c.row + "_p99", static_cast<double>(bench::percentile(late, 0.99)) / 1e3, "us");
  });
}

// One fiber that sleeps, on a machine that has nothing else to do: how long a sleep of 100 us is.
void single_sleeper(const bench::context& c) {
  weft::run({.maxprocs = c.w}, [&] {
    std::vector<long> took(static_cast<std::size_t>(c.scale(5000)));
    for (long& one : took) {
      const auto start = bench::now_ns();
      weft::sleep_for(std::chrono::microseconds(100));
      one = bench::now_ns() - start;
    }
    c.report(c.row + "_p50", static_cast<double>(bench::percentile(took, 0.5)) / 1e3, "us");
    c.report(c.row + "_p99", static_cast<double>(bench::percentile(took, 0.99)) / 1e3, "us");
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::main(argc, argv,
                     {{"sleep_100us", {1, 2}, single_sleeper},
                      {"timers_10k", {1, 2}, [](const bench::context& c) { sleepers(c, 10'000, 99'000); }},
                      {"timers_100k", {1, 2}, [](const bench::context& c) { sleepers(c, 100'000, 999'000); }}});
}
