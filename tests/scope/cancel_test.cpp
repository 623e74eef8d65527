// SPDX-License-Identifier: Apache-2.0
//
// Cancellation is a state, not an event: every cancellable wait in a cancelled scope throws, at its entry, each time,
// and loses nothing. Timeouts and cancel_scope are ways into that state; shield is the way to wait in it.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/sanitizers.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft::chan;
using weft::chan_status;
using weft_test::until_waiting;

static_assert(!std::is_base_of_v<std::exception, weft::cancelled>, "catch (const std::exception&) must not swallow it");
static_assert(std::is_base_of_v<std::runtime_error, weft::timed_out>);

template <class F>
bool is_cancelled(F wait) {
  try {
    wait();
  } catch (const weft::cancelled&) {
    return true;
  }
  return false;
}

// Runs `f` in a scope that is cancelled already.
template <class F>
void in_cancelled_scope(F f) {
  weft::cancel_scope scope;
  scope.cancel();
  EXPECT_TRUE(scope.run(f)) << "f itself catches what its waits throw";
}

TEST(cancellation, every_wait_throws_at_its_entry_even_if_it_could_go_on) {
  weft::run([] {
    chan<int> full(1);
    full.send(1);
    chan<int> empty(1);
    chan<int> closed(1);
    closed.close();
    chan<void> signals(2);
    signals.send();
    weft::wait_group group;
    auto done = weft::spawn([] { return 5; });
    ASSERT_TRUE(done.join_for(1h));
    in_cancelled_scope([&] {
      EXPECT_TRUE(is_cancelled([&] { full.recv(); }));
      EXPECT_TRUE(is_cancelled([&] { empty.send(1); }));
      EXPECT_TRUE(is_cancelled([&] { closed.recv(); }));
      EXPECT_TRUE(is_cancelled([&] {
        for (int value : full) ADD_FAILURE() << value;
      }));
      EXPECT_TRUE(is_cancelled([&] { signals.recv(); }));
      EXPECT_TRUE(is_cancelled([&] { signals.send(); }));
      EXPECT_TRUE(is_cancelled([&] { weft::yield(); }));
      EXPECT_TRUE(is_cancelled([&] { weft::sleep_for(0s); }));
      EXPECT_TRUE(is_cancelled([&] { weft::sleep_for(1h); }));
      EXPECT_TRUE(is_cancelled([&] { weft::sleep_until(weft::clock::now() - 1s); }));
      EXPECT_TRUE(is_cancelled([&] { group.wait(); }));
      EXPECT_TRUE(is_cancelled([&] { (void)group.wait_for(1h); }));
      EXPECT_TRUE(is_cancelled([&] { done.join(); }));
      EXPECT_TRUE(is_cancelled([&] { (void)done.join_for(1h); }));
      EXPECT_TRUE(is_cancelled([&] { weft::blocking([] { ADD_FAILURE() << "ran"; }); }));
      EXPECT_TRUE(is_cancelled([&] { weft::this_fiber::check_cancelled(); }));
    });
    EXPECT_EQ(full.size(), 1u);
    EXPECT_EQ(empty.size(), 0u);
    EXPECT_EQ(signals.size(), 1u);
    EXPECT_EQ(done.join(), 5);
  });
}

TEST(cancellation, what_does_not_wait_goes_on) {
  weft::run([] {
    in_cancelled_scope([] {
      chan<int> c(1);
      EXPECT_EQ(c.try_send(1), chan_status::ok);
      EXPECT_EQ(c.try_recv().value, 1);
      c.close();
      weft::mutex mutex;
      {
        const std::lock_guard guard(mutex);
        EXPECT_FALSE(mutex.try_lock());
        EXPECT_FALSE(mutex.try_lock_for(1ms));
      }
      weft::wait_group group;
      group.add();
      group.done();
      std::atomic<bool> ran = false;
      weft::go([&] { ran = true; });
      group.go([] {});
      weft::shield([&] {
        group.wait();
        weft_test::until([&] { return ran.load(); });
      });
      weft::cancel_scope inner;
      inner.cancel();
    });
  });
}

TEST(cancellation, stays_and_is_seen_each_time) {
  weft::run([] {
    auto fiber = weft::spawn([] {
      int count = 0;
      for (int i = 0; i < 3; ++i) {
        if (is_cancelled([] { weft::sleep_for(1h); })) ++count;
        if (is_cancelled([] { chan<int>().recv(); })) ++count;
      }
      return count;
    });
    until_waiting(1);
    fiber.cancel();
    EXPECT_EQ(fiber.join(), 6);
  });
}

