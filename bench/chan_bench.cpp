// SPDX-License-Identifier: Apache-2.0
//
// Channels: a hand-over between two fibers (pingpong), a token around a ring of 1000 (cold stacks), and items through a
// buffer of 128 (lock cost, and who wakes whom).
#include <weft/weft.hpp>

#include <stdexcept>
#include <vector>

#include "bench/harness.hpp"

namespace {

void pingpong(const bench::context& c) {
  weft::run({.maxprocs = c.w}, [&] {
    const long trips = c.scale(1'000'000);
    c.measure(trips, [&] {
      weft::chan<long> there(0), back(0);
      weft::go([=] {
        for (long v : there) back.send(v);
      });
      for (long i = 0; i < trips; ++i) {
        there.send(i);
        if (back.recv().value() != i) throw std::runtime_error("pingpong: a value was lost");
      }
      there.close();
    });
  });
}

void ring(const bench::context& c) {
  weft::run({.maxprocs = c.w}, [&] {
    constexpr int members = 1000;  // the measuring fiber is one of them
    std::vector<weft::chan<long>> links;
    for (int i = 0; i < members; ++i) links.emplace_back(0);
    for (int i = 0; i + 1 < members; ++i)
      weft::go([in = links[static_cast<std::size_t>(i)], out = links[static_cast<std::size_t>(i) + 1]] {
        for (long v : in) out.send(v + 1);
        out.close();
      });
    const long laps = c.scale(1000);
    c.measure(laps * members, [&] {
      long token = 0;
      for (long lap = 0; lap < laps; ++lap) {
        links.front().send(token + 1);
        token = links.back().recv().value();
      }
      if (token != laps * members) throw std::runtime_error("ring: hops were lost");
    });
    links.front().close();
    while (links.back().recv()) {
    }
  });
}

void buffered(const bench::context& c, int producers, int consumers) {
  weft::run({.maxprocs = c.w}, [&] {
    const long each = c.scale(4'000'000) / producers;
    c.measure(each * producers, [&] {
      weft::chan<long> items(128);
      weft::wait_group sent, received;
      sent.add(producers);
      received.add(consumers);
      std::vector<long> counts(static_cast<std::size_t>(consumers));
      for (auto& count : counts)
        weft::go([&received, &count, items] {
          long mine = 0;
          while (items.recv()) ++mine;
          count = mine;
          received.done();
        });
      for (int p = 0; p < producers; ++p)
        weft::go([&sent, each, items] {
          for (long i = 0; i < each; ++i) items.send(i);
          sent.done();
        });
      sent.wait();
      items.close();
      received.wait();
      long total = 0;
      for (long count : counts) total += count;
      if (total != each * producers) throw std::runtime_error("buffered channel: items were lost");
    });
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::main(argc, argv,
                     {{"pingpong", {1, 2}, pingpong},
                      {"ring_1000", {1, 2}, ring},
                      {"chan128_1_1", {1, 2}, [](const bench::context& c) { buffered(c, 1, 1); }},
                      {"chan128_4_4", {1, 2}, [](const bench::context& c) { buffered(c, 4, 4); }}});
}
