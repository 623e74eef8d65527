// SPDX-License-Identifier: Apache-2.0
//
// The inbox of the ring's thread under the model checker, with the production template: pushers write their requests as
// plain memory, the owner takes them, and sleeps when there are none. Nothing is lost, reordered or torn, and the owner
// is woken, once for each sleep.
#include "netpoll/inbox.hpp"

#include <gtest/gtest.h>

#include "tests/model/expect.hpp"

namespace {

using mc::finds;
using mc::holds;
using mc::order;

struct node {
  mc::var<node*> next{nullptr};
  mc::var<int> value{0};
};

enum class sleeper { faithful, looks_and_parks };
enum class pusher { faithful, wakes_nobody };

template <class Atomics, sleeper Sleeper = sleeper::faithful, pusher Pusher = pusher::faithful>
mc::result hand_over() {
  return mc::explore({.name = "inbox, three requests by two threads", .bound = -1}, [] {
    weft::rt::inbox<Atomics, node> box;
    mc::parking_place bed;
    node mine[2], yours[1];
    int asleep = 0, woken = 0;
    const auto push = [&](node& n, int value) {
      n.value = value;
      if (!box.push(&n)) return;
      ++woken;
      if (Pusher == pusher::faithful) bed.unpark();
    };
    mc::spawn([&] {
      push(mine[0], 1);
      push(mine[1], 2);
    });
    mc::spawn([&] { push(yours[0], 10); });
    mc::spawn([&] {
      int seen = 0, last = 0;
      while (seen < 3) {
        for (node* n = box.take(); n != nullptr; n = n->next) {
          ++seen;
          const int value = n->value;
          mc::check(value == 10 || value == last + 1, "each pusher's requests come in its order, once");
          if (value != 10) last = value;
        }
        if (seen == 3) break;
        if (Sleeper == sleeper::looks_and_parks || box.fall_asleep()) {
          ++asleep;
          bed.park();
        }
      }
    });
    mc::join();
    mc::check(woken == asleep, "one pusher wakes each sleep");
  });
}

TEST(inbox, hands_everything_over_and_wakes_the_owner) { EXPECT_TRUE(holds(hand_over<mc::mc_atomics>())); }

// --- mutants
// -------------------------------------------------------------------------------------------------------------

struct push_relaxed : mc::faithful {
  template <class T>
  static constexpr order compare_exchange(order) {
    return order::relaxed;
  }
};
struct take_relaxed : mc::faithful {
  template <class T>
  static constexpr order exchange(order) {
    return order::relaxed;
  }
};
struct torn : mc::faithful {
  template <class T>
  static constexpr bool compare_exchange_is_atomic = false;
};

template <class Mutant>
using with = mc::mutated_atomics<Mutant>;

TEST(inbox_mutant, push_relaxed) { EXPECT_TRUE(finds(hand_over<with<push_relaxed>>(), "data race")); }
TEST(inbox_mutant, take_relaxed) { EXPECT_TRUE(finds(hand_over<with<take_relaxed>>(), "data race")); }
TEST(inbox_mutant, look_and_store_in_two_steps) { EXPECT_TRUE(finds(hand_over<with<torn>>())); }
TEST(inbox_mutant, sleeps_without_saying_so) {
  EXPECT_TRUE(finds(hand_over<mc::mc_atomics, sleeper::looks_and_parks>()));
}
TEST(inbox_mutant, wakes_nobody) {
  EXPECT_TRUE(finds(hand_over<mc::mc_atomics, sleeper::faithful, pusher::wakes_nobody>()));
}

}  // namespace
