// SPDX-License-Identifier: Apache-2.0
//
// The production run queue under the model checker, with a ring of 4: whatever owner and thieves do, each fiber is
// taken by one, with all that its spawner wrote, and none is forgotten. Each order in run_queue.hpp that the checker
// can see has a mutant here. It cannot see the release of the head's compare-and-swap (nor its partner, put's acquire):
// they keep a slot's load from being overtaken by the store that fills it again, and the checker executes loads in
// order.
#include "runtime/sched/run_queue.hpp"

#include <gtest/gtest.h>

#include <type_traits>

#include "tests/model/expect.hpp"

namespace {

using mc::finds;
using mc::holds;
using mc::order;

struct fiber {
  mc::var<fiber*> link{nullptr};
  mc::var<int> runs{0};
  mc::var<bool> ready{false};  // what a spawner writes

  fiber* made_ready() {
    ready = true;
    return this;
  }
  void run() {
    mc::check(ready, "a fiber runs after it was made ready");
    runs = runs + 1;
    mc::check(runs == 1, "a fiber runs once");
  }
};

template <class Atomics>
using queue = weft::rt::run_queue<fiber, Atomics, 4>;

template <class Atomics>
void drain(queue<Atomics>& q) {
  while (fiber* f = q.get_next()) f->run();
  while (fiber* f = q.get()) f->run();
}

template <class Atomics>
void put(queue<Atomics>& q, fiber& f) {
  mc::check(q.put(f.made_ready()), "there is room in the ring");
}

template <class Fibers>
void all_ran(Fibers& fibers) {
  for (fiber& f : fibers) mc::check(f.runs == 1, "no fiber is forgotten");
}

// --- thieves take half of the ring while the owner pushes and pops
// ----------------------------------------------------

template <class Atomics>
mc::result ring() {
  return mc::explore({.name = "ring, owner and two thieves"}, [] {
    queue<Atomics> mine, first, second;
    fiber fibers[4];
    mc::spawn([&] {
      for (int i = 0; i < 3; ++i) put(mine, fibers[i]);
      if (fiber* f = mine.get()) f->run();
      put(mine, fibers[3]);
      if (fiber* f = mine.get()) f->run();
    });
    const auto steal = [&](queue<Atomics>& own) {
      if (fiber* f = own.steal_from(mine)) f->run();
      if (fiber* f = own.get()) f->run();
    };
    mc::spawn([&] { steal(first); });
    mc::spawn([&] { steal(second); });
    mc::join();
    drain(mine);
    drain(first);
    drain(second);
    all_ran(fibers);
  });
}

// A thief that is robbed in turn.
template <class Atomics>
mc::result chain() {
  return mc::explore({.name = "ring, thief of a thief"}, [] {
    queue<Atomics> mine, first, second;
    fiber fibers[4];
    for (fiber& f : fibers) put(mine, f);
    mc::spawn([&] {
      if (fiber* f = first.steal_from(mine)) f->run();
      if (fiber* f = first.get()) f->run();
    });
    mc::spawn([&] {
      if (fiber* f = second.steal_from(first)) f->run();
    });
    mc::spawn([&] {
      if (fiber* f = mine.get()) f->run();
    });
    mc::join();
    drain(mine);
    drain(first);
    drain(second);
    all_ran(fibers);
  });
}

// The ring goes round: slots are filled again while a thief reads them.
template <class Atomics>
mc::result wrap() {
  return mc::explore({.name = "ring, filled again"}, [] {
    queue<Atomics> mine, own;
    fiber fibers[8];
    mc::spawn([&] {
      for (fiber& f : fibers) {
        f.made_ready();
        while (!mine.put(&f)) {
          if (fiber* oldest = mine.get()) oldest->run();
        }
      }
    });
    mc::spawn([&] {
      for (int i = 0; i < 2; ++i) {
        if (fiber* f = own.steal_from(mine)) f->run();
        drain(own);
      }
    });
    mc::join();
    drain(mine);
    all_ran(fibers);
  });
}

// Overflow: the older half leaves as a list, while thieves are at it.
template <class Atomics>
mc::result overflow() {
  return mc::explore({.name = "ring, overflow"}, [] {
    queue<Atomics> mine, own;
    fiber fibers[5];
    fiber *first = nullptr, *last = nullptr;
    for (int i = 0; i < 4; ++i) put(mine, fibers[i]);
    mc::spawn([&] {
      fibers[4].made_ready();
      while (!mine.put(&fibers[4])) {
        const unsigned count = mine.take_half(first, last);
        if (count == 0) continue;
        mc::check(count == 2 || (count == 1 && first == last), "half of a ring of 4 is 2, or 1 if a thief was faster");
        mc::check(last->link == nullptr, "the list ends");
      }
    });
    mc::spawn([&] {
      if (fiber* f = own.steal_from(mine)) f->run();
    });
    mc::join();
    for (fiber* f = first; f != nullptr; f = f->link) f->run();
    drain(mine);
    drain(own);
    all_ran(fibers);
  });
}

// --- runnext
// ----------------------------------------------------------------------------------------------------------

template <class Atomics>
mc::result next() {
  return mc::explore({.name = "runnext, owner and two thieves"}, [] {
    queue<Atomics> mine, first, second;
    fiber fibers[3];
    mc::spawn([&] {
      for (fiber& f : fibers) {
        if (fiber* displaced = mine.put_next(f.made_ready()))
          mc::check(mine.put(displaced), "there is room in the ring");
      }
      if (fiber* f = mine.get_next()) f->run();
    });
    const auto steal = [&](queue<Atomics>& own) {
      if (fiber* f = own.steal_from(mine)) f->run();
      if (fiber* seen = mine.peek_next()) {
        if (mine.steal_next(seen)) seen->run();
      }
    };
    mc::spawn([&] { steal(first); });
    mc::spawn([&] { steal(second); });
    mc::join();
    drain(mine);
    drain(first);
    drain(second);
    all_ran(fibers);
  });
}

// --- empty()
// -----------------------------------------------------------------------------------------------------------

// There is a fiber in the queue at any time; it only moves from runnext to the ring.
template <class Atomics>
mc::result never_empty() {
  return mc::explore({.name = "empty, while a fiber moves to the ring"}, [] {
    queue<Atomics> q;
    fiber fibers[2];
    q.put_next(&fibers[0]);
    mc::spawn([&] {
      fiber* const displaced = q.put_next(&fibers[1]);
      mc::check(displaced == &fibers[0], "runnext was occupied");
      mc::check(q.put(displaced), "there is room in the ring");
      mc::check(q.get_next() == &fibers[1], "nobody steals here");
    });
    mc::spawn([&] { mc::check(!q.empty(), "a queue that always holds a fiber is not empty"); });
    mc::join();
    mc::check(q.size() == 1 && q.get() == &fibers[0] && q.empty(), "the fiber is in the ring");
  });
}

// The same, with a fiber that goes in and out of the ring in between: head and tail may meet at two different times.
template <class Atomics>
mc::result never_empty_either() {
  return mc::explore({.name = "empty, while head and tail move"}, [] {
    queue<Atomics> q;
    fiber fibers[3];
    mc::check(q.put(&fibers[0]), "there is room in the ring");
    mc::spawn([&] {
      q.put_next(&fibers[1]);
      mc::check(q.get() == &fibers[0], "nobody steals here");
      fiber* const displaced = q.put_next(&fibers[2]);
      mc::check(q.put(displaced), "there is room in the ring");
      mc::check(q.get_next() == &fibers[2], "nobody steals here");
    });
    mc::spawn([&] { mc::check(!q.empty(), "a queue that always holds a fiber is not empty"); });
    mc::join();
  });
}

TEST(run_queue, each_fiber_of_the_ring_is_taken_once) { EXPECT_TRUE(holds(ring<mc::mc_atomics>())); }
TEST(run_queue, a_thief_may_be_robbed) { EXPECT_TRUE(holds(chain<mc::mc_atomics>())); }
TEST(run_queue, slots_are_filled_again) { EXPECT_TRUE(holds(wrap<mc::mc_atomics>())); }
TEST(run_queue, overflow_unlinks_the_older_half) { EXPECT_TRUE(holds(overflow<mc::mc_atomics>())); }
TEST(run_queue, runnext_is_taken_once) { EXPECT_TRUE(holds(next<mc::mc_atomics>())); }
TEST(run_queue, is_never_empty_by_mistake) {
  EXPECT_TRUE(holds(never_empty<mc::mc_atomics>()));
  EXPECT_TRUE(holds(never_empty_either<mc::mc_atomics>()));
}

// --- mutants
// -------------------------------------------------------------------------------------------------------------

struct tail_stored_relaxed : mc::faithful {
  template <class T>
  static constexpr order store(order o) {
    return std::is_same_v<T, std::uint32_t> ? order::relaxed : o;
  }
};
struct indices_loaded_relaxed : mc::faithful {
  template <class T>
  static constexpr order load(order o) {
    return std::is_same_v<T, std::uint32_t> ? order::relaxed : o;
  }
};
struct head_moved_in_two_steps : mc::faithful {
  template <class T>
  static constexpr bool compare_exchange_is_atomic = !std::is_same_v<T, std::uint32_t>;
};
struct next_taken_in_two_steps : mc::faithful {
  template <class T>
  static constexpr bool compare_exchange_is_atomic = !std::is_same_v<T, fiber*>;
};
struct next_published_relaxed : mc::faithful {
  template <class T>
  static constexpr order exchange(order) {
    return order::relaxed;
  }
};
struct displaced_unmarked : mc::faithful {
  template <class T>
  static constexpr bool stores = !std::is_same_v<T, bool>;
};

template <class Mutant>
using with = mc::mutated_atomics<Mutant>;

// The failures are a race, a slot that is read before it is filled, or a fiber that runs twice: what comes first.
TEST(run_queue_mutant, tail_stored_relaxed) { EXPECT_TRUE(finds(ring<with<tail_stored_relaxed>>())); }
TEST(run_queue_mutant, indices_loaded_relaxed) { EXPECT_TRUE(finds(ring<with<indices_loaded_relaxed>>())); }
TEST(run_queue_mutant, head_moved_in_two_steps) {
  EXPECT_TRUE(finds(ring<with<head_moved_in_two_steps>>()));
  EXPECT_TRUE(finds(overflow<with<head_moved_in_two_steps>>()));
}
TEST(run_queue_mutant, next_taken_in_two_steps) { EXPECT_TRUE(finds(next<with<next_taken_in_two_steps>>())); }
TEST(run_queue_mutant, next_published_relaxed) {
  EXPECT_TRUE(finds(next<with<next_published_relaxed>>(), "data race"));
}
TEST(run_queue_mutant, displaced_unmarked) {
  EXPECT_TRUE(finds(never_empty<with<displaced_unmarked>>(), "is not empty"));
}

}  // namespace
