// SPDX-License-Identifier: Apache-2.0
// Fibers that are pinned to their threads: main, and any other.

#include <optional>
#include <system_error>

#include <weft/weft.hpp>

#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

void pinned_main() {
  weft::run({.maxprocs = up_to(2), .pin_main = true}, [] {
    const task* const here = self();
    weft::chan<int> there, back;
    weft::go([=] {
      for (int v : there) {
        if (maybe(4)) block(100 * us);
        back.send(v);
      }
    });
    for (int i = 0; i < 20; ++i) {
      there.send(i);
      weft::yield();
      if (maybe(4)) block(200 * us);
      expect(back.recv() == i, "what comes back is what was sent");
      expect(self() == here, "a pinned main stays on its thread");
    }
    there.close();
  });
}

void pinned_main_beside_burners() {
  weft::run({.maxprocs = 1, .pin_main = true}, [] {
    bool stop = false;
    lateness late;
    weft::scope s;
    for (int i = 0; i < 2; ++i)
      s.go([&] {
        while (!stop) compute(50 * us);
      });
    for (int i = 0; i < 3; ++i) late.sleep(ms);
    stop = true;
    s.join();
    late.expect_at_most(100 * ms, "a pinned main beside two that compute is late");
  });
}

// It comes back from a system call, finds its P gone, and yields without one.
void pinned_main_yields_without_p() {
  weft::run({.maxprocs = 1, .pin_main = true}, [] {
    for (int i = 0; i < 4; ++i) {
      bool go = false, done = false;
      weft::go([&] {
        while (!go) compute(5 * us);
        compute(static_cast<instant>(choose(40)) * us);
        done = true;
      });
      block(150 * us);
      if (maybe(2)) {
        weft::timer entry(1h);  // looks for a P for the last time
        go = true;
        compute(static_cast<instant>(choose(60)) * us);
        weft::yield();
      }
      go = true;
      while (!done) weft::yield();
    }
  });
}

void pinned_main_and_no_thread() {
  weft::run({.maxprocs = 1, .pin_main = true}, [] {
    if (maybe(2)) weft::sleep_for(20us);
    set_thread_starts(thread_starts::refused);
    bool ran = false;
    weft::go([&] {
      if (maybe(2)) block(100 * us);
      ran = true;
    });
    weft::yield();
    set_thread_starts(thread_starts::as_planned);
    while (!ran) weft::sleep_for(10us);
  });
}

// All other threads are held up in a system call, and no more are to be had.
void pinned_main_and_threads_held_up() {
  weft::run({.maxprocs = up_to(2), .pin_main = true}, [] {
    lateness late;
    weft::scope s;
    for (int i = 0; i < 2; ++i)
      s.go([] {
        for (int k = 0; k < 10; ++k) block(2 * ms);
      });
    weft::sleep_for(100us);
    set_thread_starts(thread_starts::refused);
    for (int i = 0; i < 8; ++i) {
      late.sleep(ms);
      weft::yield();
    }
    set_thread_starts(thread_starts::as_planned);
    s.join();
    late.expect_at_most(10 * ms, "a pinned main beside threads that are held up is late");
  });
}

// Each of its yields gives the P away, with main itself in its queue, to threads that are held up as soon as they run
// what else lies there.
void pinned_main_yields_beside_threads_held_up() {
  weft::run({.maxprocs = up_to(3), .max_threads = 2, .pin_main = true}, [] {
    int begun = 0;
    weft::scope s;
    for (int i = 0; i < 2; ++i) {
      s.go([&] {
        ++begun;
        block(30 * ms);
      });
    }
    lateness late;
    const auto take_turn = [&] {
      weft::yield();
      late.turn();
    };
    while (begun < 2) take_turn();
    s.go([] { compute(us); });  // has no thread to run on until one of them comes back
    for (int i = 0; i < 20; ++i) take_turn();
    late.expect_at_most(a_slice_and(5 * ms), "a pinned main that yields beside threads that are held up is late");
    s.join();
  });
}

// There is no other thread from the start on: what is ready for others runs here in the end.
void pinned_main_is_alone() {
  set_thread_starts(thread_starts::refused);
  weft::run({.maxprocs = 1, .pin_main = true}, [] {
    bool ran = false;
    weft::go([&] { ran = true; });
    weft::sleep_for(150ms);
    weft::sleep_for(10ms);
    if (current_plan().in_time()) expect(ran, "a fiber beside a pinned main that is alone never runs");
    set_thread_starts(thread_starts::as_planned);
    while (!ran) weft::sleep_for(10us);
  });
}

