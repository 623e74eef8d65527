// SPDX-License-Identifier: Apache-2.0
// Channels and select.
#include <cstdint>
#include <optional>

#include <weft/weft.hpp>

#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

void pairs() {
  weft::run({.maxprocs = up_to(4)}, [] {
    weft::chan<int> there, back;
    weft::scope s;
    s.go([=] {
      for (int i = 0; i < 50; ++i) {
        there.send(i);
        expect(back.recv() == i, "what comes back is what was sent");
      }
      there.close();
    });
    s.go([=] {
      for (int v : there) back.send(v);
    });
    s.join();
  });
}

void pipeline() {
  weft::run({.maxprocs = up_to(4)}, [] {
    weft::chan<int> numbers(up_to(4)), squares(choose(3));
    weft::scope s;
    weft::wait_group producers;
    const int workers = up_to(3);
    for (int i = 0; i < workers; ++i)
      s.go([=] {
        for (int v : numbers) {
          if (maybe(6)) compute(10 * us);
          if (maybe(12)) block(100 * us);
          squares.send(v * v);
        }
      });
    for (int k = 0; k < 3; ++k)
      producers.go([=] {
        for (int i = 0; i < 10; ++i) numbers.send(10 * k + i);
      });
    s.go([&] {
      producers.wait();
      numbers.close();
    });
    std::int64_t sum = 0;
    for (int i = 0; i < 30; ++i) sum += *squares.recv();
    expect(sum == 8555, "the sum of the squares from 0 to 29");
    s.join();
  });
}

void selects() {
  weft::run({.maxprocs = up_to(4)}, [] {
    weft::chan<int> a, b(2), stop;
    weft::scope s;
    s.go([=] {
      for (int i = 0; i < 15; ++i) {
        if (maybe(2))
          a.send(i);
        else
          b.send(i);
        if (maybe(5)) weft::yield();
      }
      stop.close();
    });
    int got = 0, timeouts = 0;
    for (bool more = true; more;)
      weft::select(
          weft::on_recv(a, [&](std::optional<int>) { ++got; }), weft::on_recv(b, [&](std::optional<int>) { ++got; }),
          weft::on_recv(stop, [&](std::optional<int>) { more = false; }), weft::on_timeout(30us, [&] { ++timeouts; }));
    while (b.try_recv().value) ++got;
    s.join();
    expect(got == 15, "each value is received once");
  });
}

// Both sides select, and several on each.
void selects_meet() {
  weft::run({.maxprocs = up_to(4)}, [] {
    weft::chan<int> a, b;
    int sent = 0, received = 0;
    weft::scope s;
    for (int k = 0; k < 3; ++k)
      s.go([&] {
        for (int i = 0; i < 8; ++i)
          weft::select(weft::on_send(a, 1, [&] { ++sent; }), weft::on_send(b, 1, [&] { ++sent; }));
      });
    for (int k = 0; k < 3; ++k)
      s.go([&] {
        for (int i = 0; i < 8; ++i)
          weft::select(weft::on_recv(a, [&](std::optional<int> v) { received += *v; }),
                       weft::on_recv(b, [&](std::optional<int> v) { received += *v; }));
      });
    s.join();
    expect(sent == 24 && received == 24, "each send meets one receive");
  });
}

constexpr program all[] = {
    {"pairs", pairs},
    {"pipeline", pipeline},
    {"selects", selects},
    {"selects_meet", selects_meet},
};

}  // namespace

constinit const std::span<const program> programs_of_channels = all;

}  // namespace sim
