// SPDX-License-Identifier: Apache-2.0
//
// The production wait protocol under the model checker (runtime/wait/{wait_word,waiter,wait}.hpp): fibers that wait in a
// queue or alone, against wakers, a canceller and a timer. Whatever comes first: a waiter is made ready once, with what was
// meant for it; a signal goes to one who takes it, or stays; nobody sleeps for ever, and nobody touches a frame that is gone.
//
// Each step that wait-protocol knows a wrong variant of has that variant here as a mutant, and the checker must notice.
#include "tests/model/wait_env.hpp"

#include <gtest/gtest.h>

#include <type_traits>

namespace {

using mc::finds;
using mc::holds;
using mc::order;
using model::barrier;
using model::env;
using weft::rt::wait_outcome;
using weft::rt::wait_request;
using weft::rt::wait_result;

constexpr weft::rt::wait_reason why = weft::rt::wait_reason::semaphore;

// A semaphore without a count to begin with: the smallest object that parks.
template <class Env>
class gate {
 public:
  wait_outcome wait(const wait_request& how) {
    lock_.lock();
    if (signals_ > 0) {
      --signals_;
      lock_.unlock();
      return wait_outcome::ok;
    }
    weft::rt::waiter<Env> w;
    return weft::rt::wait_in_queue<Env>(lock_, waiters_, w, how);
  }
  void signal() {
    lock_.lock();
    weft::rt::waiter<Env>* const w = weft::rt::wait_queue<Env>(waiters_).pop_claimed();
    if (w == nullptr) {
      ++signals_;
      lock_.unlock();
      return;
    }
    w->result = wait_result::ok;
    typename Env::fiber* const g = w->g;
    lock_.unlock();
    Env::wake(g);
  }
  int signals() const { return signals_; }
  bool empty() const { return waiters_.head == nullptr && waiters_.tail == nullptr; }

 private:
  typename Env::lock lock_;
  int signals_ = 0;
  weft::detail::wait_list waiters_;
};

template <class Env>
[[gnu::noinline]] wait_outcome wait_at(gate<Env>& g, const wait_request& how) {
  return g.wait(how);
}
template <class Env>
[[gnu::noinline]] wait_outcome wait_alone(const wait_request& how) {
  return weft::rt::wait_alone<Env>(how);
}

struct wanted {
  bool cancelled = false;  // somebody cancels the fiber
  bool timed = false;
  int waiters = 1;
};

// Signals as many as there are waiters, a canceller that cancels the first of them, a timer for each.
template <class Env>
mc::result queue(const wanted& it, mc::options how = {}) {
  return mc::explore(how, [it] {
    using fiber = typename Env::fiber;
    typename Env::world world;
    gate<Env> g;
    fiber fibers[2];
    wait_outcome outcomes[2];
    for (int i = 0; i < it.waiters; ++i) {
      world.add(fibers[i], [&, i] {
        outcomes[i] = wait_at<Env>(g, {why, it.cancelled, it.timed ? Env::a_deadline : weft::rt::never});
        KEEP_FRAME();
      });
    }
    const auto signaller = [&] {
      for (int i = 0; i < it.waiters; ++i) g.signal();
    };
    const auto canceller = [&] { Env::cancel({&fibers[0]}); };
    const auto timers = [&] { world.fire_timers(); };
    if (it.cancelled && it.timed)
      world.run({signaller, canceller, timers});
    else if (it.cancelled)
      world.run({signaller, canceller});
    else if (it.timed)
      world.run({signaller, timers});
    else
      world.run({signaller});
    int served = 0;
    for (int i = 0; i < it.waiters; ++i) {
      served += outcomes[i] == wait_outcome::ok ? 1 : 0;
      mc::check(outcomes[i] != wait_outcome::cancelled || (it.cancelled && i == 0), "only who was cancelled hears it");
      mc::check(outcomes[i] != wait_outcome::timed_out || it.timed, "only who has a deadline times out");
    }
    mc::check(served + g.signals() == it.waiters, "a signal is neither lost nor doubled");
    mc::check(g.empty(), "nobody is left in the queue");
  });
}

// Two waits in a row: what ends the first must not end the second.
template <class Env>
mc::result twice(mc::options how = {}) {
  return mc::explore(how, [] {
    typename Env::world world;
    gate<Env> g;
    typename Env::fiber f;
    int served = 0;
    world.add(f, [&] {
      for (int i = 0; i < 2; ++i) {
        const wait_outcome one = wait_at<Env>(g, {why, i == 0, weft::rt::never});
        KEEP_FRAME();
        if (one == wait_outcome::ok) ++served;
        mc::check(one == wait_outcome::ok || (one == wait_outcome::cancelled && i == 0), "the second wait cannot be cancelled");
      }
    });
    world.run({[&] {
                 g.signal();
                 g.signal();
               },
               [&] { Env::cancel({&f}); }});
    mc::check(served + g.signals() == 2, "a signal is neither lost nor doubled");
  });
}

template <class Env>
mc::result alone(mc::options how = {}) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber f;
    world.add(f, [&] {
      const wait_outcome one = wait_alone<Env>({why, true, Env::a_deadline});
      KEEP_FRAME();
      mc::check(one == wait_outcome::timed_out || one == wait_outcome::cancelled, "nobody else can end it");
    });
    world.run({[&] { Env::cancel({&f}); }, [&] { world.fire_timers(); }});
  });
}

using plain = env<model::faithful>;
struct by_fences : model::faithful {
  static constexpr barrier between_flag_and_claim = barrier::fence;
  static constexpr bool parker_fences = true;
};

TEST(wait, a_signal_wakes) { EXPECT_TRUE(holds(queue<plain>({}, {.name = "signal", .bound = -1}))); }
TEST(wait, two_wait) { EXPECT_TRUE(holds(queue<plain>({.waiters = 2}, {.name = "two waiters"}))); }
TEST(wait, signal_or_cancel) { EXPECT_TRUE(holds(queue<plain>({.cancelled = true}, {.name = "signal, cancel"}))); }
TEST(wait, signal_or_cancel_by_fences) {
  EXPECT_TRUE(holds(queue<env<by_fences>>({.cancelled = true}, {.name = "signal, cancel, by fences"})));
}
TEST(wait, signal_or_deadline) { EXPECT_TRUE(holds(queue<plain>({.timed = true}, {.name = "signal, deadline"}))); }
TEST(wait, signal_cancel_or_deadline) {
  EXPECT_TRUE(holds(queue<plain>({.cancelled = true, .timed = true}, {.name = "signal, cancel, deadline", .bound = 1})));
}
TEST(wait, two_wait_and_one_is_cancelled) {
  EXPECT_TRUE(holds(queue<plain>({.cancelled = true, .waiters = 2}, {.name = "two waiters, cancel", .bound = 1})));
}
TEST(wait, twice) { EXPECT_TRUE(holds(twice<plain>({.name = "wait twice", .bound = 1}))); }
TEST(wait, alone) { EXPECT_TRUE(holds(alone<plain>({.name = "wait alone"}))); }

}  // namespace
