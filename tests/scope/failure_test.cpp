// SPDX-License-Identifier: Apache-2.0
//
// A scope that has failed reaches its owner: whatever the owner waits for inside it ends with the error, once.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until;
using weft_test::until_waiting;

// What `f` throws: the text of an error, "cancelled", or "nothing".
template <class F>
std::string thrown_by(F f) {
  try {
    f();
  } catch (const weft::cancelled&) {
    return "cancelled";
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing";
}

/// Lets others run until a failure has reached the caller, without a wait that would throw it.
void until_reached() {
  while (!weft::this_fiber::cancelled()) weft::shield([] { weft::yield(); });
}

void fail(const char* why) { throw std::runtime_error(why); }

TEST(failed_scope, ends_the_wait_of_its_owner_with_the_error) {
  weft::run([] {
    const auto failing = [](const std::function<void()>& wait) {
      return thrown_by([&] {
        weft::scope s;
        s.go([] {
          until_waiting(1);
          fail("no more");
        });
        wait();
        s.join();
      });
    };
    weft::chan<int> never;
    weft::event unset;
    weft::wait_group working;
    working.add();
    weft::semaphore none(0);
    weft::mutex m;
    EXPECT_EQ(failing([&] { never.recv(); }), "no more");
    EXPECT_EQ(failing([&] { never.send(1); }), "no more");
    EXPECT_EQ(failing([&] { (void)never.recv_for(1h); }), "no more");
    EXPECT_EQ(failing([&] {
                for (const int v : never) (void)v;
              }),
              "no more");
    EXPECT_EQ(failing([&] { weft::select(weft::on_recv(never), weft::on_event(unset)); }), "no more");
    EXPECT_EQ(failing([&] { unset.wait(); }), "no more");
    EXPECT_EQ(failing([&] { working.wait(); }), "no more");
    EXPECT_EQ(failing([&] { none.acquire(); }), "no more");
    EXPECT_EQ(failing([&] { weft::sleep_for(1h); }), "no more");
    EXPECT_EQ(failing([&] {
                weft::condition_variable cv;
                std::unique_lock lock(m);
                cv.wait(lock);
              }),
              "no more");
    EXPECT_EQ(failing([&] { weft::with_timeout(1h, [&] { never.recv(); }); }), "no more");
    EXPECT_EQ(failing([&] {
                weft::cancel_scope cs;
                cs.run([&] { never.recv(); });
              }),
              "no more");
    EXPECT_EQ(failing([&] {
                weft::scope inner;
                inner.go([&] { never.recv(); });
                inner.join();
              }),
              "no more");
    working.done();
  });
}

TEST(failed_scope, ends_also_a_wait_that_could_go_on) {
  weft::run([] {
    weft::chan<int> ready(1);
    ready.send(1);
    weft::scope s;
    s.go([] { fail("bad"); });
    until_reached();
    EXPECT_EQ(thrown_by([&] { ready.recv(); }), "bad");
    EXPECT_EQ(ready.size(), 1u);
    s.join();
  });
}

TEST(failed_scope, is_told_once_and_then_waits_throw_cancelled_until_join) {
  weft::run([] {
    weft::chan<int> ready(1);
    ready.send(1);
    weft::scope s;
    s.go([] { fail("bad"); });
    until_reached();
    EXPECT_EQ(thrown_by([] { weft::this_fiber::check_cancelled(); }), "bad");
    EXPECT_EQ(thrown_by([&] { ready.recv(); }), "cancelled");
    EXPECT_EQ(thrown_by([&] { s.go([] {}); }), "cancelled");
    EXPECT_EQ(thrown_by([&] {
                weft::scope inner;
                inner.join();
              }),
              "cancelled");
    EXPECT_EQ(thrown_by([&] { s.join(); }), "nothing");
    EXPECT_EQ(thrown_by([&] { ready.recv(); }), "nothing");
    EXPECT_FALSE(weft::this_fiber::cancelled());
  });
}

TEST(failed_scope, is_told_by_go) {
  weft::run([] {
    weft::scope s;
    s.go([] { fail("bad"); });
    until_reached();
    bool ran = false;
    EXPECT_EQ(thrown_by([&] { s.go([&] { ran = true; }); }), "bad");
    s.join();
    EXPECT_FALSE(ran);
  });
}

TEST(failed_scope, is_told_by_join_where_nobody_waited) {
  weft::run([] {
    weft::scope s;
    std::atomic<int> ended = 0;
    for (int i = 0; i < 4; ++i) {
      s.go([&] {
        try {
          weft::chan<int>().recv();
        } catch (const weft::cancelled&) {
          weft::shield([] { weft::yield(); });
          ++ended;
          throw;
        }
      });
    }
    s.go([] { fail("bad"); });
    EXPECT_EQ(thrown_by([&] { s.join(); }), "bad");
    EXPECT_EQ(ended, 4);  // join has waited for all of them
    EXPECT_EQ(thrown_by([&] { s.join(); }), "nothing");
  });
}

TEST(failed_scope, leaves_shielded_waits_alone) {
  weft::run([] {
    weft::scope s;
    weft::chan<int> results(1);
    s.go([] { fail("bad"); });
    until_reached();
    weft::shield([&] { results.send(1); });
    EXPECT_EQ(thrown_by([&] { s.join(); }), "bad");
  });
}

TEST(failed_scope, reaches_nobody_by_a_cancel_by_hand) {
  weft::run([] {
    weft::chan<int> ready(1);
    ready.send(1);
    weft::scope s;
    s.go([] { weft::chan<int>().recv(); });
    s.cancel();
    EXPECT_FALSE(weft::this_fiber::cancelled());
    EXPECT_EQ(thrown_by([&] { ready.recv(); }), "nothing");
    bool was_cancelled = false;
    s.go([&] { was_cancelled = weft::this_fiber::cancelled(); });  // a child that is started cancelled
    s.join();
    EXPECT_TRUE(was_cancelled);
  });
}

TEST(failed_scope, that_collects_reaches_nobody) {
  weft::run([] {
    weft::chan<int> ready(1);
    weft::scope s(weft::collect);
    s.go([] { fail("bad"); });
    s.go([&] {
      until([&] { return s.error_count() == 1; });
      ready.send(1);
    });
    EXPECT_EQ(ready.recv(), 1);
    s.join();
  });
}

TEST(failed_scope, reaches_nobody_once_it_was_joined) {
  weft::run([] {
    weft::chan<int> ready(1);
    ready.send(1);
    weft::scope s;
    s.join();
    s.go([] { fail("late"); });
    until([&] { return s.cancelled(); });
    EXPECT_EQ(thrown_by([&] { ready.recv(); }), "nothing");
    EXPECT_EQ(thrown_by([&] { s.join(); }), "late");
  });
}

TEST(failed_scope, of_several_the_innermost_speaks_first_and_an_error_before_cancelled) {
  weft::run([] {
    weft::scope outer;
    outer.go([] { fail("outer"); });
    until_reached();
    weft::shield([] {
      // Its own world: what lies outside the shield is not seen.
      weft::scope inner;
      inner.go([] { fail("inner"); });
      until_reached();
      EXPECT_EQ(thrown_by([] { weft::yield(); }), "inner");
      inner.join();
    });
    EXPECT_EQ(thrown_by([] { weft::yield(); }), "outer");
    outer.join();

    weft::cancel_scope cs;
    cs.run([&] {
      weft::scope s;
      s.go([] { fail("error"); });
      until_reached();
      cs.cancel();
      EXPECT_EQ(thrown_by([&] { s.join(); }), "error");
      EXPECT_EQ(thrown_by([] { weft::yield(); }), "cancelled");
    });
  });
}

TEST(failed_scope, passes_through_regions_inside_it) {
  weft::run([] {
    weft::scope s;
    s.go([] { fail("bad"); });
    until_reached();
    EXPECT_EQ(thrown_by([] { weft::with_timeout(1h, [] { weft::yield(); }); }), "bad");
    EXPECT_EQ(thrown_by([] { weft::with_timeout(1h, [] { weft::yield(); }); }), "cancelled");
    weft::cancel_scope cs;
    EXPECT_EQ(thrown_by([&] { cs.run([] { weft::yield(); }); }), "cancelled");
    s.join();
  });
}

TEST(failed_scope, cancels_what_its_owner_runs_inside_it) {
  weft::run([] {
    weft::scope s;
    weft::scope inner;  // made inside `s`, by its owner
    std::string heard;
    inner.go([&] { heard = thrown_by([] { weft::chan<int>().recv(); }); });
    until_waiting(1);
    s.go([] { fail("bad"); });
    EXPECT_EQ(thrown_by([&] { inner.join(); }), "bad");
    EXPECT_EQ(thrown_by([&] { weft::shield([&] { inner.join(); }); }), "nothing");
    EXPECT_EQ(heard, "cancelled");
    s.join();
  });
}

TEST(failed_scope, speaks_through_the_join_of_a_child_that_it_has_cancelled) {
  weft::run([] {
    for (int i = 0; i < 100; ++i) {
      weft::scope s;
      auto victim = s.spawn([] { return weft::chan<int>().recv().value(); });
      s.go([] { fail("bad"); });
      EXPECT_EQ(thrown_by([&] { victim.join(); }), "bad");
      s.join();
    }
  });
}

TEST(failed_scope, whose_error_a_handle_has_thrown_counts_as_told) {
  weft::run([] {
    weft::scope s;
    auto failing = s.spawn([] { fail("bad"); });
    EXPECT_EQ(thrown_by([&] { failing.join(); }), "bad");
    while (!s.cancelled()) weft::shield([] { weft::yield(); });
    until_reached();
    EXPECT_EQ(thrown_by([] { weft::yield(); }), "cancelled");
    EXPECT_EQ(thrown_by([&] { s.join(); }), "nothing");
  });
}

TEST(failed_scope, is_left_to_the_next_wait_by_forms_with_an_error_code) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    weft::scope s;
    s.go([] {
      until_waiting(1);
      fail("bad");
    });
    std::error_code error;
    EXPECT_FALSE(listener.accept(error));
    EXPECT_EQ(error, std::errc::operation_canceled);
    EXPECT_EQ(thrown_by([&] { listener.accept(); }), "bad");
    s.join();
  });
}

