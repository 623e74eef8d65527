// SPDX-License-Identifier: Apache-2.0
// Stacks of several sizes, and stacks that run out.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <system_error>

#include <weft/weft.hpp>

#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

// More fibers than there is memory for: they begin as others end, on whatever P those were, however it is held.
void stacks_run_out() {
  const int width = up_to(3);
  weft::run({.maxprocs = width}, [=] {
    int begun = 0, ended = 0;
    weft::event go_on;
    weft::scope s;
    const auto begin = [&](int many) {
      for (int i = 0; i < many; ++i) {
        s.go([&] {
          ++begun;
          if (maybe(2)) go_on.wait();
          if (maybe(4)) block(100 * us);
          if (maybe(8)) compute(ms);
          ++ended;
        });
      }
    };
    begin(up_to(6));
    if (maybe(2)) weft::sleep_for(100us);  // some end before memory does
    const int before = begun;
    set_memory(memory_is::used_up);
    begin(12);
    if (maybe(2)) begin(1 + up_to(60));
    weft::sleep_for(ns(choose(2'000) * us));
    if (before == 0 || maybe(2)) set_memory(memory_is::as_planned);
    go_on.set();
    s.join();
    expect(begun == ended, "each fiber runs once");
    set_memory(memory_is::as_planned);
  });
}

// So many stacks lie in the caches of the Ps that fibers ended on.
void leave_stacks(int many) {
  int begun = 0;
  weft::event out;
  weft::scope s;
  for (int i = 0; i < many; ++i) {
    s.go([&] {
      ++begun;
      out.wait();
      block(100 * us);
    });
  }
  while (begun < many) weft::sleep_for(100us);
  out.set();
  s.join();
}

// All of these are alive at a time.
void use_stacks(int many, const char* what) {
  int begun = 0;
  weft::event go_on;
  weft::scope s;
  const instant before = now();
  for (int i = 0; i < many; ++i) {
    s.go([&] {
      ++begun;
      go_on.wait();
    });
  }
  while (begun < many) {
    expect_within(now() - before, 100 * ms, what);
    weft::sleep_for(100us);
  }
  go_on.set();
  s.join();
}

void stacks_lie_in_caches() {
  weft::run({.maxprocs = 1 + up_to(3)}, [] {
    constexpr int many = 6;
    leave_stacks(many);
    bool over = false;
    weft::scope others;
    const int at_work = up_to(3) - 1;
    for (int i = 0; i < at_work; ++i) {
      others.go([&] {
        while (!over) weft::yield();
      });
    }
    weft::sleep_for(1ms);
    set_memory(memory_is::used_up);
    use_stacks(many - at_work, "a stack in the cache of a P that is idle, or at work, is not to be had");
    over = true;
    others.join();
    set_memory(memory_is::as_planned);
  });
}

// One that blocks or computes holds the P with the stacks, and nothing else waits there.
void stacks_lie_with_one_that_stays() {
  weft::run({.maxprocs = 2}, [] {
    constexpr int many = 6;
    leave_stacks(many);
    weft::scope others;
    bool begun = false;
    const std::uint32_t how = choose(3);
    others.go([&] {
      begun = true;
      if (how == 0) block(300 * ms);
      if (how == 1) compute(300 * ms);
      if (how == 2) weft::blocking([] { block(300 * ms); });
    });
    while (!begun) weft::sleep_for(100us);
    weft::sleep_for(1ms);
    set_memory(memory_is::used_up);
    use_stacks(many - 1, "a stack in the cache of a P that is held is not to be had");
    set_memory(memory_is::as_planned);
    others.join();
  });
}

void stacks_of_retired_ps() {
  weft::run({.maxprocs = 3}, [] {
    leave_stacks(6);
    weft::sleep_for(ns(choose(2) * ms));
    weft::set_maxprocs(1);
    weft::sleep_for(1ms);
    set_memory(memory_is::used_up);
    use_stacks(6, "a stack of a P beyond the width is not to be had");
    set_memory(memory_is::as_planned);
  });
}

// Those that wait for a stack of one size keep none waiting whose size is free.
void stacks_of_another_size() {
  weft::run({.maxprocs = up_to(2)}, [] {
    const weft::attrs large{.name = {}, .stack_size = std::size_t{1} << 20};
    weft::spawn(large, [] {}).join();
    weft::event go_on;
    set_memory(memory_is::used_up);
    weft::scope s;
    for (int i = 0; i < 4; ++i) s.go([&] { go_on.wait(); });
    weft::sleep_for(5ms);
    bool ran = false;
    weft::fiber<void> f = weft::spawn(large, [&] { ran = true; });
    weft::sleep_for(60ms);
    expect(ran, "a fiber whose stack is free waits for others that wait for theirs");
    f.join();
    set_memory(memory_is::as_planned);
    go_on.set();
    s.join();
  });
}

// Each P has an arena of its own, and some cannot be opened any more.
void stacks_of_another_arena() {
  weft::run({.maxprocs = 1 + up_to(3)}, [] {
    weft::scope others;
    for (int i = up_to(3) - 1; i > 0; --i) others.go([] { compute(ms); });
    leave_stacks(1);
    set_memory(memory_is::scarce);
    use_stacks(60, "a stack of another P's arena is not to be had");
    others.join();
    set_memory(memory_is::as_planned);
  });
}

void stacks_of_the_last_run() {
  weft::run({.maxprocs = 3}, [] { leave_stacks(6); });
  set_memory(memory_is::used_up);
  weft::run({.maxprocs = up_to(3)}, [] { use_stacks(5, "a stack of the last run is not to be had"); });
  set_memory(memory_is::as_planned);
}

// A fiber that waits for a stack beside more than there are stacks for, each of which starts another as it ends.
void a_stream_beside_one_without_a_stack() {
  weft::run({.maxprocs = up_to(2)}, [] {
    bool streams = false, over = false;
    weft::wait_group wg;
    std::function<void()> link = [&] {
      streams = true;
      compute(us);
      if (over) return wg.done();
      weft::go(link);
    };
    const auto begin = [&](int many) {
      wg.add(many);
      for (int i = 0; i < many; ++i) weft::go(link);
    };
    begin(3);
    while (!streams) weft::sleep_for(100us);
    set_memory(memory_is::used_up);
    begin(6);
    for (int i = 0; i < 5; ++i) {
      bool begun = false;
      wg.add();
      weft::go([&] {
        begun = true;
        wg.done();
      });
      const instant before = now();
      while (!begun) {
        expect_within(now() - before, 40 * ms, "a fiber waits for a stack while others begin and end");
        weft::sleep_for(100us);
      }
    }
    set_memory(memory_is::as_planned);
    over = true;
    wg.wait();
  });
}

void no_memory_for_main() {
  set_memory(memory_is::used_up);
  bool refused = false;
  try {
    weft::run({.maxprocs = up_to(2)}, [] {});
  } catch (const std::system_error&) {
    refused = true;
  }
  expect(refused, "run says that there is no memory for main");
  set_memory(memory_is::as_planned);
  bool ran = false;
  weft::run([&] { ran = true; });
  expect(ran, "a run after one that was refused");
}

// Stacks of several sizes, so that the pools of each are used and filled.
void stacks_of_many_sizes() {
  weft::run({.maxprocs = up_to(3)}, [] {
    weft::wait_group wg;
    int ended = 0;
    for (int i = 0; i < 24; ++i) {
      wg.add();
      weft::attrs how;
      how.stack_size = std::size_t{64 * 1024} << choose(3);
      weft::spawn(how, [&] {
        if (maybe(2)) weft::sleep_for(20us);
        if (maybe(5)) block(100 * us);
        ++ended;
        wg.done();
      }).detach();
    }
    wg.wait();
    expect(ended == 24, "each fiber runs once");
  });
}

constexpr bounds short_of_stacks = {.ready = 20 * ms, .ready_beside_idle = 20 * ms};

constexpr program all[] = {
    {"stacks_run_out", stacks_run_out, {.ready = 60 * ms, .ready_beside_idle = 60 * ms}},
    {"stacks_lie_in_caches", stacks_lie_in_caches, short_of_stacks},
    {"stacks_lie_with_one_that_stays", stacks_lie_with_one_that_stays, load},
    {"stacks_of_retired_ps", stacks_of_retired_ps, short_of_stacks},
    {"stacks_of_another_size", stacks_of_another_size, short_of_stacks},
    {"stacks_of_another_arena", stacks_of_another_arena, load},
    {"stacks_of_the_last_run", stacks_of_the_last_run, short_of_stacks},
    {"a_stream_beside_one_without_a_stack", a_stream_beside_one_without_a_stack, short_of_stacks},
    {"no_memory_for_main", no_memory_for_main},
    {"stacks_of_many_sizes", stacks_of_many_sizes},
};

}  // namespace

constinit const std::span<const program> programs_of_stacks = all;

}  // namespace sim
