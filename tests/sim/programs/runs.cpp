// SPDX-License-Identifier: Apache-2.0
// Several runs, and their ends, under fibers and plain threads.
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <vector>

#include <weft/weft.hpp>

#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

void several_runs() {
  for (int r = 0; r < 3; ++r)
    weft::run({.maxprocs = up_to(3)}, [] {
      weft::event e;
      foreign_thread plain([&] { e.set(); });
      weft::go([] { weft::sleep_for(30us); });
      e.wait();
      weft::blocking([&] { plain.join(); });
    });
}

void main_throws() {
  for (int r = 0; r < 2; ++r) {
    const instant begin = now();
    try {
      weft::run({.maxprocs = up_to(3)}, [] {
        for (int i = 0; i < 4; ++i) weft::go([] { weft::sleep_for(1h); });
        if (maybe(2)) weft::yield();
        throw failure("from main");
      });
      expect(false, "run throws what main has thrown");
    } catch (const failure&) {
    }
    expect_within(now() - begin, 100 * ms, "run() returns late");
  }
}

// main returns while others run, sleep, block, start fibers and wait for each other.
void left_behind() {
  int inside = 0;
  weft::run({.maxprocs = up_to(4)}, [&] {
    weft::chan<int> c;
    const auto leaves = [&inside](auto f) {
      return [&inside, f] {
        ++inside;
        struct out {
          int& n;
          ~out() { --n; }
        } at_the_end{inside};
        f();
      };
    };
    weft::go(leaves([c] {
      for (;;) c.send(1);
    }));
    weft::go(leaves([c] {
      for (;;) c.recv();
    }));
    weft::go(leaves([] {
      for (;;) weft::sleep_for(10us);
    }));
    weft::go(leaves([] {
      for (;;) {
        weft::this_fiber::check_cancelled();
        weft::blocking([] { block(30 * us); });
      }
    }));
    weft::go(leaves([leaves] {
      for (;;) {
        weft::go(leaves([] { weft::sleep_for(1h); }));
        weft::sleep_for(40us);
      }
    }));
    if (maybe(2)) weft::sleep_for(std::chrono::microseconds(choose(200)));
  });
  expect(inside == 0, "every fiber is unwound when run() returns");
}

void plain_senders() {
  weft::run({.maxprocs = up_to(3)}, [] {
    weft::chan<int> c(4);
    std::vector<foreign_thread> threads;
    for (int i = 0; i < 3; ++i)
      threads.emplace_back([c] {
        for (int k = 0; k < 20; ++k) c.send(k);
      });
    int sum = 0;
    for (int i = 0; i < 60; ++i) sum += *c.recv();
    expect(sum == 3 * 190, "each value comes once");
    weft::blocking([&] {
      for (foreign_thread& t : threads) t.join();
    });
  });
}

// Plain threads start fibers and timers, lock, select and wait with deadlines.
void plain_threads_do_all() {
  weft::run({.maxprocs = up_to(3)}, [] {
    weft::mutex m;
    weft::chan<int> c(1);
    weft::wait_group started;
    int n = 0;
    std::vector<foreign_thread> threads;
    for (int i = 0; i < 3; ++i)
      threads.emplace_back([&] {
        for (int k = 0; k < 4; ++k) {
          {
            const std::lock_guard guard(m);
            ++n;
          }
          started.go([] { weft::yield(); });
          weft::sleep_for(10us);
          weft::select(weft::on_send(c, 1), weft::on_recv(c, [](std::optional<int>) {}), weft::on_timeout(20us));
          weft::timer t(20us);
          if (maybe(2)) t.chan().recv();
        }
      });
    for (int i = 0; i < 10; ++i) {
      const std::lock_guard guard(m);
      if (maybe(2)) weft::sleep_for(10us);
      ++n;
    }
    weft::blocking([&] {
      for (foreign_thread& t : threads) t.join();
    });
    started.wait();
    expect(n == 22, "nobody's turn under the lock is lost");
  });
}

// The fiber that a plain thread makes runnable is the one that ends the run.
void last_wake() {
  for (int r = 0; r < 4; ++r) {
    weft::chan<int> c;
    foreign_thread plain([&] { c.close(); });
    weft::run({.maxprocs = up_to(3)}, [&] { c.recv(); });
    plain.join();
  }
}

// The same, and at once the next run: what the wake still does must not fall into it.
void last_wake_and_the_next_run() {
  auto c = std::make_shared<weft::chan<int>>();
  std::vector<foreign_thread> plain;
  for (int r = 0; r < 4; ++r) {
    weft::run({.maxprocs = up_to(3)}, [&] {
      const weft::chan<int> mine;
      plain.emplace_back([mine] { mine.close(); });
      if (maybe(2)) weft::go([] { weft::sleep_for(10us); });
      mine.recv();
    });
  }
  for (foreign_thread& t : plain) t.join();
}

