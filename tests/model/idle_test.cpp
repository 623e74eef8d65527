// SPDX-License-Identifier: Apache-2.0
//
// Submit and idle under the model checker: a scheduler reduced to the contract of idle.hpp, around the production
// idle_state and run_queue. Submitters make fibers runnable and then compute for ever, with their P; each M
// that gets a fiber is burnt by it in the same way. So a fiber that no M comes for stays where it is, the Ms sleep, and
// the checker reports a lost wake-up: no schedule may leave a fiber waiting while a P is idle.
//
// The timers have a scheduler of their own: one sleeper, and those that start timers around the production timer_watch.
//
// Each rule of the contract can be left out (`rules`), and each order in idle.hpp and timer_watch.hpp weakened: the
// checker must notice.
#include "runtime/sched/idle.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <type_traits>

#include "runtime/sched/run_queue.hpp"
#include "runtime/sched/timer_watch.hpp"
#include "tests/model/expect.hpp"

namespace {

using mc::finds;
using mc::holds;
using mc::order;

struct rules {
  bool submit_fences = true;                    // step 1, where it is not put_next
  bool last_searcher_wakes = true;              // step 7
  bool last_searcher_looks_first = false;       // step 7, the other way
  bool looks_again = true;                      // step 9
  bool only_searchers_look_again = false;       // step 9, as before there was `needspinning`
  bool looks_at_the_global_queue_again = true;  // step 9
  bool wake_fails_under_the_lock = true;        // step 3
  bool announces_what_is_left = true;           // step 2, of what a pick leaves in the queue
};

struct fiber {
  fiber* link = nullptr;
  mc::var<bool> ready{false};
};

template <class Atomics, class IdleAtomics>
struct scheduler {
  using queue = weft::rt::run_queue<fiber, Atomics, 2>;

  struct source {  // a P whose owner submits
    queue q;
  };
  struct m {
    mc::parking_place place;
    queue q;
  };

  scheduler(const rules& r, unsigned f, unsigned limit) : rule(r), fibers(f), search_limit(limit) {}

  const rules rule;
  const unsigned fibers;        // that there will be
  const unsigned search_limit;  // the number of Ps, for may_search
  weft::rt::idle_state<IdleAtomics> idle;
  source sources[2];
  m ms[4];
  unsigned started = 0, ran = 0;  // of Ms, of fibers

  mc::mutex lock;
  unsigned idle_ps = 0;
  m* idle_ms[4] = {};
  unsigned idle_m_count = 0;

  mc::mutex global_lock;
  fiber* global = nullptr;
  typename Atomics::template atomic<unsigned> global_size{0};

  // Threads at the beginning: an M that holds a P, an M that sleeps beside an idle P.
  void busy_m(bool searching) {
    if (searching) idle.begin_search();
    m& self = ms[started++];
    mc::spawn([this, &self, searching] { find_work(self, searching); });
  }
  void sleeping_m() {
    m& self = ms[started++];
    ++idle_ps;
    idle.give_up_p(false);
    idle_ms[idle_m_count++] = &self;
    mc::spawn([this, &self] {
      self.place.park();
      if (ran != fibers) find_work(self, true);
    });
  }

  // --- submit, steps 1 and 2
  // ------------------------------------------------------------------------------------------

  void submit_next(source& s, fiber& f) {
    f.ready = true;
    if (fiber* displaced = s.q.put_next(&f)) mc::check(s.q.put(displaced), "there is room in the ring");
    if (idle.submit_wants_wake()) wake();
  }
  void submit_to_ring(source& s, fiber& f) {
    f.ready = true;
    mc::check(s.q.put(&f), "there is room in the ring");
    if (rule.submit_fences) Atomics::fence_seq_cst();
    if (idle.submit_wants_wake()) wake();
  }
  void submit_globally(fiber& f) {
    f.ready = true;
    {
      const std::lock_guard g(global_lock);
      f.link = global;
      global = &f;
      global_size.store(global_size.load(order::relaxed) + 1, order::relaxed);
    }
    if (rule.submit_fences) Atomics::fence_seq_cst();
    if (idle.submit_wants_wake()) wake();
  }

  // Fibers that come into the owner's queue unannounced, as by a yield or by `ready` into an empty runnext; then its
  // pick, which says what is left. The fiber that it has picked computes for ever.
  void pick_one(source& s, fiber& yielded, fiber& readied) {
    yielded.ready = true;
    mc::check(s.q.put(&yielded), "there is room in the ring");
    readied.ready = true;
    mc::check(s.q.put_next(&readied) == nullptr, "runnext is empty");
    fiber* mine = s.q.get_next();
    if (mine == nullptr) mine = s.q.get();
    if (mine == nullptr) return;  // thieves have both
    if (rule.announces_what_is_left && idle.left_over_wants_wake(s.q)) wake();
    run(*mine, false);
  }

