// SPDX-License-Identifier: Apache-2.0
//
// Load generator for the echo rows: one thread, one epoll, C connections that each keep one 64-byte request in flight.
//
//   echo_load PORT CONNECTIONS REQUESTS SERVER_PID
//
// It reads the server's CPU clock from outside, so that every server, in whatever language, is measured alike, and in
// CPU time: with both pinned, the wall clock measures this program. The first twentieth of the requests warms up and
// counts for nothing. Prints one line: cpu_s_per_million requests_per_s p50_us p99_us p999_us.
// A reply that is not what was sent ends the program with status 1.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "bench/harness.hpp"

namespace {

constexpr std::size_t message_size = 64;

struct connection {
  int descriptor = -1;
  std::int64_t sent_at = 0;
  std::size_t received = 0;
  std::uint64_t number = 0;
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
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: echo_load PORT CONNECTIONS REQUESTS SERVER_PID\n");
    return 2;
  }
  const auto port = static_cast<std::uint16_t>(std::atoi(argv[1]));
  const auto count = static_cast<std::size_t>(std::atol(argv[2]));
  const auto requests = static_cast<std::uint64_t>(std::atol(argv[3]));
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

  const std::uint64_t warm = requests / 20;
  std::uint64_t sent = 0, completed = 0;
  std::int64_t cpu_before = bench::read_clock(server_clock), start = bench::now_ns();
  std::vector<std::int64_t> latencies;
  latencies.reserve(requests);
  for (auto& each : connections) send_request(each, sent++);
  std::array<epoll_event, 256> events{};
  while (completed < requests) {
    const int ready = ::epoll_wait(poller, events.data(), static_cast<int>(events.size()), 20'000);
    if (ready <= 0) {
      std::fprintf(stderr, "echo_load: no reply for 20 s\n");
      return 1;
    }
    for (int i = 0; i < ready; ++i) {
      auto& each = *static_cast<connection*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (!receive(each)) continue;
      if (++completed == warm) {
        cpu_before = bench::read_clock(server_clock);
        start = bench::now_ns();
      }
      if (completed > warm) latencies.push_back(bench::now_ns() - each.sent_at);
      if (sent < requests) send_request(each, sent++);
    }
  }
  const auto measured = static_cast<double>(latencies.size());
  const double cpu_s = static_cast<double>(bench::read_clock(server_clock) - cpu_before) / 1e9;
  const double wall_s = static_cast<double>(bench::now_ns() - start) / 1e9;
  const auto us = [&](double fraction) { return static_cast<double>(bench::percentile(latencies, fraction)) / 1e3; };
  std::printf("%.4g %.0f %.4g %.4g %.4g\n", cpu_s / measured * 1e6, measured / wall_s, us(0.5), us(0.99), us(0.999));
}