TEST(failed_scope, of_a_child_fails_the_child) {
  const auto program = [] {
    weft::run([] {
      weft::chan<int> jobs(64), results(64);
      weft::scope s;
      s.go([=] {
        for (int i = 0; i < 1000; ++i) jobs.send(i);
        jobs.close();
      });
      s.go([=] {
        weft::scope workers;
        for (int w = 0; w < 4; ++w)
          workers.go([=] {
            for (const int j : jobs) {
              if (j == 500) fail("bad job 500");
              results.send(j * j);
            }
          });
        workers.join();
        results.close();
      });
      long sum = 0;
      for (const int r : results) sum += r;
      s.join();
      ADD_FAILURE() << sum;
    });
  };
  EXPECT_EQ(thrown_by(program), "bad job 500");
}

TEST(failed_scope, is_heard_beside_a_listener) {
  const auto program = [] {
    weft::run([] {
      auto listener = weft::net::listen("127.0.0.1:0");
      const auto acceptor = weft::spawn([&listener] { listener.accept(); });
      weft::chan<int> results(64);
      weft::scope s;
      s.go([=] {
        results.send(1);
        fail("producer failed");
      });
      for (const int r : results) EXPECT_EQ(r, 1);
      s.join();
      ADD_FAILURE();
    });
  };
  EXPECT_EQ(thrown_by(program), "producer failed");
}

