// SPDX-License-Identifier: Apache-2.0
// How late a socket is read beside what computes; plain threads that use sockets.
#include "tests/sim/programs/sockets.hpp"

#include <functional>
#include <optional>
#include <vector>

namespace sim {

namespace {

// A plain thread reads a socket of weft's while main holds the only P most of the time.
void thread_reads() {
  weft::run({.maxprocs = 1 + static_cast<int>(choose(2))}, [] {
    no_resets();
    auto l = net::listen("127.0.0.1:0");
    const auto where = l.local_endpoint();
    constexpr int total = 60;
    int raw = -1;
    weft::blocking([&] { raw = raw_connect(where); });
    auto s = *l.accept();
    foreign_thread reader([&] {
      int got = 0;
      char b[64];
      while (std::size_t n = s.read_some(std::span<char>(b))) {
        for (std::size_t i = 0; i < n; ++i) expect(b[i] == byte_of(3, static_cast<std::size_t>(got) + i), "a byte");
        got += static_cast<int>(n);
      }
      expect(got == total, "all bytes");
    });
    foreign_thread writer([&] {
      for (int i = 0; i < total; ++i) {
        const char c = byte_of(3, static_cast<std::size_t>(i));
        raw_send(raw, &c, 1);
        block(300'000);
      }
      kernel::close(raw);
    });
    for (int i = 0; i < 8; ++i) {
      block(1'000'000 + choose(2'000'000));
      weft::event e;
      e.set();
      weft::go([] {});
      compute(500'000 + choose(2'000'000));
      weft::yield();
    }
    weft::blocking([&] {
      writer.join();
      reader.join();
    });
  });
}

/// A plain thread writes each `every`; a fiber reads. Returns how late at worst.
instant read_beside(instant every, unsigned times, const std::function<void(weft::scope&, bool& stop)>& others) {
  kernel::troubles& t = kernel::trouble();
  t.reset_one_in = t.aborted_one_in = t.no_accept_one_in = t.slow_one_in = t.interrupted_one_in = t.short_write_one_in =
      0;
  t.latency = 0;
  t.buffer = 1000;
  auto l = net::listen("127.0.0.1:0");
  int raw = -1;
  weft::blocking([&] { raw = raw_connect(l.local_endpoint()); });
  auto s = *l.accept();
  instant worst_delay = 0;
  unsigned reads = 0;
  bool stop = false;
  weft::scope scope;
  scope.go([&] {
    instant sent[1];
    while (s.read_exactly(std::as_writable_bytes(std::span(sent))) == sizeof sent) {
      worst_delay = std::max(worst_delay, now() - sent[0]);
      if (++reads == times) break;
    }
  });
  foreign_thread writer([&] {
    for (unsigned i = 0; i < times; ++i) {
      block(every / 2 + choose(static_cast<std::uint32_t>(every)));
      const instant at = now();
      raw_send(raw, reinterpret_cast<const char*>(&at), sizeof at);
    }
  });
  weft::scope beside;
  others(beside, stop);
  scope.join();
  stop = true;
  beside.join();
  weft::blocking([&] { writer.join(); });
  kernel::close(raw);
  return worst_delay;
}

// Every P computes.
void beside_burners() {
  weft::run({.maxprocs = 1 + static_cast<int>(choose(2))}, [] {
    const instant late = read_beside(3'000'000, 20, [](weft::scope& s, bool& stop) {
      for (unsigned k = 1 + choose(5); k-- > 0;)
        s.go([&] {
          while (!stop) compute(100'000);
        });
    });
    expect_within(late, 100 * ms, "a socket beside burners is late");
  });
}

// Fibers of some µs that yield, so many that the global queue is never empty.
void beside_yielders() {
  weft::run({.maxprocs = 1 + static_cast<int>(choose(2))}, [] {
    // A thread that stands still at one step in so many would do so hundreds of times in a round of all.
    const bool many = maybe(2) && current_plan().lose_cpu_one_in == 0;
    const instant late = read_beside(3'000'000, 8, [many](weft::scope& s, bool& stop) {
      for (unsigned k = many ? 700 : 4; k-- > 0;)
        s.go([&] {
          while (!stop) {
            compute(5'000);
            weft::yield();
          }
        });
    });
    expect_within(late, 280 * ms, "a socket beside yielders is late");
    // Not by the monitor, which looks there each 10 ms.
    if (!many && current_plan().in_time() && !current_plan().pct)
      expect_within(late, 300 * us, "a socket is not looked at each 100 µs");
  });
}

// Fibers come back from blocking calls, through the global queue, while others compute.
void beside_the_global_queue() {
  weft::run({.maxprocs = 1}, [] {
    const instant late = read_beside(3'000'000, 20, [](weft::scope& s, bool& stop) {
      for (int k = 0; k < 10; ++k)
        s.go([&] {
          while (!stop) {
            weft::blocking([] { block(200'000); });
            compute(30'000);
          }
        });
    });
    expect_within(late, 5 * a_slice_and(ms), "a socket beside the global queue is late");
  });
}

// The M that slept in the poller found work that keeps it busy, and so did whoever searched after it. A P is idle: does
// anybody sleep in the poller?
void beside_an_idle_p() {
  const int procs = 2 + static_cast<int>(choose(3));
  weft::run({.maxprocs = procs}, [procs] {
    const instant late = read_beside(3'000'000, 20, [procs](weft::scope& s, bool& stop) {
      for (unsigned k = 1 + choose(static_cast<unsigned>(procs - 1)); k-- > 0;)
        s.go([&] {
          while (!stop) {
            if (maybe(2))
              weft::sleep_for(1ms);
            else
              weft::yield();
            compute(1'000'000 + choose(20'000'000));
          }
        });
    });
    expect_within(late, 12 * ms, "a socket beside an idle P is late");
  });
}

// The same, where the computing fiber is itself got by a socket.
void computes_what_it_reads() {
  weft::run({.maxprocs = 2 + static_cast<int>(choose(2))}, [] {
    const instant late = read_beside(3'000'000, 20, [](weft::scope& s, bool& stop) {
      s.go([&stop] {
        pair p = connected_pair();
        weft::scope writer;
        writer.go([&p, &stop] {
          while (!stop) {
            weft::sleep_for(2ms);
            std::error_code error;
            p.a.write_all(std::span<const char>("x", 1), error);
          }
          p.a.close();
        });
        char b[64];
        std::error_code error;
        while (p.b.read_some(std::span<char>(b), error) != 0 && !stop) compute(1'000'000 + choose(10'000'000));
        while (!stop) weft::sleep_for(1ms);
        writer.join();
      });
    });
    expect_within(late, 5 * ms, "a socket beside a fiber that computes is late");
  });
}

// Timers that are started elsewhere get the sleeper in the poller up, again and again.
void timers_beside_the_poller() {
  weft::run({.maxprocs = 2 + static_cast<int>(choose(3))}, [] {
    no_resets();
    pair p = connected_pair();
    weft::scope s;
    s.go([&] {
      char b[8];
      while (p.b.read_some(std::span<char>(b)) != 0) {
      }
    });
    weft::scope sleepers;
    for (unsigned k = 2 + choose(4); k-- > 0;)
      sleepers.go([&] {
        for (int i = 0; i < 30; ++i) {
          weft::sleep_for(std::chrono::microseconds(choose(maybe(2) ? 10 : 300)));
          if (maybe(3)) compute(choose(20'000));
          if (maybe(8)) p.a.write_some(std::span<const char>("z", 1));
        }
      });
    sleepers.join();
    p.a.close();
    s.join();
  });
}

// Plain threads read, with and without a deadline, while main returns: each of them comes back.
void run_ends_under_threads() {
  std::vector<foreign_thread> threads;
  for (int r = 0; r < 2; ++r) {
    pair p;
    int begun = 0;
    const unsigned n = 1 + choose(3);
    weft::run({.maxprocs = up_to(4)}, [&] {
      no_resets();
      p = connected_pair();
      for (unsigned i = 0; i < n; ++i)
        threads.emplace_back([&p, &begun, with_deadline = maybe(2)] {
          ++begun;
          std::error_code error;
          char b;
          if (with_deadline) p.b.set_read_deadline(weft::clock::now() + std::chrono::microseconds(choose(2000)));
          while (p.b.read_some(std::span<char>(&b, 1), error) != 0) {
          }
          expect(error == std::errc::operation_canceled || error == std::errc::timed_out, "a read when run ends");
        });
      if (maybe(2))
        while (begun < static_cast<int>(n)) weft::sleep_for(10us);
      if (maybe(2)) p.a.write_some(std::span<const char>("ab", 2));
      if (maybe(2)) weft::sleep_for(std::chrono::microseconds(choose(50)));
    });
    for (auto& t : threads) t.join();
    threads.clear();
  }
  no_file_is_left();
}

// Plain threads are the clients, and some of the servers.
void threads_serve() {
  weft::run({.maxprocs = up_to(4)}, [] {
    no_resets();
    auto l = net::listen("127.0.0.1:0");
    const std::string where = l.local_endpoint().to_string();
    std::vector<foreign_thread> threads;
    const unsigned servers = 1 + choose(2), clients = 1 + choose(3);
    for (unsigned i = 0; i < servers; ++i)
      threads.emplace_back([&] {
        while (auto s = l.accept()) echo(std::move(*s));
      });
    weft::scope fibers;
    if (maybe(2))
      fibers.go([&] {
        while (auto s = l.accept()) echo(std::move(*s));
      });
    std::vector<foreign_thread> others;
    for (unsigned c = 0; c < clients; ++c)
      others.emplace_back([&, c] {
        for (unsigned k = 0; k < 3; ++k) {
          net::tcp_stream s = net::connect(where);
          for (unsigned i = 0; i < 5; ++i) {
            const char there = byte_of(c, i);
            char back = 0;
            s.write_all(std::span<const char>(&there, 1));
            expect(s.read_exactly(std::span<char>(&back, 1)) == 1 && back == there, "an echo");
          }
        }
      });
    weft::blocking([&] {
      for (auto& t : others) t.join();
    });
    l.close();
    fibers.join();
    weft::blocking([&] {
      for (auto& t : threads) t.join();
    });
  });
  no_file_is_left();
}

// One of 700 that finds no stack, or whose thread stands still, waits for all the others once more.
// Sockets do not wait for the monitor, which looks there each 10 ms.
constexpr bounds seven_hundred = {.ready = 280 * ms, .ready_beside_idle = ms, .overdue = 10 * ms, .edge = ms};

// One CPU may belong to those that compute for a slice each, while the thread that is to look waits for it.
constexpr bounds two_slices = {
    .ready = load.ready, .ready_beside_idle = 6 * ms, .overdue = load.overdue, .edge_beside_idle = 9 * ms};

constexpr program all[] = {
    {"thread_reads", thread_reads, load},
    {"beside_burners", beside_burners, load},
    {"beside_yielders", beside_yielders, seven_hundred},
    {"beside_the_global_queue", beside_the_global_queue, {.ready = 6 * ms, .edge = 12 * ms}},
    {"beside_an_idle_p", beside_an_idle_p, two_slices},
    {"computes_what_it_reads", computes_what_it_reads, load},
    {"timers_beside_the_poller", timers_beside_the_poller},
    {"run_ends_under_threads", run_ends_under_threads},
    {"threads_serve", threads_serve},
};

}  // namespace

constinit const std::span<const program> programs_of_sockets_in_time = all;

}  // namespace sim
