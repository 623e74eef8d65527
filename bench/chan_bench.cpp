// SPDX-License-Identifier: Apache-2.0
//
// Channels: a hand-over between two fibers (pingpong), a token around a ring of 1000 (cold stacks), items through a
// buffer of 128 (lock cost, and who wakes whom), and a select over two of each kind.
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

// Two producers, and one who takes from whichever has something.
void select_two(const bench::context& c, int capacity) {
  weft::run({.maxprocs = c.w}, [&] {
    const long each = c.scale(1'000'000) / 2;
    c.measure(each * 2, [&] {
      const weft::chan<long> a(capacity), b(capacity);
      weft::scope producers;
      for (const auto& to : {a, b})
        producers.go([=] {
          for (long i = 0; i < each; ++i) to.send(i);
        });
      long total = 0;
      for (long i = 0; i < each * 2; ++i)
        weft::select(weft::on_recv(a, [&](auto v) { total += *v; }), weft::on_recv(b, [&](auto v) { total += *v; }));
      if (total != each * (each - 1)) throw std::runtime_error("select: items were lost");
      producers.join();
    });
  });
}

// Many fibers, each of which waits for its own channel or for one that all share; `shared` false: the same without it.
void select_done(const bench::context& c, bool shared) {
  weft::run({.maxprocs = c.w}, [&] {
    constexpr int pairs = 32;
    const long each = c.scale(1'000'000) / pairs;
    c.measure(each * pairs, [&] {
      const weft::chan<void> done;
      weft::scope all;
      for (int i = 0; i < pairs; ++i) {
        const weft::chan<long> own;
        const weft::chan<void> end = shared ? done : weft::chan<void>();
        all.go([=] {
          for (long v = 0; v < each; ++v) own.send(v);
        });
        all.go([=] {
          for (long v = 0; v < each; ++v) weft::select(weft::on_recv(own), weft::on_recv(end));
        });
      }
      all.join();
    });
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::main(argc, argv,
                     {{"pingpong", {1, 2}, pingpong},
                      {"ring_1000", {1, 2}, ring},
                      {"chan128_1_1", {1, 2}, [](const bench::context& c) { buffered(c, 1, 1); }},
                      {"chan128_4_4", {1, 2}, [](const bench::context& c) { buffered(c, 4, 4); }},
                      {"select_2", {1, 2}, [](const bench::context& c) { select_two(c, 0); }},
                      {"select_2_cap128", {1, 2}, [](const bench::context& c) { select_two(c, 128); }},
                      {"select_own_done", {1, 2, 16}, [](const bench::context& c) { select_done(c, false); }},
                      {"select_shared_done", {1, 2, 16}, [](const bench::context& c) { select_done(c, true); }}});
}