// The owner is caught at every moment of its waits: the error comes once, and all children have ended.
TEST(failed_scope, is_told_exactly_once_whenever_it_fails) {
  weft::run([] {
    for (int round = 0; round < 2000; ++round) {
      weft::chan<int> c(1);
      int told = 0, living = 0;
      std::atomic<int> ended = 0;
      {
        weft::scope s;
        for (int i = 0; i < 3; ++i) {
          try {
            s.go([&, i] {
              struct counter {
                std::atomic<int>& n;
                ~counter() { ++n; }
              } at_the_end{ended};
              if (i == round % 3) fail("bad");
              for (;;) c.send(i);
            });
            ++living;
          } catch (const std::runtime_error&) {
            ++told;
          } catch (const weft::cancelled&) {
          }
        }
        for (int i = 0; i < 4; ++i) {
          try {
            c.recv();
          } catch (const std::runtime_error&) {
            ++told;
          } catch (const weft::cancelled&) {
          }
        }
        try {
          s.join();
        } catch (const std::runtime_error&) {
          ++told;
        }
        ASSERT_EQ(told, 1) << round;
        ASSERT_EQ(ended, living) << round;
      }
      ASSERT_FALSE(weft::this_fiber::cancelled());
    }
  });
}

// The time of a region is over first, and the scope around it fails before the region is left.
TEST(failed_scope, goes_before_the_cancellation_that_a_region_has_thrown) {
  weft::run([] {
    const auto timed = [](auto&& f) { weft::with_timeout(1ms, f); };
    const auto by_hand = [](auto&& f) {
      weft::cancel_scope cs;
      auto canceller = weft::spawn([&] { cs.cancel(); });
      cs.run(f);
    };
    const auto failing_late = [](const auto& in_region) {
      return thrown_by([&] {
        weft::scope s;
        weft::event left;
        s.go([&] {
          weft::shield([&] { left.wait(); });
          fail("late");
        });
        in_region([&] {
          try {
            weft::chan<int>().recv();
          } catch (const weft::cancelled&) {
            left.set();
            while (!s.cancelled()) weft::shield([] { weft::yield(); });
            throw;
          }
        });
        s.join();
      });
    };
    EXPECT_EQ(failing_late(timed), "late");
    EXPECT_EQ(failing_late(by_hand), "late");
  });
}

