// SPDX-License-Identifier: Apache-2.0
//
// Datagrams over the loopback device, one at a time by send_to and recv_from, and 32 at a time by send_many and
// recv_many, by one fiber, which sends and then receives a batch: none is lost, and no wait is part of the figure.
//
//   udp_bench [--w N] [--quick] [ROW...]
#include <weft/net.hpp>
#include <weft/weft.hpp>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "bench/harness.hpp"

namespace {

using weft::net::incoming;
using weft::net::outgoing;
using weft::net::udp_socket;

constexpr std::size_t batch = 32;

struct pair_of_sockets {
  udp_socket from = udp_socket::bind("127.0.0.1:0"), to = udp_socket::bind("127.0.0.1:0");
};

void one(const bench::context& c, std::size_t size) {
  const long rounds = c.scale(20'000);
  weft::run({.maxprocs = c.w}, [&] {
    pair_of_sockets s;
    const weft::net::endpoint at = s.to.local_endpoint();
    const std::vector<std::byte> data(size);
    std::vector<std::byte> room(size);
    c.measure(rounds * static_cast<long>(batch), [&] {
      for (long i = 0; i < rounds; ++i) {
        for (std::size_t each = 0; each < batch; ++each) s.from.send_to(data, at);
        for (std::size_t each = 0; each < batch; ++each)
          if (s.to.recv_from(room).bytes != size) std::abort();
      }
    });
  });
}

void many(const bench::context& c, std::size_t size) {
  const long rounds = c.scale(20'000);
  weft::run({.maxprocs = c.w}, [&] {
    pair_of_sockets s;
    const std::vector<std::byte> data(size);
    std::vector<std::byte> room(batch * size);
    std::array<outgoing, batch> out;
    std::array<incoming, batch> in;
    out.fill({data, s.to.local_endpoint()});
    for (std::size_t i = 0; i < batch; ++i) in[i].buffer = std::span(room).subspan(i * size, size);
    c.measure(rounds * static_cast<long>(batch), [&] {
      for (long i = 0; i < rounds; ++i) {
        if (s.from.send_many(out) != batch) std::abort();
        for (std::size_t got = 0; got < batch;) got += s.to.recv_many(std::span(in).subspan(got));
      }
    });
  });
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<bench::row> rows;
  for (const std::size_t size : {64u, 1200u}) {
    const std::string bytes = '_' + std::to_string(size);
    rows.push_back({"udp_one" + bytes, {1}, [=](const bench::context& c) { one(c, size); }});
    rows.push_back({"udp_many" + bytes, {1}, [=](const bench::context& c) { many(c, size); }});
  }
  return bench::main(argc, argv, rows);
}
