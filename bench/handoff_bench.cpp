// SPDX-License-Identifier: Apache-2.0
//
// How long others stand still when a fiber takes its thread away without saying so. On one P, fiber A blocks in a pipe
// read, sleeps in the kernel, or burns CPU, for 100 ms, while fiber B yields in a loop and notes its longest pause. The
// figure is the median over the trials of that pause: a burst of steal time spoils a trial, not the row.
#include <unistd.h>
#include <weft/weft.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>
#include <vector>

#include "bench/harness.hpp"

namespace {

using namespace std::chrono_literals;

constexpr auto held = 100ms;

template <class Hold>
void longest_pause(const bench::context& c, Hold hold) {
  weft::run({.maxprocs = c.w}, [&] {
    std::vector<double> pauses;
    const long trials = c.quick ? 5 : 15;
    for (long trial = 0; trial < trials; ++trial) {
      std::atomic<bool> over{false};  // release by A at its end pairs with B's acquire
      auto observer = weft::spawn([&] {
        std::int64_t longest = 0;
        auto last = bench::now_ns();
        while (!over.load(std::memory_order_acquire)) {
          weft::yield();
          const auto now = bench::now_ns();
          longest = std::max(longest, now - last);
          last = now;
        }
        return longest;
      });
      weft::yield();  // B is now in its loop, in the queue behind us
      hold();
      over.store(true, std::memory_order_release);
      pauses.push_back(static_cast<double>(observer.join()) / 1e6);
    }
    c.report(c.row, bench::percentile(pauses, 0.5), "ms");
  });
}

void in_read(const bench::context& c) {
  longest_pause(c, [] {
    int ends[2];
    if (::pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    std::thread writer([&] {
      std::this_thread::sleep_for(held);
      const char byte = 1;
      if (::write(ends[1], &byte, 1) != 1) std::perror("write to the pipe");
    });
    char byte = 0;
    if (::read(ends[0], &byte, 1) != 1) std::perror("read from the pipe");
    writer.join();
    ::close(ends[0]);
    ::close(ends[1]);
  });
}

void in_usleep(const bench::context& c) {
  longest_pause(c, [] { ::usleep(100'000); });
}

void burning(const bench::context& c) {
  longest_pause(c, [] {
    const auto end = bench::now_ns() + std::chrono::nanoseconds(held).count();
    while (bench::now_ns() < end) {
    }
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::main(argc, argv,
                     {{"gap_read", {1}, in_read}, {"gap_usleep", {1}, in_usleep}, {"gap_burn", {1}, burning}});
}