TEST(cancellation, can_be_asked_for) {
  weft::run([] {
    EXPECT_FALSE(weft::this_fiber::cancelled());
    weft::this_fiber::check_cancelled();
    weft::cancel_scope scope;
    const bool completed = scope.run([&] {
      EXPECT_FALSE(weft::this_fiber::cancelled());
      scope.cancel();
      EXPECT_TRUE(weft::this_fiber::cancelled());
      weft::this_fiber::check_cancelled();
      ADD_FAILURE() << "check_cancelled let it through";
    });
    EXPECT_FALSE(completed);
    EXPECT_FALSE(weft::this_fiber::cancelled()) << "it ended with its scope";
    weft::this_fiber::check_cancelled();
  });
}

TEST(cancellation, a_waiting_sender_keeps_its_value) {
  weft::run([] {
    for (const int capacity : {0, 1}) {
      chan<std::unique_ptr<int>> c(capacity);
      if (capacity == 1) c.send(std::make_unique<int>(0));
      auto value = std::make_unique<int>(7);
      auto sender = weft::spawn([&] { c.send(std::move(value)); });
      until_waiting(1);
      sender.cancel();
      EXPECT_THROW(sender.join(), weft::fiber_cancelled);
      ASSERT_NE(value, nullptr);
      in_cancelled_scope([&] { EXPECT_TRUE(is_cancelled([&] { c.send(std::move(value)); })); });
      ASSERT_NE(value, nullptr);
      EXPECT_EQ(*value, 7);
    }
  });
}

TEST(cancellation, a_waiter_that_left_is_passed_over) {
  weft::run([] {
    chan<int> c;
    auto first = weft::spawn([&] { return c.recv(); });
    until_waiting(1);
    auto second = weft::spawn([&] { return c.recv(); });
    until_waiting(2);
    first.cancel();
    c.send(1);
    EXPECT_EQ(second.join(), 1);
    EXPECT_THROW(first.join(), weft::fiber_cancelled);
    EXPECT_EQ(c.try_send(2), chan_status::full) << "nobody waits any more";

    auto sender = weft::spawn([&] { c.send(3); });
    until_waiting(1);
    sender.cancel();
    EXPECT_THROW(sender.join(), weft::fiber_cancelled);
    EXPECT_EQ(c.try_recv().status, chan_status::empty);
  });
}

TEST(cancellation, a_race_with_a_value_loses_neither) {
  weft::run({.maxprocs = 4}, [] {
    chan<int> c(1);
    for (int i = 0; i < 2000; ++i) {
      weft::cancel_scope scope;
      std::atomic<bool> received = false;
      auto receiver = weft::spawn([&] {
        scope.run([&] {
          c.recv();
          received = true;
        });
      });
      auto canceller = weft::spawn([&] { scope.cancel(); });
      c.send(i);
      canceller.join();
      receiver.join();
      ASSERT_EQ(c.size(), received ? 0u : 1u);
      if (!received) {
        EXPECT_EQ(c.recv(), i);
      }
    }
  });
}

TEST(cancellation, wakes_every_kind_of_wait) {
  weft::run([] {
    chan<int> c;
    chan<int> full(1);
    full.send(1);
    weft::wait_group group;
    group.add();
    auto endless = weft::spawn([] { weft::sleep_for(1h); });
    std::vector<weft::fiber<void>> fibers;
    fibers.push_back(weft::spawn([&] { c.recv(); }));
    fibers.push_back(weft::spawn([&] { full.send(2); }));
    fibers.push_back(weft::spawn([&] {
      for (int value : c) ADD_FAILURE() << value;
    }));
    fibers.push_back(weft::spawn([&] { group.wait(); }));
    fibers.push_back(weft::spawn([&] { (void)group.wait_for(1h); }));
    fibers.push_back(weft::spawn([&] { weft::sleep_for(1h); }));
    fibers.push_back(weft::spawn([&] { weft::sleep_until(weft::clock::time_point::max()); }));
    fibers.push_back(weft::spawn([&] { (void)endless.join_for(1h); }));
    fibers.push_back(weft::spawn([&] { chan<int>(nullptr).recv(); }));
    until_waiting(fibers.size() + 1);
    for (auto& fiber : fibers) fiber.cancel();
    for (auto& fiber : fibers) EXPECT_THROW(fiber.join(), weft::fiber_cancelled);
    group.done();
    EXPECT_EQ(full.size(), 1u);
  });
}

