// SPDX-License-Identifier: Apache-2.0
//
// Echo server, a fiber a connection, beside fibers that take the CPUs or the threads away: prints "port N" and serves
// until it is killed. The driver starts echo_load against it, which ends by itself whatever is answered.
//
//   stalls_bench [--w N] stalls_WHAT_C_L    8 w fibers stall for 1 ms each, at random, so that the stalls alone would
//                                           fill L % of w CPUs; WHAT: burn, or sleep in the kernel
//   stalls_bench [--w N] hogs_echo_8P       8 w fibers compute and never wait
//
// Each staller waits for an exponential time between its stalls: together a Poisson process as long as few stall at
// once, and no more than 8 w of them ever wait in line, at any load.
#include <weft/net.hpp>
#include <weft/weft.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

#include "bench/harness.hpp"

namespace {

using namespace std::chrono_literals;

constexpr int stallers_a_p = 8;

void compute_for_ever() {
  for (volatile unsigned turns = 0;;) turns = turns + 1;
}

void stall_for_ever(bool sleeping, double mean_gap_ms, unsigned seed) {
  std::mt19937 random(seed);
  std::exponential_distribution<double> gap_ms(1 / mean_gap_ms);
  for (;;) {
    weft::sleep_for(std::chrono::nanoseconds(static_cast<long>(gap_ms(random) * 1e6)));
    if (sleeping) {
      std::this_thread::sleep_for(1ms);
    } else {
      const auto end = bench::now_ns() + 1'000'000;
      while (bench::now_ns() < end) {
      }
    }
  }
}

void serve(weft::net::tcp_listener& listener) {
  weft::scope connections(weft::collect);
  while (auto stream = listener.accept())
    connections.go([stream = std::move(*stream)]() mutable {
      std::array<char, 4096> buffer;
      while (const auto n = stream.read_some(std::span<char>(buffer)))
        stream.write_all(std::span<const char>(buffer.data(), n));
    });
  connections.join();
}

}  // namespace

int main(int argc, char** argv) {
  int width = 1;
  std::string_view row;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--w" && i + 1 < argc)
      width = std::atoi(argv[++i]);
    else
      row = argv[i];
  }
  const bool sleeping = row.starts_with("stalls_sleep_");
  const double percent = row.starts_with("stalls_") ? std::atof(row.substr(row.rfind('_') + 1).data()) : 0;
  if (row != "hogs_echo_8P" && !(percent > 0)) {
    std::fprintf(stderr, "usage: %s [--w N] stalls_burn_C_PERCENT | stalls_sleep_C_PERCENT | hogs_echo_8P\n", argv[0]);
    return 2;
  }
  return weft::run({.maxprocs = width}, [&] {
    auto listener = weft::net::listen("127.0.0.1:0");
    std::printf("port %d\n", static_cast<int>(listener.local_endpoint().port()));
    std::fflush(stdout);
    for (int i = 0; i < stallers_a_p * width; ++i) {
      if (percent > 0)
        weft::go(stall_for_ever, sleeping, stallers_a_p * 100 / percent - 1, static_cast<unsigned>(i));
      else
        weft::go(compute_for_ever);
    }
    serve(listener);
    return 0;
  });
}
