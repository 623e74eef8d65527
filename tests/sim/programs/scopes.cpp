// SPDX-License-Identifier: Apache-2.0
// Scopes, cancellation, deadlines, exceptions.
#include <chrono>
#include <exception>
#include <memory>

#include <weft/weft.hpp>

#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

void cancelled_scopes() {
  weft::run({.maxprocs = up_to(3)}, [] {
    for (int r = 0; r < 5; ++r) {
      weft::scope s;
      weft::chan<int> nobody_sends;
      int ended = 0;
      for (int i = 0; i < 6; ++i)
        s.go([&, nobody_sends] {
          expect(was_cancelled([&] {
                   if (maybe(2))
                     nobody_sends.recv();
                   else
                     weft::sleep_for(1h);
                 }),
                 "a cancelled wait ends by weft::cancelled");
          ++ended;
          throw weft::cancelled{};
        });
      if (maybe(2)) weft::sleep_for(20us);
      s.cancel();
      s.join();
      expect(ended == 6, "each child has heard of it");
    }
  });
}

struct child_failure {};

// The owner of a scope hears of a child's failure once, whatever it does at that moment; what it runs inside ends, too.
void failed_scopes() {
  weft::run({.maxprocs = up_to(3)}, [] {
    for (int r = 0; r < 6; ++r) {
      weft::chan<int> nobody_sends;
      int told = 0, begun = 0, ended = 0;
      const auto hear = [&](auto wait) {
        try {
          wait();
        } catch (const child_failure&) {
          ++told;
        } catch (const weft::cancelled&) {
        }
      };
      const auto child = [&](bool fails) {
        struct counter {
          int& ended;
          ~counter() { ++ended; }
        } here{ended};
        if (fails) {
          if (maybe(2)) weft::sleep_for(ns(static_cast<instant>(choose(30'000))));
          throw child_failure{};
        }
        nobody_sends.recv();
      };
      weft::scope s;
      for (int i = 0; i < 3; ++i)
        hear([&] {
          s.go(child, i == 1);
          ++begun;
        });
      if (maybe(2))
        hear([&] {
          weft::scope inner;
          inner.go(child, false);
          ++begun;
          if (maybe(2)) inner.go([&] { weft::with_timeout(1h, [&] { nobody_sends.recv(); }); });
          if (maybe(2)) weft::shield([&] { inner.join(); });  // hears nothing, but what it waits for ends
          inner.join();
        });
      hear([&] {
        if (maybe(2))
          nobody_sends.recv();
        else
          weft::with_timeout(1h, [] { weft::sleep_for(2h); });
      });
      if (maybe(2)) hear([] { weft::yield(); });
      hear([&] { s.join(); });
      expect(told == 1, "the failure of a scope is told once");
      expect(ended == begun, "all that ran in a failed scope has ended");
      expect(!weft::this_fiber::cancelled(), "a scope that was joined reaches its owner no more");
    }
  });
}

void nested_scopes() {
  weft::run({.maxprocs = up_to(4)}, [] {
    for (int r = 0; r < 3; ++r) {
      int inside = 0;
      weft::scope outer;
      for (int i = 0; i < 3; ++i)
        outer.go([&] {
          ++inside;
          try {
            weft::scope inner;
            for (int k = 0; k < 3; ++k)
              inner.go([&] {
                weft::shield([] { weft::sleep_for(10us); });
                weft::sleep_for(1h);
              });
            inner.join();
          } catch (const weft::cancelled&) {
            --inside;
            throw;
          }
          --inside;
        });
      weft::sleep_for(std::chrono::microseconds(choose(60)));
      outer.cancel();
      outer.join();
      expect(inside == 0, "the inner scopes are left");
    }
  });
}

void exceptions() {
  weft::run({.maxprocs = up_to(4)}, [] {
    for (int r = 0; r < 4; ++r) {
      int heard = 0, begun = 0;
      try {
        weft::scope s;
        for (int i = 0; i < 4; ++i) {  // the last one is not begun if its owner hears of the failure here
          s.go([&, i] {
            if (i == 2) {
              if (maybe(2)) weft::yield();
              throw failure("one of four");
            }
            if (was_cancelled([] { weft::sleep_for(1h); })) ++heard;
          });
          ++begun;
        }
        s.join();
        expect(false, "join throws what a child has thrown");
      } catch (const failure&) {
      }
      expect(heard == begun - 1, "its siblings are cancelled");
    }
    auto f = weft::spawn([]() -> int {
      if (maybe(2)) weft::yield();
      throw failure("from a fiber");
    });
    try {
      f.join();
      expect(false, "join throws what the fiber has thrown");
    } catch (const failure&) {
    }
    expect(weft::spawn([] { return 7; }).join() == 7, "join returns the result");
    int errors = 0;
    weft::scope all(weft::collect, {.on_error = [&](const std::exception_ptr&) { ++errors; }});
    for (int i = 0; i < 5; ++i)
      all.go([] {
        weft::yield();
        throw failure("one of five");
      });
    all.join();
    expect(errors == 5 && all.error_count() == 5, "each error is collected");
  });
}

void deadlines() {
  weft::run({.maxprocs = up_to(3)}, [] {
    weft::scope s;
    for (int i = 0; i < 5; ++i)
      s.go([i] {
        for (int k = 0; k < 4; ++k) {
          bool over = false;
          try {
            weft::with_timeout(ns((20 + 13 * i) * us), [&] {
              if (maybe(3)) return;
              weft::with_timeout(1h, [] {
                weft::scope inner;
                inner.go([] { weft::sleep_for(1h); });
                inner.join();
              });
            });
          } catch (const weft::timed_out&) {
            over = true;
          }
          (void)over;
        }
      });
    s.join();
  });
}

// Many runs of a cancel_scope, which dies with the last of them.
void cancel_scope_of_many() {
  weft::run({.maxprocs = up_to(4)}, [] {
    for (int r = 0; r < 2; ++r) {
      const int n = 14 + up_to(24);
      auto all = std::make_shared<weft::cancel_scope>();
      weft::chan<int> nobody_sends;
      int in = 0, cancelled = 0;
      weft::scope s;
      for (int i = 0; i < n; ++i)
        s.go([&, all] {
          ++in;
          const bool to_the_end = all->run([&] {
            if (maybe(4)) compute(10 * us);
            if (maybe(3))
              weft::sleep_for(1h);
            else
              nobody_sends.recv();
          });
          if (!to_the_end) ++cancelled;
        });
      while (in < n / 2) weft::yield();
      if (maybe(2)) weft::sleep_for(30us);
      weft::cancel_scope& it = *all;
      if (maybe(2)) {
        foreign_thread plain([all] { all->cancel(); });
        weft::blocking([&] { plain.join(); });
      } else {
        it.cancel();
      }
      s.join();
      expect(cancelled == n, "each run is cancelled");
    }
  });
}

void cancelled_handles() {
  weft::run({.maxprocs = up_to(3)}, [] {
    for (int r = 0; r < 6; ++r) {
      weft::event never_set;
      auto f = weft::spawn([&] {
        if (maybe(3)) weft::yield();
        if (maybe(3)) return;
        never_set.wait();
      });
      if (maybe(2)) weft::yield();
      f.cancel();
      if (maybe(3)) {
        while (!f.join_for(20us)) {
        }
      }
      joined_cancelled(f);
    }
    // Nobody waits for these: the end of run() does.
    for (int i = 0; i < 5; ++i) {
      auto f = weft::spawn([] { weft::sleep_for(1h); });
      if (maybe(2)) f.cancel();
      f.detach();
    }
  });
}

// Cancelled while it starts, runs and ends; its G is used again at once.
void cancelled_as_it_ends() {
  weft::run({.maxprocs = 2 + static_cast<int>(choose(3))}, [] {
    for (int r = 0; r < 12; ++r) {
      auto f = weft::spawn([] {
        if (maybe(2)) weft::yield();
      });
      weft::go([] { weft::yield(); });
      foreign_thread plain([&] { f.cancel(); });
      auto next = weft::spawn([] { weft::sleep_for(5us); });
      weft::blocking([&] { plain.join(); });
      joined_cancelled(f);
      expect(!joined_cancelled(next), "the fiber that nobody has cancelled sleeps to its end");
    }
  });
}

// The same from another fiber, in the moment in which it ends and another one gets its G.
void cancelled_as_another_begins() {
  weft::run({.maxprocs = 2}, [] {
    weft::fiber<void>* which = nullptr;
    bool stop = false;
    auto starter = weft::spawn([&] {
      for (int r = 0; r < 40; ++r) {
        auto f = weft::spawn([] {});
        which = &f;
        weft::yield();
        auto next = weft::spawn([] { weft::sleep_for(1us); });
        while (which != nullptr) compute(us / 10);
        joined_cancelled(f);
        expect(!joined_cancelled(next), "the fiber that nobody has cancelled sleeps to its end");
      }
      stop = true;
    });
    while (!stop) {
      compute(us / 50);
      if (which == nullptr) continue;
      if (maybe(2)) compute(static_cast<instant>(choose(1'000)));
      which->cancel();
      which = nullptr;
    }
    starter.join();
  });
}

// Cancelled in the moment in which it goes to sleep, on another thread.
void cancelled_as_it_parks() {
  weft::run({.maxprocs = 2}, [] {
    for (int r = 0; r < 40; ++r) {
      bool parks = false;
      weft::event never_set;
      auto f = weft::spawn([&] {
        parks = true;
        never_set.wait();
      });
      while (!parks) compute(us / 50);
      if (maybe(2)) compute(static_cast<instant>(choose(600)));
      f.cancel();
      expect(joined_cancelled(f), "a fiber that was cancelled ends by that");
    }
  });
}

// Both sides spin until the other has gone on, for a slice of its P and several of one CPU.
constexpr bounds spinners = {.ready = 40 * ms, .overdue = 40 * ms};

constexpr program all[] = {
    {"cancelled_scopes", cancelled_scopes},
    {"failed_scopes", failed_scopes},
    {"nested_scopes", nested_scopes},
    {"exceptions", exceptions},
    {"deadlines", deadlines},
    {"cancel_scope_of_many", cancel_scope_of_many},
    {"cancelled_handles", cancelled_handles},
    {"cancelled_as_it_ends", cancelled_as_it_ends, spinners},
    {"cancelled_as_another_begins", cancelled_as_another_begins, spinners},
    {"cancelled_as_it_parks", cancelled_as_it_parks, spinners},
};

}  // namespace

constinit const std::span<const program> programs_of_scopes = all;

}  // namespace sim