  // Step 3.
  void wake() {
    m* sleeper = nullptr;
    bool failed = false;
    {
      const std::lock_guard g(lock);
      if (idle_ps == 0) {
        failed = true;
        if (rule.wake_fails_under_the_lock) idle.wake_failed();
      } else {
        --idle_ps;
        idle.take_p();
        if (idle_m_count != 0) sleeper = idle_ms[--idle_m_count];
      }
    }
    if (failed) {
      if (!rule.wake_fails_under_the_lock) idle.wake_failed();
    } else if (sleeper != nullptr) {
      sleeper->place.unpark();
    } else {
      mc::check(started < 4, "an M for each P is enough");
      m& fresh = ms[started++];
      mc::spawn([this, &fresh] { find_work(fresh, true); });
    }
  }

  // --- an M with a P, steps 4 to 10
  // ---------------------------------------------------------------------------------------

  void find_work(m& self, bool searching) {
    for (;;) {
      fiber* f = take_global();
      if (f == nullptr) {
        if (!searching && idle.may_search(search_limit)) {
          idle.begin_search();
          searching = true;
        }
        if (searching) f = steal(self);
      }
      if (f == nullptr) {
        const std::lock_guard g(lock);
        f = take_global();
        if (f == nullptr) {
          ++idle_ps;
          idle.give_up_p(searching);
        }
      }
      if (f != nullptr) return run(*f, searching);

      const bool looks = rule.looks_again && (searching || !rule.only_searchers_look_again);
      searching = false;
      if (looks && anything()) {
        const std::lock_guard g(lock);
        if (idle_ps != 0) {
          --idle_ps;
          idle.take_p();
          searching = true;
        }
      }
      if (searching) {
        idle.begin_search();
        mc::yield();  // what it saw may be half-way: the one who moves it makes a step
        continue;
      }
      {
        const std::lock_guard g(lock);
        idle_ms[idle_m_count++] = &self;
      }
      if (ran != fibers) self.place.park();
      if (ran == fibers) return;
      searching = true;
    }
  }

  void run(fiber& f, bool searching) {
    if (searching && idle.end_search_found() && rule.last_searcher_wakes &&
        (!rule.last_searcher_looks_first || anything()) && idle.submit_wants_wake()) {
      wake();
    }
    mc::check(f.ready, "a fiber runs after it was made ready");
    if (++ran == fibers) {
      for (m& each : ms) each.place.unpark();  // the test is over
    }
  }

  fiber* take_global() {
    if (global_size.load(order::relaxed) == 0) return nullptr;
    const std::lock_guard g(global_lock);
    fiber* const f = global;
    if (f == nullptr) return nullptr;
    global = f->link;
    global_size.store(global_size.load(order::relaxed) - 1, order::relaxed);
    return f;
  }

  // Steps 5 and 6. Without the look at the bracket: that one only saves work.
  fiber* steal(m& self) {
    for (source& s : sources) {
      if (fiber* f = self.q.steal_from(s.q)) return f;
    }
    for (source& s : sources) {
      fiber* const seen = s.q.peek_next();
      if (seen != nullptr && s.q.steal_next(seen)) return seen;
    }
    return nullptr;
  }

