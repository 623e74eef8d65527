// SPDX-License-Identifier: Apache-2.0
// Threads and fibers that are not to be had.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <system_error>

#include <weft/weft.hpp>

#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

// A plain thread's wake finds no thread, slowly, while run() ends.
void thread_start_fails_late() {
  weft::chan<int> c;
  bool got = false, send = false;
  foreign_thread plain([&] {
    while (!send) block(20 * us);
    c.send(1);
  });
  weft::run({.maxprocs = 2}, [&] {
    set_thread_starts(thread_starts::refused);
    weft::go([&] {
      c.recv();
      got = true;
    });
    while (!got) {
      weft::yield();
      if (send) continue;
      set_thread_starts(thread_starts::refused, static_cast<instant>(choose(500)) * us);
      send = true;
    }
  });
  set_thread_starts(thread_starts::as_planned);
  plain.join();
}

// The same where the plain thread has more to do after the refusal, of which the run's threads know nothing. All but
// one of them have ended, or are held up, and a P is idle: so that wake wants a new one.
void a_wake_outlasts_the_run() {
  weft::chan<int> c;
  std::optional<foreign_thread> plain;
  bool got = false, held_up = false;
  weft::run({.maxprocs = 3}, [&] {
    weft::go([&] {
      c.recv();
      got = true;
    });
    weft::sleep_for(11s);
    weft::go([&] {
      weft::blocking([&] {
        held_up = true;
        while (!got) block(10 * us);
      });
    });
    while (!held_up) weft::yield();
    set_thread_starts(thread_starts::refused, static_cast<instant>(choose(300)) * us);
    plain.emplace([&] { c.send(1); });
    while (!got) weft::yield();
  });
  set_thread_starts(thread_starts::as_planned);
  plain->join();
}

// No thread beside main's is to be had for a while; then they are.
void no_threads_for_a_while() {
  set_thread_starts(thread_starts::refused);
  weft::run({.maxprocs = 1 + up_to(3)}, [] {
    weft::chan<int> c;
    weft::scope s;
    for (int i = 0; i < 4; ++i)
      s.go([=] {
        for (int k = 0; k < 3; ++k) {
          block(200 * us);
          c.send(k);
        }
      });
    foreign_thread plain([=] {
      for (int k = 0; k < 3; ++k) c.send(k);
    });
    for (int i = 0; i < 5; ++i) c.recv();
    set_thread_starts(thread_starts::as_planned);
    for (int i = 0; i < 10; ++i) c.recv();
    s.join();
    weft::blocking([&] { plain.join(); });
  });
}

// A wake that found no thread is made up for as soon as one can be had, though nothing else happens.
void a_missed_wake_is_made_up_for() {
  weft::run({.maxprocs = 2}, [] {
    weft::chan<int> c;
    instant sent = 0, worst_delay = 0;
    weft::scope s;
    s.go([&] {
      for (int i = 0; i < 3; ++i) {
        c.recv();
        worst_delay = std::max(worst_delay, now() - sent);
      }
    });
    for (int i = 0; i < 3; ++i) {
      weft::sleep_for(100us);
      set_thread_starts(thread_starts::refused);
      sent = now();
      c.send(i);
      compute(300 * us);
      set_thread_starts(thread_starts::as_planned);
      compute(60 * ms);
    }
    s.join();
    expect_within(worst_delay, 5 * current_plan().slice + 2 * ms, "a fiber whose wake found no thread is late");
  });
}