struct waits_in_destructor {
  chan<int> c;
  int* received;
  ~waits_in_destructor() {
    *received += *c.recv();
    weft::sleep_for(1us);
    weft::yield();
    *received += *c.recv();
  }
};

TEST(unwinding, shields_the_waits_of_destructors_from_cancellation) {
  weft::run([] {
    chan<int> c;
    int received = 0;
    auto fiber = weft::spawn([&] {
      const waits_in_destructor last{c, &received};
      weft::sleep_for(1h);
    });
    until_waiting(1);
    fiber.cancel();
    c.send(1);
    c.send(2);
    EXPECT_THROW(fiber.join(), weft::fiber_cancelled);
    EXPECT_EQ(received, 3);
  });
}

TEST(unwinding, shields_them_from_a_cancellation_that_comes_meanwhile) {
  weft::run([] {
    chan<int> c;
    int received = 0;
    auto fiber = weft::spawn([&] {
      const waits_in_destructor last{c, &received};
      throw std::out_of_range("unwind");
    });
    until_waiting(1);
    fiber.cancel();
    c.send(1);
    c.send(2);
    EXPECT_THROW(fiber.join(), std::out_of_range);
    EXPECT_EQ(received, 3);
  });
}

struct opens_scopes_in_destructor {
  int* reached;
  ~opens_scopes_in_destructor() {
    weft::with_timeout(1h, [&] {
      weft::sleep_for(1us);
      ++*reached;
    });
    weft::cancel_scope inner;
    EXPECT_TRUE(inner.run([&] {
      weft::yield();
      ++*reached;
    }));
    weft::scope children;
    std::atomic<int> sent = 0;
    children.go([&] {
      weft::yield();
      ++sent;
    });
    children.join();
    *reached += sent;
  }
};

TEST(unwinding, shields_what_runs_in_scopes_that_a_destructor_opens) {
  weft::run([] {
    int reached = 0;
    auto fiber = weft::spawn([&] {
      const opens_scopes_in_destructor last{&reached};
      weft::sleep_for(1h);
    });
    until_waiting(1);
    fiber.cancel();
    EXPECT_THROW(fiber.join(), weft::fiber_cancelled);
    EXPECT_EQ(reached, 3);
  });
}

TEST(unwinding, shields_no_longer_than_it_lasts) {
  weft::run([] {
    in_cancelled_scope([] {
      try {
        weft::yield();
      } catch (const weft::cancelled&) {
        // The handler runs after the unwinding.
        EXPECT_TRUE(is_cancelled([] { weft::yield(); }));
      }
    });
  });
}

TEST(shield, lets_waits_go_on_in_a_cancelled_scope) {
  weft::run([] {
    in_cancelled_scope([] {
      const int result = weft::shield([] {
        weft::yield();
        weft::sleep_for(1us);
        chan<int> c(1);
        c.send(3);
        return *c.recv();
      });
      EXPECT_EQ(result, 3);
      EXPECT_TRUE(is_cancelled([] { weft::yield(); })) << "and not a moment longer";
    });
  });
}

TEST(shield, holds_off_a_cancellation_that_comes_meanwhile) {
  weft::run([] {
    chan<int> c;
    auto fiber = weft::spawn([&] {
      int value = 0;
      weft::shield([&] { value = *c.recv(); });
      EXPECT_TRUE(is_cancelled([] { weft::yield(); }));
      return value;
    });
    until_waiting(1);
    fiber.cancel();
    c.send(8);
    EXPECT_EQ(fiber.join(), 8);
  });
}

TEST(shield, passes_exceptions_on_and_nests) {
  weft::run([] {
    in_cancelled_scope([] {
      EXPECT_THROW(weft::shield([] { throw std::out_of_range("inside"); }), std::out_of_range);
      weft::shield([] {
        weft::shield([] { weft::yield(); });
        weft::yield();
      });
      EXPECT_TRUE(is_cancelled([] { weft::yield(); }));
    });
  });
}

TEST(shield, does_not_hold_off_a_scope_inside_of_it) {
  weft::run([] {
    in_cancelled_scope([] {
      weft::shield([] {
        weft::cancel_scope inner;
        inner.cancel();
        EXPECT_FALSE(inner.run([] { weft::yield(); }));
        EXPECT_THROW(weft::with_timeout(1ms, [] { weft::sleep_for(1h); }), weft::timed_out);
      });
    });
  });
}

