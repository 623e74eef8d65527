// SPDX-License-Identifier: Apache-2.0
//
// What a fiber weighs: a million that have started and are parked on one channel (resident memory and page tables, and
// the number of mappings, which the kernel limits), the time to get them there, and fibers that were started but have
// not run yet. First-touch page faults belong to the figure: nothing is warmed up.
#include <weft/weft.hpp>

#include <atomic>
#include <cstdio>
#include <stdexcept>

#include "bench/harness.hpp"

namespace {

void parked(const bench::context& c, std::size_t stack_size) {
  const long count = c.scale(1'000'000);
  weft::run({.maxprocs = c.w, .stack_size = stack_size}, [&] {
    weft::chan<void> gate(0);
    weft::wait_group started, ended;
    started.add(static_cast<int>(count));
    ended.add(static_cast<int>(count));
    const auto before = bench::memory::now();
    const auto start = bench::now_ns();
    for (long i = 0; i < count; ++i)
      weft::go([&started, &ended, gate] {
        started.done();
        gate.recv();
        ended.done();
      });
    started.wait();
    const auto elapsed = bench::now_ns() - start;
    const auto after = bench::memory::now();
    c.report(c.row + "_bytes", static_cast<double>(after.total() - before.total()) / static_cast<double>(count), "B");
    c.report(c.row + "_vmas", static_cast<double>(after.mappings), "mappings");
    c.report(c.row + "_spawn", static_cast<double>(elapsed) / static_cast<double>(count), "ns");
    gate.close();
    ended.wait();
  });
}

void unrun(const bench::context& c) {
  weft::run({.maxprocs = c.w}, [&] {
    // Few enough to be started well within one time slice: past it the monitor lets them run, as it should.
    constexpr long count = 5'000;
    std::atomic<long> ran{0};  // relaxed: read for a message only
    weft::wait_group ended;
    ended.add(static_cast<int>(count));
    const auto before = bench::memory::now();
    for (long i = 0; i < count; ++i)
      weft::go([&] {
        ran.fetch_add(1, std::memory_order_relaxed);
        ended.done();
      });
    const long early = ran.load(std::memory_order_relaxed);
    const auto after = bench::memory::now();
    if (early != 0) std::fprintf(stderr, "unrun: %ld of %ld fibers had run when memory was read\n", early, count);
    c.report("unrun_bytes", static_cast<double>(after.total() - before.total()) / static_cast<double>(count), "B");
    ended.wait();
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::main(argc, argv,
                     {{"parked", {1}, [](const bench::context& c) { parked(c, 0); }},
                      {"parked_64k", {1}, [](const bench::context& c) { parked(c, 64 * 1024); }},
                      {"unrun", {1}, unrun}});
}