  bool anything() {
    if (rule.looks_at_the_global_queue_again && global_size.load(order::relaxed) != 0) return true;
    for (source& s : sources) {
      if (!s.q.empty()) return true;
    }
    return false;
  }
};

// --- who is there at the beginning, and who submits what
// ------------------------------------------------------------------

template <class Atomics = mc::mc_atomics, class IdleAtomics = mc::mc_atomics, class F>
mc::result play(const mc::options& o, unsigned fibers, unsigned limit, const rules& r, F story) {
  return mc::explore(o, [&] {
    scheduler<Atomics, IdleAtomics> s(r, fibers, limit);
    fiber f[3];
    story(s, f);
    mc::join();
    mc::check(s.ran == fibers, "every fiber ran");
  });
}

// One fiber, one M that may be about to sleep.
template <class... Policies>
mc::result spawn_one(const rules& r = {}) {
  return play<Policies...>({.name = "a fiber to runnext, one M searches"}, 1, 2, r, [](auto& s, fiber* f) {
    s.busy_m(true);
    mc::spawn([&s, f] { s.submit_next(s.sources[0], f[0]); });
  });
}
template <class... Policies>
mc::result put_one(const rules& r = {}) {
  return play<Policies...>({.name = "a fiber to the ring, one M searches"}, 1, 2, r, [](auto& s, fiber* f) {
    s.busy_m(true);
    mc::spawn([&s, f] { s.submit_to_ring(s.sources[0], f[0]); });
  });
}
template <class... Policies>
mc::result inject_one(const rules& r = {}) {
  return play<Policies...>({.name = "a fiber to the global queue, one M searches"}, 1, 2, r, [](auto& s, fiber* f) {
    s.busy_m(true);
    mc::spawn([&s, f] { s.submit_globally(f[0]); });
  });
}

// Two fibers, the second of which displaces the first from runnext; one M searches, one sleeps.
template <class... Policies>
mc::result displace(const rules& r = {}) {
  return play<Policies...>({.name = "a fiber displaces one, one M searches and one sleeps"}, 2, 3, r,
                           [](auto& s, fiber* f) {
                             s.busy_m(true);
                             s.sleeping_m();
                             mc::spawn([&s, f] {
                               s.submit_next(s.sources[0], f[0]);
                               s.submit_next(s.sources[0], f[1]);
                             });
                           });
}

// Two fibers for a searcher and for an M that may not search, as it finds the limit reached, and gives up its P.
template <class... Policies>
mc::result no_search(const rules& r = {}) {
  return play<Policies...>({.name = "two fibers, one M searches and one may not"}, 2, 2, r, [](auto& s, fiber* f) {
    s.busy_m(true);
    s.busy_m(false);
    mc::spawn([&s, f] {
      s.submit_to_ring(s.sources[0], f[0]);
      s.submit_to_ring(s.sources[0], f[1]);
    });
  });
}

// A burst for two Ms that sleep: the first is woken by the submitter, the second by the first.
template <class... Policies>
mc::result burst(const rules& r = {}) {
  return play<Policies...>({.name = "two fibers, two Ms sleep"}, 2, 3, r, [](auto& s, fiber* f) {
    s.sleeping_m();
    s.sleeping_m();
    mc::spawn([&s, f] {
      s.submit_to_ring(s.sources[0], f[0]);
      s.submit_to_ring(s.sources[0], f[1]);
    });
  });
}

// Two fibers that nobody was woken for; an M that may be about to sleep, and the owner's pick.
template <class... Policies>
mc::result leave_one(const rules& r = {}) {
  return play<Policies...>({.name = "a pick leaves a fiber, one M searches"}, 2, 2, r, [](auto& s, fiber* f) {
    s.busy_m(true);
    mc::spawn([&s, f] { s.pick_one(s.sources[0], f[0], f[1]); });
  });
}

// Two submitters: one may rely on the other's wake-up, which finds no P.
mc::result two_submitters(mc::options o, const rules& r = {}) {
  o.name = "two submitters, two Ms that may not search";
  return play(o, 2, 0, r, [](auto& s, fiber* f) {
    s.busy_m(false);
    s.busy_m(false);
    mc::spawn([&s, f] { s.submit_to_ring(s.sources[0], f[0]); });
    mc::spawn([&s, f] { s.submit_to_ring(s.sources[1], f[1]); });
  });
}

TEST(idle, one_fiber_is_not_left_by_a_searcher_that_gives_up) {
  EXPECT_TRUE(holds(spawn_one()));
  EXPECT_TRUE(holds(put_one()));
  EXPECT_TRUE(holds(inject_one()));
}
TEST(idle, a_displaced_fiber_is_not_left) {
  EXPECT_TRUE(holds(displace()));
  EXPECT_TRUE(holds(displace({.last_searcher_looks_first = true})));
}
TEST(idle, an_m_that_may_not_search_leaves_nothing) { EXPECT_TRUE(holds(no_search())); }
TEST(idle, a_burst_wakes_all) {
  EXPECT_TRUE(holds(burst()));
  EXPECT_TRUE(holds(burst({.last_searcher_looks_first = true})));
}
TEST(idle, what_a_pick_leaves_is_not_left) { EXPECT_TRUE(holds(leave_one())); }
TEST(idle, two_submitters_leave_nothing_to_each_other) {
  // Four threads: with two preemptions there are 28 million executions, which take minutes.
  EXPECT_TRUE(holds(two_submitters({.bound = mc::options{}.bound - 1})));
  EXPECT_TRUE(holds(two_submitters({.bound = 4, .random = 300'000})));
}

// --- mutants of the contract
// ------------------------------------------------------------------------------------------------

constexpr const char* lost = "lost wake-up";

TEST(idle_mutant, submit_without_fence) {
  EXPECT_TRUE(finds(put_one({.submit_fences = false}), lost));
  EXPECT_TRUE(finds(inject_one({.submit_fences = false}), lost));
}
TEST(idle_mutant, nobody_looks_again) {
  EXPECT_TRUE(finds(spawn_one({.looks_again = false}), lost));
  EXPECT_TRUE(finds(put_one({.looks_again = false}), lost));
}
TEST(idle_mutant, only_searchers_look_again) {
  EXPECT_TRUE(finds(no_search({.only_searchers_look_again = true}), lost));
}
TEST(idle_mutant, the_global_queue_is_not_looked_at_again) {
  EXPECT_TRUE(finds(inject_one({.looks_at_the_global_queue_again = false}), lost));
}
TEST(idle_mutant, the_last_searcher_wakes_nobody) { EXPECT_TRUE(finds(burst({.last_searcher_wakes = false}), lost)); }
TEST(idle_mutant, what_a_pick_leaves_is_not_announced) {
  EXPECT_TRUE(finds(leave_one({.announces_what_is_left = false}), lost));
}
TEST(idle_mutant, a_wake_up_fails_after_the_lock) {
  EXPECT_TRUE(finds(two_submitters({.bound = 3}, {.wake_fails_under_the_lock = false}), lost));
}

// --- mutants of the orders
// ----------------------------------------------------------------------------------------------------

struct unfenced : mc::faithful {
  static constexpr bool fences = false;
};
struct word_loaded_relaxed : mc::faithful {
  template <class T>
  static constexpr order load(order) {
    return order::relaxed;
  }
};
struct word_loaded_acquire : mc::faithful {
  template <class T>
  static constexpr order load(order) {
    return order::acquire;
  }
};
struct next_exchanged_acq_rel : mc::faithful {
  template <class T>
  static constexpr order exchange(order) {
    return order::acq_rel;
  }
};

// In run_queue: the mark of a fiber on its way from runnext to the ring is not set, or taken off too early.
struct displaced_unmarked : mc::faithful {
  template <class T>
  static constexpr bool stores = !std::is_same_v<T, bool>;
};
struct displaced_unmarked_early : mc::faithful {
  template <class T>
  static constexpr order store(order o) {
    return std::is_same_v<T, bool> ? order::relaxed : o;
  }
};

template <class Mutant>
using with = mc::mutated_atomics<Mutant>;

TEST(idle_mutant, no_fence_in_idle) {
  EXPECT_TRUE(finds(spawn_one<mc::mc_atomics, with<unfenced>>(), lost));
  EXPECT_TRUE(finds(put_one<mc::mc_atomics, with<unfenced>>(), lost));
  EXPECT_TRUE(finds(leave_one<mc::mc_atomics, with<unfenced>>(), lost));
}
TEST(idle_mutant, word_loaded_relaxed) {
  EXPECT_TRUE(finds(spawn_one<mc::mc_atomics, with<word_loaded_relaxed>>(), lost));
}
TEST(idle_mutant, word_loaded_acquire) {
  EXPECT_TRUE(finds(spawn_one<mc::mc_atomics, with<word_loaded_acquire>>(), lost));
}
TEST(idle_mutant, next_exchanged_acq_rel) { EXPECT_TRUE(finds(spawn_one<with<next_exchanged_acq_rel>>(), lost)); }
TEST(idle_mutant, displaced_unmarked) { EXPECT_TRUE(finds(displace<with<displaced_unmarked>>(), lost)); }
TEST(idle_mutant, displaced_unmarked_early) { EXPECT_TRUE(finds(displace<with<displaced_unmarked_early>>(), lost)); }

// --- timers
// -------------------------------------------------------------------------------------------------------------------

using weft::rt::never;
using weft::rt::pending_timers;

struct timer_rules {
  bool lies_down_before_it_looks = true;   // step 1
  bool starter_wakes = true;               // step b
  bool looks_when_a_p_is_given_up = true;  // who gives up a P
};

// Times are as in production. A sleeper whose time-out comes too late for the earliest timer counts as one that sleeps
// for ever; one whose time-out serves it has done its duty.
template <class Atomics>
struct sleeping_for_timers {
  weft::rt::timer_watch<Atomics> watch;
  weft::rt::idle_state<mc::mc_atomics> idle;
  mc::mc_atomics::atomic<long> heaps[2]{never, never};
  const std::uint32_t count;  // how many timers each heap seems to have
  const long served_by;       // till when the sleeper may sleep in the end
  const timer_rules rule;
  mc::parking_place place;

  sleeping_for_timers(const timer_rules& r, std::uint32_t timers, long latest)
      : count(timers), served_by(latest), rule(r) {}

  pending_timers look() const {
    pending_timers all;
    for (const auto& heap : heaps) {
      const long when = heap.load(order::relaxed);
      all.earliest = std::min(all.earliest, when);
      if (when != never) all.count += count;
    }
    return all;
  }

  void sleeper() {
    for (;;) {
      pending_timers timers;
      if (!rule.lies_down_before_it_looks) timers = look();
      watch.lie_down();
      if (rule.lies_down_before_it_looks) timers = look();
      if (watch.sleep_until(timers) <= served_by) return;
      place.park();
      watch.get_up();
    }
  }
  // A thread without a P.
  void start(int heap, long when) {
    heaps[heap].store(when, order::seq_cst);
    if (rule.starter_wakes && watch.sleeps_past(when)) place.unpark();
  }
  // An M that starts a timer in its own heap, and goes idle.
  void start_and_give_up_p(int heap, long when) {
    heaps[heap].store(when, order::seq_cst);
    idle.give_up_p(false);
    if (rule.looks_when_a_p_is_given_up && watch.somebody_sleeps() && watch.sleeps_past(watch.get_up_for(look())))
      place.unpark();
  }
};

constexpr long early = 1'000'000, late = 2'000'000;

template <class Atomics = mc::mc_atomics, class F>
mc::result sleep_for(const char* name, std::uint32_t count, long served_by, const timer_rules& r, F story) {
  return mc::explore({.name = name}, [&] {
    sleeping_for_timers<Atomics> s(r, count, served_by);
    s.watch.has_served(early - 10'000);
    mc::spawn([&s] { s.sleeper(); });
    story(s);
    mc::join();
  });
}

template <class Atomics = mc::mc_atomics>
mc::result start_one(const timer_rules& r = {}) {
  return sleep_for<Atomics>("a timer is started while the sleeper lies down", 1, early, r,
                            [](auto& s) { mc::spawn([&s] { s.start(0, early); }); });
}
// The later one is what it sleeps for when the earlier one comes.
template <class Atomics = mc::mc_atomics>
mc::result start_two(const timer_rules& r = {}) {
  return sleep_for<Atomics>("two timers are started while the sleeper lies down", 1, early, r, [](auto& s) {
    mc::spawn([&s] { s.start(0, late); });
    mc::spawn([&s] { s.start(1, early); });
  });
}
template <class Atomics = mc::mc_atomics>
mc::result give_up_p(const timer_rules& r = {}) {
  return sleep_for<Atomics>("a P with a timer is given up while the sleeper lies down", 1, early, r, [](auto& s) {
    mc::spawn([&s] { s.start(0, late); });
    mc::spawn([&s] { s.start_and_give_up_p(1, early); });
  });
}
// So many that the sleeper puts them off: it must get up 40 µs after the last time all the same.
template <class Atomics = mc::mc_atomics>
mc::result start_many(const timer_rules& r = {}) {
  return sleep_for<Atomics>("a P with many timers is given up, and one is started", 20, early + 30'000, r, [](auto& s) {
    mc::spawn([&s] { s.start(0, late); });
    mc::spawn([&s] { s.start_and_give_up_p(1, early); });
  });
}

TEST(timers, one_that_is_started_while_the_sleeper_lies_down_is_not_slept_past) { EXPECT_TRUE(holds(start_one())); }
TEST(timers, an_earlier_one_is_not_slept_past) { EXPECT_TRUE(holds(start_two())); }
TEST(timers, those_of_a_p_that_is_given_up_are_not_slept_past) { EXPECT_TRUE(holds(give_up_p())); }
TEST(timers, what_is_put_off_is_not_put_off_for_ever) { EXPECT_TRUE(holds(start_many())); }

TEST(timers_mutant, the_sleeper_looks_before_it_lies_down) {
  EXPECT_TRUE(finds(start_one({.lies_down_before_it_looks = false}), lost));
}
TEST(timers_mutant, the_starter_wakes_nobody) {
  EXPECT_TRUE(finds(start_one({.starter_wakes = false}), lost));
  EXPECT_TRUE(finds(start_many({.starter_wakes = false, .looks_when_a_p_is_given_up = false}), lost));
}
TEST(timers_mutant, nobody_looks_when_a_p_is_given_up) {
  EXPECT_TRUE(finds(give_up_p({.looks_when_a_p_is_given_up = false}), lost));
}
TEST(timers_mutant, no_fence_in_lie_down) { EXPECT_TRUE(finds(start_one<with<unfenced>>(), lost)); }
TEST(timers_mutant, until_loaded_relaxed) { EXPECT_TRUE(finds(start_one<with<word_loaded_relaxed>>(), lost)); }

}  // namespace