TEST(cancel_scope, run_says_whether_its_function_completed) {
  weft::run([] {
    weft::cancel_scope untouched;
    EXPECT_TRUE(untouched.run([] { weft::yield(); }));
    weft::cancel_scope early;
    early.cancel();
    EXPECT_FALSE(early.run([] { weft::yield(); }));
    weft::cancel_scope unnoticed;
    unnoticed.cancel();
    bool ran = false;
    EXPECT_TRUE(unnoticed.run([&] { ran = true; }));
    EXPECT_TRUE(ran);
  });
}

TEST(cancel_scope, can_be_cancelled_by_another_fiber) {
  weft::run([] {
    weft::cancel_scope scope;
    auto canceller = weft::spawn([&] {
      until_waiting(1);
      scope.cancel();
    });
    EXPECT_FALSE(scope.run([] { weft::sleep_for(1h); }));
    canceller.join();
    weft::sleep_for(1us);
  });
}

TEST(cancel_scope, passes_exceptions_on) {
  weft::run([] {
    weft::cancel_scope scope;
    EXPECT_THROW(scope.run([] { throw std::out_of_range("inside"); }), std::out_of_range);
  });
}

TEST(cancel_scope, lets_an_outer_cancellation_through) {
  weft::run([] {
    weft::cancel_scope outer;
    const bool completed = outer.run([&] {
      weft::cancel_scope inner;
      bool passed = false;
      try {
        inner.run([&] {
          outer.cancel();
          weft::sleep_for(1h);
        });
      } catch (const weft::cancelled&) {
        passed = true;
        throw;
      }
      EXPECT_TRUE(passed);
    });
    EXPECT_FALSE(completed);
  });
}

// Those that came last are woken by the cancellation, the others leave by themselves meanwhile, and whoever is the last
// takes the object with it.
TEST(cancel_scope, goes_with_the_last_of_many_runs_while_it_is_cancelled) {
  weft::run([] {
    constexpr int runs = 40, patient = 8, rounds = 300;
    for (int round = 0; round < rounds; ++round) {
      alignas(weft::cancel_scope) unsigned char place[sizeof(weft::cancel_scope)];
      auto* const region = new (place) weft::cancel_scope;
      std::atomic<int> inside{0};
      std::atomic<bool> leave{false};
      chan<void> never;
      weft::scope others;
      std::atomic<int> left{0};
      const auto come_out = [&] {
        if (left.fetch_add(1) + 1 != runs) return;
        region->~cancel_scope();
        std::memset(place, 0xff, sizeof place);  // whoever takes its lock now waits for ever
      };
      for (int i = 0; i < runs; ++i) {
        others.go([&, i] {
          const bool waits = i >= runs - patient;
          if (waits) weft_test::until([&] { return inside.load() >= runs - patient; });
          region->run([&] {
            inside.fetch_add(1);
            if (waits) never.recv();
            weft_test::until([&] { return leave.load(); });
          });
          come_out();
        });
      }
      weft_test::until([&] { return inside.load() == runs; });
      leave.store(true);
      region->cancel();
      others.join();
    }
  });
}

TEST(cancel_scope, ends_only_what_is_inside) {
  weft::run([] {
    weft::cancel_scope outer;
    EXPECT_TRUE(outer.run([] {
      weft::cancel_scope inner;
      EXPECT_FALSE(inner.run([&] {
        inner.cancel();
        weft::yield();
      }));
      weft::yield();
    }));
  });
}

TEST(cancel_scope, cancels_the_children_of_a_scope_inside) {
  weft::run([] {
    weft::cancel_scope outer;
    std::atomic<int> unwound = 0;
    EXPECT_FALSE(outer.run([&] {
      weft::scope s;
      for (int i = 0; i < 3; ++i) {
        s.go([&] {
          const std::shared_ptr<void> last(nullptr, [&](void*) { ++unwound; });
          weft::sleep_for(1h);
        });
      }
      until_waiting(3);
      outer.cancel();
      s.join();
    }));
    EXPECT_EQ(unwound, 3);
  });
}

TEST(with_timeout, returns_the_result_of_its_function) {
  weft::run([] {
    EXPECT_EQ(weft::with_timeout(1h, [] { return 5; }), 5);
    EXPECT_EQ(*weft::with_timeout(1h, [] { return std::make_unique<int>(6); }), 6);
    bool ran = false;
    weft::with_timeout(1h, [&] {
      weft::yield();
      ran = true;
    });
    EXPECT_TRUE(ran);
    weft::sleep_for(1us);
  });
}