// The wake finds no thread just as the last one lies down, which takes one of those that were woken.
void missed_as_the_last_lies_down() {
  set_thread_starts(thread_starts::refused);
  weft::run({.maxprocs = 3}, [] {
    for (int i = 0; i < 30; ++i) {
      weft::event e;
      bool begin = false;
      weft::scope s;
      for (int k = 0; k < 3; ++k)
        s.go([&] {
          e.wait();
          block(20 * us);
        });
      foreign_thread plain([&] {
        while (!begin) compute(100);
        compute(static_cast<instant>(choose(4'000)));
        e.set();
      });
      weft::sleep_for(50us);
      begin = true;
      weft::sleep_for(200us);
      s.join();
      weft::blocking([&] { plain.join(); });
    }
    set_thread_starts(thread_starts::as_planned);
  });
}

// A limit is kept; and what a spawn costs beside one that is near, in steps: each walks over all Ps twice.
void spawn_with_a_limit() {
  weft::run({.maxprocs = 16, .max_fibers = 8}, [] {
    std::uint64_t most = 0;
    for (int r = 0; r < 5; ++r) {
      weft::wait_group wg;
      for (int i = 0; i < 6; ++i) {
        wg.add(1);
        const std::uint64_t before = steps_of_thread();
        weft::go([&] { wg.done(); });
        most = std::max(most, steps_of_thread() - before);
      }
      wg.wait();
    }
    expect(most < 400, "a spawn takes too many steps");
    int started = 0;
    bool refused = false;
    weft::event out;
    weft::scope s;
    try {
      for (;; ++started) s.go([&] { out.wait(); });
    } catch (const std::system_error&) {
      refused = true;
    }
    // Those above may still be counted: nobody is told of the end of a fiber that nobody waits for.
    expect(refused && started <= 7, "the limit is kept");
    out.set();
    s.join();
  });
}

// Where the limit is far, a walk leaves its P credit for some more: that must be gone by the time the limit is near.
void limit_with_credit() {
  constexpr int most = 700;
  const int procs = up_to(4);
  weft::run({.maxprocs = procs, .max_fibers = most}, [&] {
    weft::event begin, out;
    int refused = 0;
    weft::scope s;
    for (int i = 0; i < 2 * procs; ++i) {
      s.go([&] {
        begin.wait();
        for (bool full = false; !full;) {
          try {
            s.go([&] { out.wait(); });
          } catch (const std::system_error&) {
            full = true;
          }
          if (maybe(16)) weft::yield();
        }
        ++refused;
        out.wait();
      });
    }
    begin.set();
    while (refused < 2 * procs) weft::sleep_for(100us);
    const auto live = static_cast<int>(weft::num_fibers());
    expect(live >= most, "a spawn is refused before the limit is reached");
    expect(live < most + 2 * procs, "the limit is passed by more than those that spawn at the same moment");
    out.set();
    s.join();
  });
}

// The same, by one: what the others were given long before is void.
void credit_of_others() {
  constexpr int most = 700;
  const int procs = 1 + up_to(3);
  weft::run({.maxprocs = procs, .max_fibers = most}, [&] {
    weft::event full, out;
    int began = 0, tried = 0, passed = 0;
    weft::scope s;
    const auto start = [&] {
      try {
        s.go([&] { out.wait(); });
        return true;
      } catch (const std::system_error&) {
        return false;
      }
    };
    for (int i = 0; i < 2 * procs; ++i) {
      s.go([&] {
        compute(100 * us);  // so that others come to help
        start();
        ++began;
        full.wait();
        passed += start() ? 1 : 0;
        ++tried;
        out.wait();
      });
    }
    while (began < 2 * procs) weft::sleep_for(100us);
    while (start()) {
    }
    full.set();
    while (tried < 2 * procs) weft::sleep_for(100us);
    expect(passed == 0, "a spawn passes the limit on credit");
    out.set();
    s.join();
  });
}

constexpr program all[] = {
    {"thread_start_fails_late", thread_start_fails_late},
    {"a_wake_outlasts_the_run", a_wake_outlasts_the_run},
    {"no_threads_for_a_while", no_threads_for_a_while},
    {"a_missed_wake_is_made_up_for",
     a_missed_wake_is_made_up_for,
     {.ready = 18 * ms, .ready_beside_idle = 18 * ms, .overdue = ms}},
    {"missed_as_the_last_lies_down", missed_as_the_last_lies_down},
    {"spawn_with_a_limit", spawn_with_a_limit},
    {"limit_with_credit", limit_with_credit},
    {"credit_of_others", credit_of_others},
};

}  // namespace

constinit const std::span<const program> programs_of_shortage = all;

}  // namespace sim
