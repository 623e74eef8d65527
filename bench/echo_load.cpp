// SPDX-License-Identifier: Apache-2.0
//
// Load generator for the echo rows: one thread, one epoll, C connections that each keep one 64-byte request in flight.
//
//   echo_load PORT CONNECTIONS REQUESTS SERVER_PID [SECONDS PAUSE_US]
//
// It reads the server's CPU clock from outside, so that every server, in whatever language, is measured alike, and in
// CPU time: with both pinned, the wall clock measures this program. The first twentieth of the requests warms up and
// counts for nothing. Prints one line:
// cpu_s_per_million requests_per_s p50_us p99_us p999_us mean_us worst_us.
// A reply that is not what was sent ends the program with status 1.
//
// With SECONDS and PAUSE_US each connection rests after a reply, at random, PAUSE_US on average, so that a round trip
// says how late the server was and not how many others wait; the first tenth of the time warms up; and it ends by
// itself: a request that is out for longer than any reply took counts with its age.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <queue>
#include <random>
#include <vector>

#include "bench/harness.hpp"

namespace {

constexpr std::size_t message_size = 64;
constexpr std::int64_t patience_ns = 20'000'000'000;

struct connection {
  int descriptor = -1;
  std::int64_t sent_at = 0;
  std::size_t received = 0;
  std::uint64_t number = 0;
  bool out = false;
  std::array<char, message_size> reply{};
};

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

void send_request(connection& c, std::uint64_t number) {
  std::array<char, message_size> message{};
  std::memcpy(message.data(), &number, sizeof number);
  c.number = number;
  c.received = 0;
  c.out = true;
  c.sent_at = bench::now_ns();
  if (::send(c.descriptor, message.data(), message.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(message.size()))
    fail("echo_load: send");
}

// True once the whole reply is there.
bool receive(connection& c) {
  const ssize_t n = ::recv(c.descriptor, c.reply.data() + c.received, c.reply.size() - c.received, 0);
  if (n == 0) {
    std::fprintf(stderr, "echo_load: the server closed a connection\n");
    std::exit(1);
  }
  if (n < 0) fail("echo_load: recv");
  c.received += static_cast<std::size_t>(n);
  if (c.received != message_size) return false;
  if (std::memcmp(c.reply.data(), &c.number, sizeof c.number) != 0) {
    std::fprintf(stderr, "echo_load: a reply is not what was sent\n");
    std::exit(1);
  }
  c.out = false;
  return true;
}

/// A connection whose next request is due.
struct rest {
  std::int64_t until;
  connection* who;
  bool operator>(const rest& other) const { return until > other.until; }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 && argc != 7) {
    std::fprintf(stderr, "usage: echo_load PORT CONNECTIONS REQUESTS SERVER_PID [SECONDS PAUSE_US]\n");
    return 2;
  }
  const auto port = static_cast<std::uint16_t>(std::atoi(argv[1]));
  const auto count = static_cast<std::size_t>(std::atol(argv[2]));
  const auto requests = static_cast<std::uint64_t>(std::atol(argv[3]));
  const bool timed = argc == 7;
  const auto limit_ns = timed ? static_cast<std::int64_t>(std::atof(argv[5]) * 1e9) : 0;
  const auto pause_ns = timed ? std::atol(argv[6]) * 1000 : 0;
  clockid_t server_clock{};
  if (::clock_getcpuclockid(std::atoi(argv[4]), &server_clock) != 0) {
    std::fprintf(stderr, "echo_load: no process %s to measure\n", argv[4]);
    return 1;
  }

  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int poller = ::epoll_create1(0);
  std::vector<connection> connections(count);
  for (auto& each : connections) {
    each.descriptor = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(each.descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      fail("echo_load: connect");
    const int on = 1;
    ::setsockopt(each.descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &each;
    if (::epoll_ctl(poller, EPOLL_CTL_ADD, each.descriptor, &event) != 0) fail("echo_load: epoll_ctl");
  }

  const std::uint64_t cold_requests = timed ? 0 : requests / 20;
  std::uint64_t sent = 0, completed = 0;
  std::int64_t cpu_before = bench::read_clock(server_clock), start = bench::now_ns();
  const std::int64_t cold_until = start + limit_ns / 10, end = start + limit_ns;
  bool warm = false;
  std::vector<std::int64_t> latencies;
  latencies.reserve(requests);
  std::mt19937_64 random;
  std::uniform_int_distribution<std::int64_t> pause(0, 2 * pause_ns);
  std::priority_queue<rest, std::vector<rest>, std::greater<>> resting;
  for (auto& each : connections) {
    if (timed)
      resting.push({start + pause(random), &each});
    else
      send_request(each, sent++);
  }
  std::array<epoll_event, 256> events{};
  while (completed < requests) {
    const auto before = bench::now_ns();
    if (timed && before >= end) break;
    for (; !resting.empty() && resting.top().until <= before; resting.pop()) send_request(*resting.top().who, sent++);
    const auto wait = timed ? std::min(end, resting.empty() ? end : resting.top().until) - before : patience_ns;
    const timespec timeout{wait / 1'000'000'000, wait % 1'000'000'000};
    const int ready = ::epoll_pwait2(poller, events.data(), static_cast<int>(events.size()), &timeout, nullptr);
    if (ready < 0) fail("echo_load: epoll_pwait2");
    if (ready == 0 && !timed) {
      std::fprintf(stderr, "echo_load: no reply for 20 s\n");
      return 1;
    }
    for (int i = 0; i < ready; ++i) {
      auto& each = *static_cast<connection*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (!receive(each)) continue;
      ++completed;
      const auto now = bench::now_ns();
      if (!warm && completed > cold_requests && now >= cold_until) {
        warm = true;
        cpu_before = bench::read_clock(server_clock);
        start = now;
      }
      if (warm) latencies.push_back(now - each.sent_at);
      if (timed)
        resting.push({now + pause(random), &each});
      else if (sent < requests)
        send_request(each, sent++);
    }
  }
  const std::int64_t worst = bench::percentile(latencies, 1.0), now = bench::now_ns();
  for (const auto& each : connections)
    if (each.out && now - each.sent_at > worst) latencies.push_back(now - each.sent_at);
  const auto measured = static_cast<double>(latencies.size());
  const double cpu_s = static_cast<double>(bench::read_clock(server_clock) - cpu_before) / 1e9;
  const double wall_s = static_cast<double>(bench::now_ns() - start) / 1e9;
  const auto us = [&](double fraction) { return static_cast<double>(bench::percentile(latencies, fraction)) / 1e3; };
  const double mean_us = std::accumulate(latencies.begin(), latencies.end(), 0.0) / measured / 1e3;
  std::printf("%.4g %.0f %.4g %.4g %.4g %.4g %.4g\n", cpu_s / measured * 1e6, measured / wall_s, us(0.5), us(0.99),
              us(0.999), mean_us, us(1.0));
}