TEST(with_timeout, throws_once_the_time_is_over) {
  weft::run([] {
    EXPECT_THROW(weft::with_timeout(1ms, [] { weft::sleep_for(1h); }), weft::timed_out);
    EXPECT_THROW(weft::with_timeout(1ms, [] { return chan<int>().recv(); }), weft::timed_out);
    EXPECT_THROW(weft::with_deadline(weft::clock::now() + 1ms, [] { weft::sleep_for(1h); }), weft::timed_out);
    weft::sleep_for(1us);
    EXPECT_FALSE(weft::this_fiber::cancelled());
  });
}

TEST(with_timeout, of_no_length_ends_at_the_first_wait) {
  weft::run([] {
    for (const std::chrono::nanoseconds d : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
      bool begun = false;
      EXPECT_THROW(weft::with_timeout(d,
                                      [&] {
                                        begun = true;
                                        weft::yield();
                                        ADD_FAILURE() << "the wait went on";
                                      }),
                   weft::timed_out);
      EXPECT_TRUE(begun);
    }
    EXPECT_THROW(weft::with_deadline(weft::clock::now() - 1s, [] { weft::yield(); }), weft::timed_out);
  });
}

TEST(with_timeout, of_practically_for_ever_does_not_wrap) {
  weft::run([] {
    EXPECT_EQ(weft::with_timeout(std::chrono::hours::max(),
                                 [] {
                                   weft::sleep_for(1us);
                                   return 1;
                                 }),
              1);
    EXPECT_EQ(weft::with_deadline(weft::clock::time_point::max(),
                                  [] {
                                    weft::sleep_for(1us);
                                    return 2;
                                  }),
              2);
  });
}

TEST(with_timeout, a_late_result_is_returned) {
  weft::run([] {
    EXPECT_EQ(weft::with_timeout(0s,
                                 [] {
                                   weft::shield([] { weft::sleep_for(1us); });
                                   return 9;
                                 }),
              9);
    EXPECT_EQ(weft::with_timeout(0s,
                                 [] {
                                   EXPECT_TRUE(is_cancelled([] { weft::yield(); }));
                                   return 10;
                                 }),
              10);
  });
}

TEST(with_timeout, an_error_of_its_function_passes_even_when_late) {
  weft::run([] {
    EXPECT_THROW(weft::with_timeout(1h, [] { throw std::out_of_range("early"); }), std::out_of_range);
    EXPECT_THROW(weft::with_timeout(0s,
                                    [] {
                                      EXPECT_TRUE(is_cancelled([] { weft::yield(); }));
                                      throw std::out_of_range("late");
                                    }),
                 std::out_of_range);
  });
}

TEST(with_timeout, the_nearest_wins) {
  weft::run([] {
    EXPECT_THROW(weft::with_timeout(1h,
                                    [] {
                                      EXPECT_THROW(weft::with_timeout(1ms, [] { weft::sleep_for(1h); }),
                                                   weft::timed_out);
                                      weft::yield();
                                      throw std::out_of_range("the outer one goes on");
                                    }),
                 std::out_of_range);
    bool inner_saw_cancelled = false;
    EXPECT_THROW(weft::with_timeout(1ms,
                                    [&] {
                                      try {
                                        weft::with_timeout(1h, [] { weft::sleep_for(1h); });
                                      } catch (const weft::cancelled&) {
                                        inner_saw_cancelled = true;
                                        throw;
                                      }
                                    }),
                 weft::timed_out);
    EXPECT_TRUE(inner_saw_cancelled) << "the inner one did not time out";
  });
}

TEST(with_timeout, an_outer_cancellation_beats_it) {
  weft::run([] {
    in_cancelled_scope([] {
      EXPECT_TRUE(is_cancelled([] { weft::with_timeout(0s, [] { weft::yield(); }); }));
      EXPECT_TRUE(is_cancelled([] { weft::with_timeout(1h, [] { weft::yield(); }); }));
    });
  });
}

TEST(with_timeout, a_cancelled_fiber_passes_through_it) {
  weft::run([] {
    auto fiber = weft::spawn([] { weft::with_timeout(1h, [] { weft::sleep_for(1h); }); });
    until_waiting(1);
    fiber.cancel();
    EXPECT_THROW(fiber.join(), weft::fiber_cancelled);
  });
}

