// SPDX-License-Identifier: Apache-2.0
//
// The hand-off of a P under the model checker, with the production bracket: an M goes twice into the runtime and
// touches its P, while the monitor looks, requests, fences, and takes the P, or looks at it and thinks better of it.
// The P is plain memory, so that any access which is not ordered is a data race.
#include "runtime/sched/bracket.hpp"

#include <gtest/gtest.h>

#include <mutex>
#include <type_traits>

#include "tests/model/expect.hpp"

namespace {

using mc::finds;
using mc::holds;
using mc::order;

enum class barrier { none, membarrier, fence };

template <class Atomics>
struct m {
  explicit m(bool fences) : marks(fences) {}

  weft::rt::bracket<Atomics> marks;
  mc::mutex mutex;
  mc::var<bool> has_p{true};  // its own thread inside and not lost; the monitor under the mutex when it has won
  mc::var<int> p{0};          // stands for all that belongs to the P
  int sections = 0, taken = 0;

  void section() {
    bool mine = true;
    if (marks.enter()) {
      const std::lock_guard g(mutex);
      mine = has_p;
      if (!mine) marks.accept();
    } else {
      mine = has_p;
    }
    if (mine) {
      p = p + 1;
      ++sections;
    }
    marks.leave();
  }

  void look(barrier between) {
    const auto seq = marks.look();
    if (!marks.outside(seq)) return;
    const std::lock_guard g(mutex);
    marks.request();
    if (between == barrier::membarrier) mc::membarrier();
    if (between == barrier::fence) Atomics::fence_seq_cst();
    if (marks.unchanged(seq) && has_p) {
      mc::check(p == sections, "the monitor sees all that the M did to the P");
      if (mc::any_of(2) == 0) {
        has_p = false;
        p = 100;  // as the M does to which it is handed
        ++taken;
        return;
      }
    }
    marks.withdraw();
  }
};

template <class Atomics>
mc::result hand_off(barrier between, bool fences = false) {
  return mc::explore({.name = "hand-off, two sections", .bound = -1}, [=] {
    m<Atomics> it(fences);
    it.marks.leave();
    mc::spawn([&] {
      it.section();
      it.section();
    });
    mc::spawn([&] { it.look(between); });
    mc::join();
    mc::check(it.p == (it.taken != 0 ? 100 : it.sections), "nobody touches a P that was taken");
    mc::check(it.taken != 0 || it.sections == 2, "an M that keeps its P goes on with it");
    mc::check(!it.marks.inside(), "every section has ended");
  });
}

// The monitor looks twice: a request that was withdrawn, or accepted, leaves no trace.
template <class Atomics>
mc::result two_looks() {
  return mc::explore({.name = "hand-off, two looks"}, [] {
    m<Atomics> it(false);
    it.marks.leave();
    mc::spawn([&] {
      it.section();
      it.section();
    });
    mc::spawn([&] {
      it.look(barrier::membarrier);
      it.look(barrier::membarrier);
    });
    mc::join();
    mc::check(it.taken <= 1, "a P is taken once");
    mc::check(it.p == (it.taken != 0 ? 100 : it.sections), "nobody touches a P that was taken");
  });
}

TEST(bracket, a_p_is_touched_by_one) { EXPECT_TRUE(holds(hand_off<mc::mc_atomics>(barrier::membarrier))); }
TEST(bracket, fences_take_the_place_of_membarrier) {
  EXPECT_TRUE(holds(hand_off<mc::mc_atomics>(barrier::fence, true)));
}
TEST(bracket, may_be_looked_at_twice) { EXPECT_TRUE(holds(two_looks<mc::mc_atomics>())); }

TEST(bracket, a_request_is_seen_by_its_own_thread_and_ends_with_accept) {
  EXPECT_TRUE(holds(mc::explore({.name = "request and accept"}, [] {
    for (const bool fences : {false, true}) {
      weft::rt::bracket<mc::mc_atomics> marks(fences);
      mc::check(marks.inside() && !marks.requested() && marks.fences() == fences, "an M begins inside, unasked");
      marks.leave();
      marks.request();
      mc::check(marks.enter() && marks.requested(), "the request stands");
      marks.accept();
      mc::check(!marks.requested(), "the request has served");
      marks.leave();
      mc::check(!marks.enter(), "and does not come again");
      marks.leave();
    }
    mc::spawn([] {});
    mc::spawn([] {});
    mc::join();
  })));
}

// --- mutants
// -------------------------------------------------------------------------------------------------------------

struct leave_relaxed : mc::faithful {
  template <class T>
  static constexpr order store(order o) {
    return std::is_same_v<T, std::uint64_t> ? order::relaxed : o;
  }
};
struct withdraw_relaxed : mc::faithful {
  template <class T>
  static constexpr order store(order o) {
    return std::is_same_v<T, std::uint32_t> ? order::relaxed : o;
  }
};
struct request_loaded_relaxed : mc::faithful {
  template <class T>
  static constexpr order load(order o) {
    return std::is_same_v<T, std::uint32_t> ? order::relaxed : o;
  }
};
struct without_fences : mc::faithful {
  static constexpr bool fences = false;
};

template <class Mutant>
using with = mc::mutated_atomics<Mutant>;

TEST(bracket_mutant, no_membarrier) { EXPECT_TRUE(finds(hand_off<mc::mc_atomics>(barrier::none))); }
TEST(bracket_mutant, fence_on_the_monitor_side_alone) {
  EXPECT_TRUE(finds(hand_off<mc::mc_atomics>(barrier::fence, false)));
}
TEST(bracket_mutant, fence_on_the_owner_side_alone) {
  EXPECT_TRUE(finds(hand_off<mc::mc_atomics>(barrier::none, true)));
}
TEST(bracket_mutant, no_fences) { EXPECT_TRUE(finds(hand_off<with<without_fences>>(barrier::fence, true))); }
TEST(bracket_mutant, leave_relaxed) {
  EXPECT_TRUE(finds(hand_off<with<leave_relaxed>>(barrier::membarrier), "data race"));
}
TEST(bracket_mutant, withdraw_relaxed) {
  EXPECT_TRUE(finds(hand_off<with<withdraw_relaxed>>(barrier::membarrier), "data race"));
}
TEST(bracket_mutant, request_loaded_relaxed) {
  EXPECT_TRUE(finds(hand_off<with<request_loaded_relaxed>>(barrier::membarrier), "data race"));
}

}  // namespace