// Plain threads receive while run() ends; the watch knows which of their waits must have ended with it.
void plain_threads_at_the_end() {
  for (int r = 0; r < 2; ++r) {
    const weft::chan<int> c;
    int in = 0;
    std::vector<foreign_thread> threads;
    weft::run({.maxprocs = up_to(2), .deadlock = weft::deadlock_policy::off}, [&] {
      for (int i = 0; i < 2; ++i)
        threads.emplace_back([&] {
          ++in;
          (void)ended_with_the_runtime([&] {
            while (c.recv()) {
            }
          });
        });
      weft::go([c] {
        for (;;) c.send(1);
      });
      while (in < 2) weft::sleep_for(5us);
      weft::sleep_for(std::chrono::microseconds(5 + choose(40)));
    });
    block(2'000 * ms);
    c.close();
    for (foreign_thread& t : threads) t.join();
  }
}

// The same for waits that nobody serves any more when main returns.
void plain_waits_at_the_end() {
  weft::chan<int> c;
  weft::event e;
  std::vector<foreign_thread> threads;
  int begun = 0, ended = 0;
  weft::run({.maxprocs = up_to(2)}, [&] {
    for (int i = 0; i < 3; ++i)
      threads.emplace_back([&, i] {
        ++begun;
        if (ended_with_the_runtime([&] {
              if (i == 0)
                c.recv();
              else if (i == 1)
                e.wait();
              else
                weft::select(weft::on_recv(c, [](std::optional<int>) {}), weft::on_timeout(1h));
            }))
          ++ended;
      });
    while (begun < 3) weft::sleep_for(10us);
    weft::sleep_for(20ms);
  });
  block(2'000 * ms);
  if (current_plan().in_time()) expect(ended == 3, "a plain thread that waited when run() ended still waits");
  c.close();
  e.set();
  for (foreign_thread& t : threads) t.join();
}

void set_maxprocs_at_the_end() {
  bool stop = false;
  foreign_thread changer([&] {
    while (!stop) {
      try {
        weft::set_maxprocs(up_to(4));
      } catch (const std::logic_error&) {
      }
      compute(static_cast<instant>(choose(20)) * us);
    }
  });
  for (int r = 0; r < 3; ++r) {
    weft::run({.maxprocs = 2}, [] {
      weft::scope s;
      for (int k = 0; k < 4; ++k) s.go([] { weft::yield(); });
      s.join();
    });
    compute(10 * us);
    expect(weft::maxprocs() == 0, "no runtime runs, and has no width");
  }
  stop = true;
  changer.join();
}

// A thread that waits in the destructor of a thread-local, after it has given back its stand-in.
void thread_local_waits() {
  weft::run({.maxprocs = 2, .deadlock = weft::deadlock_policy::off}, [] {
    struct shared_state {
      weft::chan<int> a, b, first;
      int got_a = -1, got_b = -1;
      bool in_destructor = false;
    } state;
    foreign_thread one([&] {
      (void)state.first.recv_for(20us);
      at_thread_end(
          [](void* it) {
            auto& s = *static_cast<shared_state*>(it);
            s.in_destructor = true;
            s.got_a = s.a.recv().value_or(-2);
          },
          &state);
    });
    while (!state.in_destructor) weft::sleep_for(20us);
    foreign_thread two([&] { state.got_b = state.b.recv().value_or(-2); });
    weft::sleep_for(50us);
    state.a.send(1);
    state.b.send(2);
    weft::blocking([&] {
      one.join();
      two.join();
    });
    expect(state.got_a == 1 && state.got_b == 2, "each thread receives what was sent to it");
  });
}

constexpr program all[] = {
    {"several_runs", several_runs},
    {"main_throws", main_throws},
    {"left_behind", left_behind, {.ready = 3'500 * us, .ready_beside_idle = 2 * ms, .overdue = 4'500 * us}},
    {"plain_senders", plain_senders},
    {"plain_threads_do_all", plain_threads_do_all},
    {"last_wake", last_wake},
    {"last_wake_and_the_next_run", last_wake_and_the_next_run},
    {"plain_threads_at_the_end", plain_threads_at_the_end, load},
    {"plain_waits_at_the_end", plain_waits_at_the_end},
    {"set_maxprocs_at_the_end", set_maxprocs_at_the_end},
    {"thread_local_waits", thread_local_waits},
};

}  // namespace

constinit const std::span<const program> programs_of_runs = all;

}  // namespace sim