// On a machine that is busy the time may be over before each of them has begun: then once more.
TEST(with_timeout, reaches_the_children_of_a_scope_inside) {
  weft::run([] {
    std::atomic<int> begun, unwound;
    do {
      begun = unwound = 0;
      EXPECT_THROW(weft::with_timeout(5ms,
                                      [&] {
                                        weft::scope s;
                                        for (int i = 0; i < 3; ++i) {
                                          s.go([&] {
                                            const std::shared_ptr<void> last(nullptr, [&](void*) { ++unwound; });
                                            ++begun;
                                            weft::sleep_for(1h);
                                          });
                                        }
                                        s.join();
                                      }),
                   weft::timed_out);
      EXPECT_EQ(unwound, begun);
    } while (begun != 3 && !HasFailure());
  });
}

TEST(with_timeout, thousands_that_do_not_expire_leave_nothing_behind) {
  weft::run([] {
    long sum = 0;
    for (int i = 0; i < 5000; ++i) sum += weft::with_timeout(1h, [] { return 1; });
    EXPECT_EQ(sum, 5000);
  });
}

// A chain of fibers, each in a scope that the one before it has opened, with `depth` of them waiting in the end. `cut`
// runs once they do. How many of them were cancelled.
template <class Cut>
int cancel_chain(int depth, Cut cut) {
  std::atomic<int> begun{0}, cancelled{0};
  const std::function<void()> link = [&] {
    weft::scope below;
    if (begun.fetch_add(1) + 1 < depth) below.go([&] { link(); });
    try {
      chan<void>(nullptr).recv();
    } catch (const weft::cancelled&) {
      cancelled.fetch_add(1);
      throw;
    }
  };
  cut([&] { link(); }, [&] { until_waiting(static_cast<std::size_t>(depth)); });
  return cancelled.load();
}

// More than a walk that recurses could have on a stack of 256 KiB. (g++'s ThreadSanitizer ends at 8128 fibers.)
constexpr int deep = weft_test::has_thread_sanitizer ? 3'000 : 20'000;

TEST(cancel_deep, by_the_outermost_scope) {
  weft::run([] {
    EXPECT_EQ(cancel_chain(deep,
                           [](auto first, auto until_all_wait) {
                             weft::scope top;
                             top.go(first);
                             until_all_wait();
                             top.cancel();
                             top.join();
                           }),
              deep);
  });
}

TEST(cancel_deep, by_the_handle_of_the_first_fiber) {
  weft::run([] {
    EXPECT_EQ(cancel_chain(deep,
                           [](auto first, auto until_all_wait) {
                             auto fiber = weft::spawn(first);
                             until_all_wait();
                             fiber.cancel();
                             EXPECT_THROW(fiber.join(), weft::fiber_cancelled);
                           }),
              deep);
  });
}

TEST(cancel_deep, by_a_region_around_the_outermost_scope) {
  weft::run([] {
    EXPECT_EQ(cancel_chain(deep,
                           [](auto first, auto until_all_wait) {
                             weft::cancel_scope region;
                             auto outermost = weft::spawn([&] { EXPECT_FALSE(region.run(first)); });
                             until_all_wait();
                             region.cancel();
                             outermost.join();
                           }),
              deep);
  });
}

// Several children at each level: the walk must come back to every one of them.
TEST(cancel_deep, a_tree_is_cancelled_down_to_its_last_leaf) {
  weft::run([] {
    constexpr int levels = 7, children = 3;
    std::atomic<int> fibers{0}, cancelled{0};
    const std::function<void(int)> grow = [&](int level) {
      fibers.fetch_add(1);
      weft::scope left, right;
      try {
        for (int i = 0; level < levels && i < children; ++i)
          (i % 2 == 0 ? left : right).go([&, level] { grow(level + 1); });
        chan<void>(nullptr).recv();
      } catch (const weft::cancelled&) {
        cancelled.fetch_add(1);
        throw;
      }
    };
    weft::scope top;
    top.go([&] { grow(0); });
    int expected = 0;
    for (int level = 0, width = 1; level <= levels; ++level, width *= children) expected += width;
    until_waiting(static_cast<std::size_t>(expected));
    top.cancel();
    top.join();
    EXPECT_EQ(fibers.load(), expected);
    EXPECT_EQ(cancelled.load(), expected);
  });
}

}  // namespace
