// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/kernel/datagrams.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/sim/kernel/under_way.hpp"

namespace sim::kernel {

namespace {

constexpr std::size_t most_queued = 16;

std::vector<udp_socket*> sockets;  // all that were ever made

struct on_the_way {
  unsigned port;
  udp_socket::datagram what;
};

void arrive_at_port(const on_the_way& one) noexcept {
  udp_socket* const s = udp_socket_at(one.port);
  if (s == nullptr || s->in.size() >= most_queued) return;
  s->in.push_back(one.what);
  notify(s, EPOLLIN | EPOLLRDNORM);
}

}  // namespace

udp_socket* new_udp_socket() { return sockets.emplace_back(new udp_socket); }

udp_socket* udp_socket_at(unsigned port) noexcept {
  for (udp_socket* s : sockets)
    if (s->bound && !s->closed && port_of(s->local) == port) return s;
  return nullptr;
}

std::uint32_t udp_socket::state() noexcept {
  return EPOLLOUT | EPOLLWRNORM | (in.empty() ? 0u : EPOLLIN | EPOLLRDNORM);
}

ssize_t udp_socket::take_one(char* to, std::size_t n, sockaddr_in& from) noexcept {
  if (in.empty()) return -EAGAIN;
  const datagram first = std::move(in.front());
  in.pop_front();
  std::copy_n(first.data.begin(), std::min(n, first.data.size()), to);
  from = first.from;
  return static_cast<ssize_t>(first.data.size());
}

void udp_socket::send(std::string data, const sockaddr_in& to) noexcept {
  if (!bound) complete(local);
  bound = true;
  later(
      arrival_time(0), [](void* arg) { arrive_at_port(*static_cast<on_the_way*>(arg)); },
      new on_the_way{port_of(to), {local, std::move(data)}});
}

}  // namespace sim::kernel