// A plain thread wakes a fiber just as main gives up the only P.
void pinned_main_and_a_plain_thread() {
  weft::run({.maxprocs = 1, .pin_main = true}, [] {
    const weft::chan<int> c, done;
    weft::scope s;
    s.go([=] {
      for (int v : c)
        if (maybe(2)) done.send(v);
      done.close();
    });
    foreign_thread plain([=] {
      for (int i = 0; i < 40; ++i) {
        c.send(i);
        if (maybe(2)) compute(static_cast<instant>(choose(3'000)));
      }
      c.close();
    });
    while (done.recv())
      if (maybe(3)) weft::yield();
    s.join();
    weft::blocking([&] { plain.join(); });
  });
}

// Several fibers keep their threads for a while, beside others; main may, too.
void pins() {
  weft::run({.maxprocs = up_to(3), .pin_main = maybe(3)}, [] {
    const weft::chan<int> work, done;
    const int many = up_to(4);
    weft::scope s;
    for (int i = 0; i < many; ++i) {
      s.go([=] {
        for (int v : work) {
          if (maybe(2)) weft::yield();
          const weft::thread_pin stays;
          const task* const here = self();
          for (int k = 0; k < 3; ++k) {
            if (maybe(3)) block(200 * us);
            if (maybe(3)) weft::yield();
            if (maybe(4)) weft::sleep_for(100us);
            if (maybe(6)) {
              const weft::thread_pin again;
              weft::yield();
            }
            done.send(v);
            expect(self() == here, "a pinned fiber stays on its thread");
          }
        }
      });
    }
    s.go([=] {
      for (int i = 0; i < 12; ++i) work.send(i);
      work.close();
    });
    std::optional<weft::thread_pin> stays;
    if (maybe(3)) stays.emplace();
    const task* const here = self();
    for (int i = 0; i < 36; ++i) {
      expect(done.recv().has_value(), "what is sent comes");
      if (stays) expect(self() == here, "a main that pins itself stays on its thread");
    }
    s.join();
  });
}

// As pinned_main_is_alone, by a pin.
void pin_is_alone() {
  set_thread_starts(thread_starts::refused);
  weft::run({.maxprocs = 1}, [] {
    const weft::thread_pin stays;
    bool ran = false;
    weft::go([&] { ran = true; });
    weft::sleep_for(150ms);
    weft::sleep_for(10ms);
    if (current_plan().in_time()) expect(ran, "a fiber beside a pinned one that is alone never runs");
    set_thread_starts(thread_starts::as_planned);
    while (!ran) weft::sleep_for(10us);
  });
}

// All threads that there may be have a pinned fiber, which waits for one that has none.
void pins_have_all_threads() {
  weft::run({.maxprocs = up_to(2), .max_threads = 1}, [] {
    const weft::chan<int> there, back;
    const weft::thread_pin stays;
    weft::scope s;
    s.go([=] {
      std::optional<weft::thread_pin> stays_too;
      try {
        stays_too.emplace();
      } catch (const std::system_error&) {  // it is helped out with
      }
      for (int v : there) back.send(v);
    });
    s.go([=] {
      for (int i = 0; i < 4; ++i) there.send(i);
      there.close();
    });
    for (int i = 0; i < 4; ++i) expect(back.recv() == i, "what is sent comes, whoever is pinned");
    s.join();
  });
}

// One pinned fiber wakes again and again, another one once, and the rest is held up in a system call.
void pins_beside_threads_held_up() {
  weft::run({.maxprocs = 1, .max_threads = 2}, [] {
    bool over = false;
    lateness late;
    weft::scope s;
    int pinned = 0;
    s.go([&] {
      const weft::thread_pin stays;
      ++pinned;
      while (!over) weft::sleep_for(1ms);
    });
    s.go([&] {
      const weft::thread_pin stays;
      ++pinned;
      late.sleep(5 * ms);
      over = true;
    });
    while (pinned < 2) weft::sleep_for(100us);
    block(100 * ms);
    s.join();
    late.expect_at_most(a_slice_and(50 * ms),
                        "a pinned fiber beside a busier one, and threads that are held up, is late");
  });
}

// No thread is left for those that are not pinned, and none is to be had for a while: nobody is lost for it.
void pins_and_no_thread() {
  weft::run({.maxprocs = up_to(3), .max_threads = 3}, [] {
    if (maybe(2)) set_thread_starts(thread_starts::refused);
    int pinned = 0, others = 0;
    weft::scope s;
    for (int i = 0; i < 4; ++i) {
      s.go([&] {
        std::optional<weft::thread_pin> stays;
        try {
          stays.emplace();
        } catch (const std::system_error&) {
          return;
        }
        ++pinned;
        for (int k = 0; k < 3; ++k) maybe(2) ? weft::yield() : weft::sleep_for(200us);
      });
      s.go([&] {
        for (int k = 0; k < 3; ++k) maybe(2) ? weft::yield() : weft::sleep_for(100us);
        ++others;
      });
    }
    for (int k = 0; k < 4; ++k) weft::sleep_for(300us);
    set_thread_starts(thread_starts::as_planned);
    s.join();
    expect(others == 4, "a fiber beside pinned ones is lost");
  });
}

constexpr program all[] = {
    {"pinned_main", pinned_main},
    {"pinned_main_beside_burners", pinned_main_beside_burners, load},
    {"pinned_main_yields_without_p", pinned_main_yields_without_p},
    {"pinned_main_and_no_thread", pinned_main_and_no_thread},
    {"pinned_main_and_threads_held_up", pinned_main_and_threads_held_up, {.overdue = 3 * ms / 2}},
    {"pinned_main_yields_beside_threads_held_up",
     pinned_main_yields_beside_threads_held_up,
     {.ready = 60 * ms, .ready_beside_idle = 60 * ms}},
    {"pinned_main_is_alone", pinned_main_is_alone, {.ready = 200 * ms, .ready_beside_idle = 200 * ms}},
    {"pinned_main_and_a_plain_thread", pinned_main_and_a_plain_thread},
    {"pins", pins},
    {"pin_is_alone", pin_is_alone, {.ready = 200 * ms, .ready_beside_idle = 200 * ms}},
    {"pins_have_all_threads", pins_have_all_threads, {.ready = 200 * ms, .ready_beside_idle = 200 * ms}},
    {"pins_beside_threads_held_up",
     pins_beside_threads_held_up,
     {.ready = 60 * ms, .ready_beside_idle = 60 * ms, .overdue = 60 * ms}},
    {"pins_and_no_thread", pins_and_no_thread, {.ready = 200 * ms, .ready_beside_idle = 200 * ms}},
};

}  // namespace

constinit const std::span<const program> programs_of_pinned_main = all;

}  // namespace sim
