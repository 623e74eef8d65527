// SPDX-License-Identifier: Apache-2.0
//
// The checker, checked: litmus tests whose outcomes the C++ memory model allows or forbids. Each forbidden outcome
// comes with its mutant, weakened by one order or one fence, in which the checker must find it: a checker that knows
// too few executions passes every test of the forbidden kind.
#include "tests/model/mc.hpp"

#include <gtest/gtest.h>

#include <mutex>

#include "tests/model/expect.hpp"

namespace {

using mc::finds;
using mc::holds;
using mc::order;
using word = mc::atomic<int>;

// Explores without a bound on preemptions: these tests are small.
mc::result all(const std::function<void()>& body) { return mc::explore({.name = "litmus", .bound = -1}, body); }

// --- store buffering: each thread stores, then loads what the other stored
// ---------------------------------------------

struct store_buffering {
  order store, load;
  bool fence_0 = false, fence_1 = false, membarrier = false, exchange = false;
  order fence = order::seq_cst;
};

mc::result run(const store_buffering& t) {
  return all([&] {
    word x(0), y(0);
    int r0 = -1, r1 = -1;
    mc::spawn([&] {
      t.exchange ? void(x.exchange(1, t.store)) : x.store(1, t.store);
      if (t.fence_0) mc::fence(t.fence);
      r0 = y.load(t.load);
    });
    mc::spawn([&] {
      t.exchange ? void(y.exchange(1, t.store)) : y.store(1, t.store);
      if (t.fence_1) mc::fence(t.fence);
      if (t.membarrier) mc::membarrier();
      r1 = x.load(t.load);
    });
    mc::join();
    mc::check(r0 == 1 || r1 == 1, "one of two sees the other's store");
  });
}

TEST(store_buffering, needs_a_full_fence_on_both_sides) {
  EXPECT_TRUE(holds(run({.store = order::relaxed, .load = order::relaxed, .fence_0 = true, .fence_1 = true})));
  EXPECT_TRUE(finds(run({.store = order::relaxed, .load = order::relaxed, .fence_0 = true}), "one of two"));
  EXPECT_TRUE(finds(run({.store = order::relaxed, .load = order::relaxed, .fence_1 = true}), "one of two"));
  EXPECT_TRUE(finds(run({.store = order::release, .load = order::acquire}), "one of two"));
}

TEST(store_buffering, is_not_stopped_by_an_acquire_release_fence) {
  EXPECT_TRUE(finds(
      run({.store = order::relaxed, .load = order::relaxed, .fence_0 = true, .fence_1 = true, .fence = order::acq_rel}),
      "one of two"));
}

TEST(store_buffering, is_stopped_by_seq_cst_accesses_alone) {
  EXPECT_TRUE(holds(run({.store = order::seq_cst, .load = order::seq_cst})));
  EXPECT_TRUE(finds(run({.store = order::release, .load = order::seq_cst}), "one of two"));
  EXPECT_TRUE(finds(run({.store = order::seq_cst, .load = order::acquire}), "one of two"));
}

TEST(store_buffering, a_seq_cst_exchange_is_no_fence) {
  EXPECT_TRUE(holds(run({.store = order::seq_cst, .load = order::seq_cst, .exchange = true})));
  EXPECT_TRUE(finds(run({.store = order::seq_cst, .load = order::relaxed, .exchange = true}), "one of two"));
  EXPECT_TRUE(finds(run({.store = order::acq_rel, .load = order::seq_cst, .exchange = true}), "one of two"));
}

TEST(store_buffering, a_fence_pairs_with_seq_cst_accesses_of_the_other_thread) {
  const auto test = [](order store_1, order load_1) {
    return all([=] {
      word x(0), y(0);
      int r0 = -1, r1 = -1;
      mc::spawn([&] {
        x.store(1, order::relaxed);
        mc::fence(order::seq_cst);
        r0 = y.load(order::relaxed);
      });
      mc::spawn([&] {
        y.store(1, store_1);
        r1 = x.load(load_1);
      });
      mc::join();
      mc::check(r0 == 1 || r1 == 1, "one of two sees the other's store");
    });
  };
  EXPECT_TRUE(holds(test(order::seq_cst, order::seq_cst)));
  EXPECT_TRUE(finds(test(order::seq_cst, order::acquire), "one of two"));
  EXPECT_TRUE(finds(test(order::release, order::seq_cst), "one of two"));
}

TEST(store_buffering, membarrier_fences_both_threads) {
  EXPECT_TRUE(holds(run({.store = order::relaxed, .load = order::relaxed, .membarrier = true})));
}

// --- message passing ------------------------------------------------------------------------------------------------

mc::result message(order publish, order receive, order fence_before = order::relaxed,
                   order fence_after = order::relaxed) {
  return all([=] {
    word data(0), flag(0);
    mc::spawn([&] {
      data.store(1, order::relaxed);
      if (fence_before != order::relaxed) mc::fence(fence_before);
      flag.store(1, publish);
    });
    mc::spawn([&] {
      if (flag.load(receive) == 0) return;
      if (fence_after != order::relaxed) mc::fence(fence_after);
      mc::check(data.load(order::relaxed) == 1, "data follows the flag");
    });
    mc::join();
  });
}

TEST(message_passing, needs_release_and_acquire) {
  EXPECT_TRUE(holds(message(order::release, order::acquire)));
  EXPECT_TRUE(finds(message(order::relaxed, order::acquire), "data follows"));
  EXPECT_TRUE(finds(message(order::release, order::relaxed), "data follows"));
}

TEST(message_passing, fences_stand_in_for_either_side) {
  EXPECT_TRUE(holds(message(order::relaxed, order::acquire, order::release)));
  EXPECT_TRUE(holds(message(order::release, order::relaxed, order::relaxed, order::acquire)));
  EXPECT_TRUE(holds(message(order::relaxed, order::relaxed, order::release, order::acquire)));
  EXPECT_TRUE(holds(message(order::relaxed, order::relaxed, order::seq_cst, order::seq_cst)));
  EXPECT_TRUE(finds(message(order::relaxed, order::acquire, order::acquire), "data follows"));
  EXPECT_TRUE(finds(message(order::release, order::relaxed, order::relaxed, order::release), "data follows"));
  EXPECT_TRUE(finds(message(order::relaxed, order::relaxed, order::release), "data follows"));
}

TEST(message_passing, carries_over_a_third_thread) {
  const auto test = [](order second) {
    return all([=] {
      word x(0), y(0), z(0);
      mc::spawn([&] {
        x.store(1, order::relaxed);
        y.store(1, order::release);
      });
      mc::spawn([&] {
        if (y.load(order::acquire) == 1) z.store(1, second);
      });
      mc::spawn([&] {
        if (z.load(order::acquire) == 1) mc::check(x.load(order::relaxed) == 1, "happens before is transitive");
      });
      mc::join();
    });
  };
  EXPECT_TRUE(holds(test(order::release)));
  EXPECT_TRUE(finds(test(order::relaxed), "transitive"));
}

// --- release sequences ----------------------------------------------------------------------------------------------

mc::result release_sequence(bool update) {
  return all([=] {
    word data(0), flag(0);
    mc::spawn([&] {
      data.store(1, order::relaxed);
      flag.store(1, order::release);
    });
    mc::spawn([&] {
      if (flag.load(order::relaxed) != 1) return;
      update ? void(flag.fetch_add(1, order::relaxed)) : flag.store(2, order::relaxed);
    });
    mc::spawn([&] {
      if (flag.load(order::acquire) == 2) mc::check(data.load(order::relaxed) == 1, "the release sequence carries on");
    });
    mc::join();
  });
}

TEST(release_sequence, is_continued_by_an_update_and_ended_by_a_store) {
  EXPECT_TRUE(holds(release_sequence(true)));
  EXPECT_TRUE(finds(release_sequence(false), "carries on"));
}

// --- coherence and the single order of seq_cst
// ------------------------------------------------------------------------

TEST(coherence, two_loads_of_one_word_never_go_back) {
  const auto test = [](bool same_word) {
    return all([=] {
      word x(0), other(0);
      mc::spawn([&] {
        x.store(1, order::relaxed);
        other.store(1, order::relaxed);
      });
      mc::spawn([&] {
        const int first = (same_word ? x : other).load(order::relaxed);
        const int second = x.load(order::relaxed);
        mc::check(second >= first, "the second load is not older");
      });
      mc::join();
    });
  };
  EXPECT_TRUE(holds(test(true)));
  EXPECT_TRUE(finds(test(false), "not older"));
}

TEST(coherence, a_thread_reads_its_own_store_or_a_newer_one) {
  EXPECT_TRUE(holds(all([] {
    word x(0);
    mc::spawn([&] { x.store(1, order::relaxed); });
    mc::spawn([&] {
      x.store(2, order::relaxed);
      mc::check(x.load(order::relaxed) != 0, "the own store is not forgotten");
    });
    mc::join();
  })));
}

mc::result independent_reads(order o, order fence) {
  return all([=] {
    word x(0), y(0);
    int r[4] = {};
    mc::spawn([&] { x.store(1, o == order::seq_cst ? o : order::release); });
    mc::spawn([&] { y.store(1, o == order::seq_cst ? o : order::release); });
    mc::spawn([&] {
      r[0] = x.load(o);
      if (fence != order::relaxed) mc::fence(fence);
      r[1] = y.load(o);
    });
    mc::spawn([&] {
      r[2] = y.load(o);
      if (fence != order::relaxed) mc::fence(fence);
      r[3] = x.load(o);
    });
    mc::join();
    mc::check(!(r[0] == 1 && r[1] == 0 && r[2] == 1 && r[3] == 0), "all agree on the order of two stores");
  });
}

TEST(independent_reads, agree_under_seq_cst_only) {
  EXPECT_TRUE(holds(independent_reads(order::seq_cst, order::relaxed)));
  EXPECT_TRUE(holds(independent_reads(order::acquire, order::seq_cst)));
  EXPECT_TRUE(finds(independent_reads(order::acquire, order::relaxed), "all agree"));
  EXPECT_TRUE(finds(independent_reads(order::acquire, order::acq_rel), "all agree"));
}

// --- races of plain variables
// --------------------------------------------------------------------------------------------

mc::result hand_over(order publish, order receive, bool fences = false) {
  return all([=] {
    mc::var<int> data(0);
    word flag(0);
    mc::spawn([&] {
      data = 1;
      if (fences) mc::fence(order::release);
      flag.store(1, publish);
    });
    mc::spawn([&] {
      if (flag.load(receive) == 0) return;
      if (fences) mc::fence(order::acquire);
      mc::check(data == 1, "the value is there");
    });
    mc::join();
  });
}

TEST(race, is_reported_where_nothing_happens_before) {
  EXPECT_TRUE(holds(hand_over(order::release, order::acquire)));
  EXPECT_TRUE(holds(hand_over(order::relaxed, order::relaxed, true)));
  EXPECT_TRUE(finds(hand_over(order::relaxed, order::acquire), "data race"));
  EXPECT_TRUE(finds(hand_over(order::release, order::relaxed), "data race"));
}

TEST(race, after_the_release_is_reported_too) {
  EXPECT_TRUE(finds(all([] {
                      mc::var<int> data(0);
                      word flag(0);
                      mc::spawn([&] {
                        flag.store(1, order::release);
                        data = 1;
                      });
                      mc::spawn([&] {
                        if (flag.load(order::acquire) == 1) data = 2;
                      });
                      mc::join();
                    }),
                    "data race"));
  EXPECT_TRUE(finds(all([] {
                      mc::var<int> data(0);
                      word flag(0);
                      mc::spawn([&] {
                        mc::fence(order::release);
                        data = 1;
                        flag.store(1, order::relaxed);
                      });
                      mc::spawn([&] {
                        if (flag.load(order::acquire) == 1) data = 2;
                      });
                      mc::join();
                    }),
                    "data race"));
}

TEST(race, two_readers_are_none_but_a_writer_after_a_reader_is) {
  const auto test = [](bool write) {
    return all([=] {
      mc::var<int> data(0);
      mc::spawn([&] { mc::check(data == 0 || write, "only zero was written"); });
      mc::spawn([&] { write ? void(data = 1) : mc::check(data == 0, "only zero was written"); });
      mc::join();
    });
  };
  EXPECT_TRUE(holds(test(false)));
  EXPECT_TRUE(finds(test(true), "data race"));
}

TEST(race, fences_exclude_but_order_no_data) {
  // Dekker by fences: never both inside, and yet nothing happens before anything.
  const auto test = [](bool touch) {
    return all([=] {
      mc::var<int> data(0);
      word x(0), y(0);
      int inside = 0;
      const auto enter = [&](word& mine, word& others) {
        mine.store(1, order::relaxed);
        mc::fence(order::seq_cst);
        if (others.load(order::relaxed) != 0) return;
        ++inside;
        if (touch) data = 1;
        mine.store(0, order::relaxed);
      };
      mc::spawn([&] { enter(x, y); });
      mc::spawn([&] { enter(y, x); });
      mc::join();
      mc::check(inside <= 2, "each of two threads enters once at most");
    });
  };
  EXPECT_TRUE(holds(test(false)));
  EXPECT_TRUE(finds(test(true), "data race"));
}

// --- lifetimes
// --------------------------------------------------------------------------------------------------------------

mc::result destroyed(order publish) {
  return all([=] {
    struct gate {
      word open{0};
    };
    alignas(gate) char memory[sizeof(gate)];
    auto* const g = new (memory) gate;
    word done(0);
    mc::spawn([&] {
      g->open.store(1, order::relaxed);
      done.store(1, publish);
    });
    mc::spawn([&] {
      if (done.load(order::acquire) == 1) g->~gate();
    });
    mc::join();
  });
}

TEST(lifetime, an_access_that_does_not_happen_before_the_end_is_reported) {
  EXPECT_TRUE(holds(destroyed(order::release)));
  EXPECT_TRUE(finds(destroyed(order::relaxed), "is destroyed"));
}

TEST(lifetime, an_access_after_the_end_is_reported) {
  EXPECT_TRUE(finds(all([] {
                      alignas(word) char memory[sizeof(word)];
                      mc::atomic<word*> left(nullptr);
                      mc::spawn([&] {
                        auto* const w = new (memory) word(0);
                        w->~word();
                        left.store(w, order::release);
                      });
                      mc::spawn([&] {
                        if (word* const w = left.load(order::acquire)) w->store(1, order::relaxed);
                      });
                      mc::join();
                    }),
                    "which is dead"));
}

TEST(lifetime, construction_happens_before_use) {
  const auto test = [](order publish) {
    return all([=] {
      alignas(word) char memory[sizeof(word)];
      mc::atomic<word*> where(nullptr);
      mc::spawn([&] { where.store(new (memory) word(7), publish); });
      mc::spawn([&] {
        if (word* const w = where.load(order::acquire)) mc::check(w->load(order::relaxed) == 7, "it is made");
      });
      mc::join();
    });
  };
  EXPECT_TRUE(holds(test(order::release)));
  EXPECT_TRUE(finds(test(order::relaxed), "construction"));
}

// --- waiting
// --------------------------------------------------------------------------------------------------------------------

TEST(waiting, a_pause_ends_when_the_word_changes) {
  EXPECT_TRUE(holds(all([] {
    word flag(0);
    mc::spawn([&] { flag.store(1, order::relaxed); });
    mc::spawn([&] {
      while (flag.load(order::relaxed) == 0) mc::pause();
    });
    mc::join();
  })));
}

TEST(waiting, for_what_nobody_does_is_a_deadlock) {
  EXPECT_TRUE(finds(all([] {
                      word flag(0);
                      mc::spawn([&] {
                        while (flag.load(order::relaxed) == 0) mc::pause();
                      });
                      mc::join();
                    }),
                    "deadlock or lost wake-up"));
}

TEST(waiting, a_lock_excludes_and_hands_over) {
  EXPECT_TRUE(holds(all([] {
    mc::mutex l;
    mc::var<int> count(0);
    const auto add = [&] {
      const std::lock_guard g(l);
      count = count + 1;
    };
    mc::spawn(add);
    mc::spawn(add);
    add();
    mc::join();
    mc::check(count == 3, "no increment is lost");
  })));
}

TEST(waiting, two_locks_in_two_orders_are_a_deadlock) {
  EXPECT_TRUE(finds(all([] {
                      mc::mutex a, b;
                      mc::spawn([&] {
                        const std::lock_guard first(a);
                        const std::lock_guard second(b);
                      });
                      mc::spawn([&] {
                        const std::lock_guard first(b);
                        const std::lock_guard second(a);
                      });
                      mc::join();
                    }),
                    "deadlock"));
}

mc::result sleep_on_flag(bool look_again) {
  return all([=] {
    word flag(0), sleeping(0);
    mc::parking_place place;
    mc::spawn([&] {
      sleeping.store(1, order::relaxed);
      if (look_again) {
        mc::fence(order::seq_cst);
        if (flag.load(order::relaxed) == 1) return;
      }
      place.park();
    });
    mc::spawn([&] {
      flag.store(1, order::relaxed);
      mc::fence(order::seq_cst);
      if (sleeping.load(order::relaxed) == 1) place.unpark();
    });
    mc::join();
  });
}

TEST(waiting, a_lost_wake_up_is_found) {
  EXPECT_TRUE(holds(sleep_on_flag(true)));
  EXPECT_TRUE(finds(sleep_on_flag(false), "lost wake-up"));
}

TEST(waiting, an_endless_loop_is_found) {
  EXPECT_TRUE(finds(all([] {
                      word flag(0);
                      mc::spawn([&] {
                        while (flag.load(order::relaxed) == 0) {
                        }
                      });
                      mc::join();
                    }),
                    "livelock"));
}

// --- the search
// -------------------------------------------------------------------------------------------------------------------

void lost_update(int loads) {
  word x(0);
  const auto add = [&] {
    int v = 0;
    for (int i = 0; i < loads; ++i) v = x.load();
    x.store(v + 1);
  };
  mc::spawn(add);
  mc::spawn(add);
  mc::join();
  mc::check(x.load() == 2, "no update is lost");
}

TEST(search, a_bound_of_no_preemption_misses_what_one_finds) {
  EXPECT_FALSE(mc::explore({.name = "bound 0", .bound = 0, .stale = 0}, [] { lost_update(1); }).failed);
  EXPECT_TRUE(mc::explore({.name = "bound 1", .bound = 1, .stale = 0}, [] { lost_update(1); }).failed);
}

TEST(search, random_executions_find_it_too_and_repeat_from_their_seed) {
  const mc::options o{.name = "random", .random = 1000, .seed = 7};
  const mc::result first = mc::explore(o, [] { lost_update(4); });
  const mc::result second = mc::explore(o, [] { lost_update(4); });
  EXPECT_TRUE(first.failed);
  EXPECT_EQ(first.executions, second.executions);
  EXPECT_EQ(first.schedule, second.schedule);
}

TEST(search, a_schedule_replays_its_failure) {
  const mc::result found = mc::explore({.name = "find", .bound = -1}, [] { lost_update(3); });
  ASSERT_TRUE(found.failed);
  ASSERT_FALSE(found.schedule.empty());

  ASSERT_EQ(setenv("WEFT_MODEL_REPLAY", found.schedule.c_str(), 1), 0);
  const mc::result again = mc::explore({.name = "replay", .bound = -1}, [] { lost_update(3); });
  unsetenv("WEFT_MODEL_REPLAY");

  EXPECT_EQ(again.executions, 1);
  EXPECT_EQ(again.message, found.message);
  EXPECT_EQ(again.trace, found.trace);
}

TEST(search, says_when_it_did_not_see_everything) {
  const mc::result r = mc::explore({.name = "limit", .bound = -1, .limit = 3}, [] {
    word x(0);
    for (int i = 0; i < 3; ++i) mc::spawn([&] { x.fetch_add(1); });
    mc::join();
  });
  EXPECT_EQ(r.executions, 3);
  EXPECT_FALSE(r.complete);
}

TEST(search, counts_the_interleavings_of_two_threads_of_two_steps) {
  const mc::result r = all([] {
    word x(0);
    const auto twice = [&] {
      x.fetch_add(1);
      x.fetch_add(1);
    };
    mc::spawn(twice);
    mc::spawn(twice);
    mc::join();
    mc::check(x.load() == 4, "updates are atomic");
  });
  EXPECT_TRUE(r.complete);
  EXPECT_EQ(r.executions, 6);  // 4 over 2
}

// --- mutants of a policy, as the other model tests use them
// -------------------------------------------------------------------

struct torn : mc::faithful {
  template <class T>
  static constexpr bool compare_exchange_is_atomic = !std::is_same_v<T, int>;
};
struct unfenced : mc::faithful {
  static constexpr bool fences = false;
};

template <class Atomics>
mc::result add_by_compare_exchange() {
  return all([] {
    typename Atomics::template atomic<int> x(0);
    const auto add = [&] {
      int seen = x.load(order::relaxed);
      while (!x.compare_exchange_weak(seen, seen + 1, order::relaxed, order::relaxed)) {
      }
    };
    mc::spawn(add);
    mc::spawn(add);
    mc::join();
    mc::check(x.load() == 2, "no update is lost");
  });
}

template <class Atomics>
mc::result dekker() {
  return all([] {
    typename Atomics::template atomic<int> x(0), y(0);
    int r0 = 0, r1 = 0;
    mc::spawn([&] {
      x.store(1, order::relaxed);
      Atomics::fence_seq_cst();
      r0 = y.load(order::relaxed);
    });
    mc::spawn([&] {
      y.store(1, order::relaxed);
      Atomics::fence_seq_cst();
      r1 = x.load(order::relaxed);
    });
    mc::join();
    mc::check(r0 + r1 > 0, "one of two sees the other's store");
  });
}

TEST(mutant, of_the_policy_takes_effect) {
  EXPECT_TRUE(holds(add_by_compare_exchange<mc::mc_atomics>()));
  EXPECT_TRUE(finds(add_by_compare_exchange<mc::mutated_atomics<torn>>(), "no update is lost"));
  EXPECT_TRUE(holds(dekker<mc::mc_atomics>()));
  EXPECT_TRUE(finds(dekker<mc::mutated_atomics<unfenced>>(), "one of two"));
}

}  // namespace
