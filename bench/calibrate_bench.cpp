// SPDX-License-Identifier: Apache-2.0
//
// What the machine itself costs at this moment, so that two results can be told apart from two moods of the host: the
// round trip of a cache line between the first two CPUs that this process may use (it jumps by a factor of five on
// some virtual machines, within seconds), a fixed dependent arithmetic loop (core speed), a system call, and 64 bytes
// there and back over a loopback TCP connection within one thread (what the kernel's network path costs: it varies by
// a factor of three from one host to the next while the other three stay). Uses no weft: it must say the same whatever
// the library does.
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <thread>
#include <vector>

#include "bench/harness.hpp"

namespace {

std::vector<int> usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

void line_round_trip(const bench::context& c) {
  const auto cpus = usable_cpus();
  if (cpus.size() < 2) {
    std::fprintf(stderr, "calibrate: one usable CPU, so no cache line goes anywhere: row left out\n");
    return;
  }
  // One line, two writers in turn: odd numbers are ours, even ones the partner's.
  alignas(128) std::atomic<long> line{0};
  constexpr long trips = 4000;
  constexpr int slices = 15;
  std::thread partner([&] {
    pin(cpus[1]);
    for (long turn = 1; turn <= 2 * trips * slices; turn += 2) {
      while (line.load(std::memory_order_acquire) != turn) {
      }
      line.store(turn + 1, std::memory_order_release);  // pairs with the acquire load in the loop below
    }
  });
  pin(cpus[0]);
  std::vector<double> times;
  long turn = 0;
  for (int slice = 0; slice < slices; ++slice) {
    const auto start = bench::now_ns();
    for (long i = 0; i < trips; ++i) {
      line.store(turn + 1, std::memory_order_release);  // pairs with the partner's acquire load
      turn += 2;
      while (line.load(std::memory_order_acquire) != turn) {
      }
    }
    times.push_back(static_cast<double>(bench::now_ns() - start) / trips);
  }
  partner.join();
  c.report(c.row, bench::percentile(times, 0.5), "ns");
}

void loop(const bench::context& c) {
  constexpr long steps = 2'000'000;
  c.measure(steps, [] {
    unsigned long x = 88172645463325252UL;
    for (long i = 0; i < steps; ++i) {
      x = x * 6364136223846793005UL + 1442695040888963407UL;
      asm volatile("" : "+r"(x));
    }
  });
}

void system_call(const bench::context& c) {
  constexpr long calls = 100'000;
  c.measure(calls, [] {
    for (long i = 0; i < calls; ++i) ::syscall(SYS_getppid);
  });
}

void socket_round_trip(const bench::context& c) {
  const auto require = [](bool done, const char* what) {
    if (!done) throw std::system_error(errno, std::generic_category(), what);
  };
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const name = reinterpret_cast<sockaddr*>(&address);
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  require(::bind(listener, name, size) == 0 && ::listen(listener, 1) == 0 && ::getsockname(listener, name, &size) == 0,
          "listen on loopback");
  const int near_end = ::socket(AF_INET, SOCK_STREAM, 0);
  require(::connect(near_end, name, size) == 0, "connect over loopback");
  const int far_end = ::accept(listener, nullptr, nullptr);
  require(far_end >= 0, "accept over loopback");
  constexpr long trips = 5000;
  c.measure(trips, [&] {
    std::array<char, 64> message{};
    for (long i = 0; i < trips; ++i)
      for (const auto [from, to] : {std::array{near_end, far_end}, std::array{far_end, near_end}})
        require(::send(from, message.data(), message.size(), 0) == 64 &&
                    ::recv(to, message.data(), message.size(), MSG_WAITALL) == 64,
                "a message over loopback");
  });
  for (int descriptor : {listener, near_end, far_end}) ::close(descriptor);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::main(argc, argv,
                     {{"line_round_trip", {2}, line_round_trip},
                      {"loop", {1}, loop},
                      {"syscall", {1}, system_call},
                      {"socket", {1}, socket_round_trip}});
}