// The join is cancelled from outside while it waits for a sibling that takes its time.
TEST(failed_scope, goes_before_the_cancellation_that_ends_its_join) {
  weft::run([] {
    weft::cancel_scope cs;
    EXPECT_EQ(thrown_by([&] {
                cs.run([&] {
                  weft::scope s;
                  s.go([] {
                    until_waiting(2);
                    fail("bad");
                  });
                  s.go([&] {
                    try {
                      weft::chan<int>().recv();
                    } catch (const weft::cancelled&) {
                      cs.cancel();
                      weft::shield([] {
                        for (int i = 0; i < 100; ++i) weft::yield();
                      });
                      throw;
                    }
                  });
                  s.join();
                });
              }),
              "bad");
  });
}

TEST(failed_scope, is_not_remembered_by_once_value) {
  weft::run([] {
    int calls = 0;
    const auto value = weft::once_value([&] {
      if (++calls == 1) weft::chan<int>().recv();
      return 7;
    });
    EXPECT_EQ(thrown_by([&] {
                weft::scope s;
                s.go([] {
                  until_waiting(1);
                  fail("bad");
                });
                value();
              }),
              "bad");
    EXPECT_EQ(value(), 7);
  });
}

// --- attributes, arguments ---

TEST(scope, starts_children_with_attributes_and_arguments) {
  weft::run([] {
    weft::scope s;
    std::string name;
    int sum = 0;
    s.go({.name = "ingest"}, [&] { name = weft::this_fiber::name(); });
    s.go([&sum](int a, std::unique_ptr<int> b) { sum = a + *b; }, 1, std::make_unique<int>(2));
    auto worker = s.spawn(
        {.name = "worker", .stack_size = 1 << 20}, [](int x) { return 2 * x; }, 21);
    EXPECT_EQ(worker.join(), 42);
    s.join();
    EXPECT_EQ(name, "ingest");
    EXPECT_EQ(sum, 3);
    EXPECT_THROW(s.go({.stack_size = 1}, [] {}), std::invalid_argument);
    s.join();  // the place that was taken for it is free again
  });
}

// --- scopes that outlive their owner ---

class orphaned_scope : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  static std::unique_ptr<weft::scope> make() {
    return weft::spawn([] { return std::make_unique<weft::scope>(); }).join();
  }
};

TEST_F(orphaned_scope, is_named_when_it_is_used_or_destroyed) {
  const auto in_run = [](auto use) {
    weft::run([use] {
      auto s = make();
      use(*s);
      s.reset();
    });
  };
  EXPECT_EXIT(in_run([](weft::scope& s) { s.go([] {}); }), testing::ExitedWithCode(2),
              testing::HasSubstr("fatal: weft::scope: go or spawn was called after the fiber that made it has ended"));
  EXPECT_EXIT(in_run([](weft::scope& s) { (void)s.spawn([] { return 1; }); }), testing::ExitedWithCode(2),
              testing::HasSubstr("go or spawn was called after the fiber that made it has ended"));
  EXPECT_EXIT(in_run([](weft::scope& s) { s.join(); }), testing::ExitedWithCode(2),
              testing::HasSubstr("join was called after the fiber that made it has ended"));
  EXPECT_EXIT(in_run([](weft::scope&) {}), testing::ExitedWithCode(2),
              testing::HasSubstr("destroyed after the fiber that made it has ended"));
}

// A child that fails when the owner is gone has nobody to tell: that ends the process, as an error in `go` does.
TEST_F(orphaned_scope, whose_child_fails_is_named) {
  const auto program = [] {
    weft::run([] {
      weft::event gate;
      std::unique_ptr<weft::scope> kept;
      weft::spawn([&] {
        kept = std::make_unique<weft::scope>();
        kept->go([&] {
          gate.wait();
          fail("nobody hears");
        });
      }).join();
      gate.set();
      weft::chan<int>().recv();
    });
  };
  const auto named = testing::AllOf(testing::HasSubstr("of a child of a scope whose owner has ended"),
                                    testing::HasSubstr("nobody hears"));
  EXPECT_EXIT(program(), testing::ExitedWithCode(2), named);
}

}  // namespace
