// SPDX-License-Identifier: Apache-2.0
//
// What a runtime promises from its start to its end: the result of main, its options, detached fibers, and what is
// still alive when main has ended.

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <semaphore>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::until;
using weft_test::until_waiting;

TEST(run, returns_what_main_returns) {
  EXPECT_EQ(weft::run([] { return 42; }), 42);
  EXPECT_EQ(weft::run([] { return std::string(100, 'x'); }), std::string(100, 'x'));
  EXPECT_EQ(*weft::run([] { return std::make_unique<int>(7); }), 7);
  static_assert(std::is_void_v<decltype(weft::run([] {}))>);
  bool ran = false;
  weft::run([&] { ran = true; });
  EXPECT_TRUE(ran);
}

TEST(run, rethrows_what_main_threw) {
  try {
    weft::run([]() -> int { throw std::out_of_range("main"); });
    ADD_FAILURE() << "no exception";
  } catch (const std::out_of_range& error) {
    EXPECT_STREQ(error.what(), "main");
  }
  EXPECT_THROW(weft::run([] { throw 5; }), int);
}

TEST(run, takes_a_callable_that_can_only_be_moved) {
  EXPECT_EQ(weft::run([p = std::make_unique<int>(3)] { return *p; }), 3);
}

TEST(run, may_be_called_again) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(weft::run([i] { return weft::spawn([i] { return i; }).join(); }), i);
  }
  EXPECT_THROW(weft::run([] { throw std::runtime_error("main"); }), std::runtime_error);
  EXPECT_EQ(weft::run([] { return 1; }), 1);
}

TEST(run, inside_a_runtime_is_a_logic_error_and_leaves_it_alone) {
  weft::run([] {
    EXPECT_THROW(weft::run([] {}), std::logic_error);
    auto fiber = weft::spawn([] { EXPECT_THROW(weft::run([] { return 1; }), std::logic_error); });
    fiber.join();
    std::thread thread([] { EXPECT_THROW(weft::run([] {}), std::logic_error); });
    weft::blocking([&] { thread.join(); });
    EXPECT_EQ(weft::spawn([] { return 8; }).join(), 8);
  });
}

TEST(run, refuses_options_that_are_not_accepted_and_starts_nothing) {
  bool ran = false;
  EXPECT_THROW(weft::run({.maxprocs = -1}, [&] { ran = true; }), std::invalid_argument);
  EXPECT_THROW(weft::run({.maxprocs = 1025}, [&] { ran = true; }), std::invalid_argument);
  EXPECT_THROW(weft::run({.stack_size = 16383}, [&] { ran = true; }), std::invalid_argument);
  EXPECT_THROW(weft::run({.max_threads = 0}, [&] { ran = true; }), std::invalid_argument);
  EXPECT_THROW(weft::run({.shutdown_grace = -1s}, [&] { ran = true; }), std::invalid_argument);
  EXPECT_FALSE(ran);
  EXPECT_EQ(weft::run({.maxprocs = 3}, [] { return weft::maxprocs(); }), 3);
}

TEST(run, gives_main_the_stack_that_was_asked_for) {
  weft::run({.stack_size = 4 << 20}, [] {
    volatile char deep[3 << 20];
    for (std::size_t i = 0; i < sizeof deep; i += 4096) deep[i] = 1;
    EXPECT_EQ(deep[4096], 1);
  });
}

TEST(run, keeps_main_on_its_thread_if_it_is_pinned) {
  weft::run({.maxprocs = 4, .pin_main = true}, [caller = std::this_thread::get_id()] {
    weft::chan<int> c;
    weft::scope s;
    for (int f = 0; f < 4; ++f) {
      s.go([c] {
        for (int i = 0; i < 50; ++i) c.send(i);
      });
    }
    for (int i = 0; i < 200; ++i) {
      c.recv();
      EXPECT_EQ(std::this_thread::get_id(), caller);
      if (i % 50 == 0) weft::sleep_for(1us);
      weft::yield();
      EXPECT_EQ(std::this_thread::get_id(), caller);
    }
    s.join();
  });
}

TEST(run, refuses_more_fibers_than_max_fibers_until_one_has_ended) {
  weft::run({.max_fibers = 4}, [] {
    weft::chan<void> gate;
    std::vector<weft::fiber<bool>> fibers;
    bool refused = false;
    while (!refused && fibers.size() < 10) {
      try {
        fibers.push_back(weft::spawn([gate] { return gate.recv(); }));
      } catch (const std::system_error& error) {
        EXPECT_EQ(error.code(), std::errc::resource_unavailable_try_again);
        refused = true;
      }
    }
    EXPECT_TRUE(refused);
    EXPECT_EQ(weft::num_fibers(), 4u);
    const std::size_t before = fibers.size();
    until_waiting(before);
    gate.send();
    until([&] { return weft::num_fibers() == 3; });
    fibers.push_back(weft::spawn([gate] { return gate.recv(); }));
    gate.close();
    for (auto& fiber : fibers) fiber.join();
  });
}

// Far from its limit a P spawns on credit: none of that must be left where the limit is reached on another one.
TEST(run, refuses_more_fibers_than_max_fibers_whoever_spawned_before) {
  static constexpr std::size_t most = 2000;
  weft::run({.maxprocs = 4, .max_fibers = most}, [] {
    static constexpr int spawners = 8;
    weft::event full, out;
    weft::wait_group warmed, tried;
    std::atomic<int> started{0};
    weft::scope s;
    for (int i = 0; i < spawners; ++i) {
      warmed.add();
      tried.add();
      s.go([&] {
        for (int k = 0; k < 100; ++k) {
          weft::spawn([] {}).join();
          if (k % 10 == 0) weft::yield();
        }
        warmed.done();
        full.wait();
        try {
          s.go([&] { out.wait(); });
          ++started;
        } catch (const std::system_error&) {
        }
        tried.done();
        out.wait();
      });
    }
    warmed.wait();
    until([] { return weft::num_fibers() == spawners + 1; });
    for (std::size_t n = weft::num_fibers(); n < most; ++n) s.go([&] { out.wait(); });
    EXPECT_EQ(weft::num_fibers(), most);
    EXPECT_THROW(s.go([] {}), std::system_error);
    full.set();
    tried.wait();
    EXPECT_EQ(started.load(), 0);
    out.set();
    s.join();
  });
}

TEST(run, takes_any_limit_of_fibers) {
  weft::run({.max_fibers = SIZE_MAX}, [] { EXPECT_EQ(weft::spawn([] { return 1; }).join(), 1); });
}

TEST(run, counts_its_fibers) {
  weft::run([] {
    EXPECT_EQ(weft::num_fibers(), 1u);
    weft::chan<void> gate;
    weft::scope s;
    for (int i = 0; i < 3; ++i) s.go([gate] { gate.recv(); });
    EXPECT_EQ(weft::num_fibers(), 4u);
    gate.close();
    s.join();
    EXPECT_EQ(weft::num_fibers(), 1u);
  });
}

TEST(run, does_not_count_a_fiber_that_was_joined) {
  weft::run({.maxprocs = 4}, [] {
    for (int i = 0; i < 2000; ++i) {
      weft::spawn([] {}).join();
      ASSERT_EQ(weft::num_fibers(), 1u);
      auto watched = weft::spawn([] {});
      while (!watched.done()) weft::yield();
      ASSERT_EQ(weft::num_fibers(), 1u);
      weft::scope s;
      s.go([] {});
      s.join();
      ASSERT_EQ(weft::num_fibers(), 1u);
    }
  });
}

TEST(run, does_not_count_a_fiber_that_was_joined_though_its_scope_still_hears_of_its_error) {
  weft::run([] {
    weft::chan<void> gate;
    weft::scope s(weft::collect, {.on_error = [gate](std::exception_ptr) { gate.recv(); }});
    auto fiber = s.spawn([] { throw std::runtime_error("heard of"); });
    EXPECT_THROW(fiber.join(), std::runtime_error);
    EXPECT_EQ(weft::num_fibers(), 1u);
    gate.close();
    s.join();
  });
}

TEST(run, waits_for_a_fiber_whose_scope_still_hears_of_its_error) {
  std::atomic<bool> begun{false}, main_ended{false}, heard{false};
  std::thread foreign;
  weft::run([&] {
    foreign = std::thread([&] {  // no fiber waits for this scope
      weft::scope s(weft::collect, {.on_error = [&](std::exception_ptr) {
                      begun.store(true);
                      while (!main_ended.load()) weft::yield();
                      for (int i = 0; i < 10; ++i) weft::sleep_for(100us);  // parks: somebody must be left to wake it
                      heard.store(true);
                    }});
      s.go([] { throw std::runtime_error("heard of"); });
      try {
        s.join();
      } catch (const std::system_error& called_off) {  // main may have ended; the scope's own end waits for its fibers
        EXPECT_EQ(called_off.code(), std::errc::operation_canceled);
      }
    });
    until([&] { return begun.load(); });
    main_ended.store(true);
  });
  EXPECT_TRUE(heard.load());
  foreign.join();
}

TEST(go, without_a_runtime_is_a_logic_error) {
  EXPECT_THROW(weft::go([] {}), std::logic_error);
  EXPECT_THROW((void)weft::spawn([] {}), std::logic_error);
  weft::run([] {});
  EXPECT_THROW(weft::go([] {}), std::logic_error);
}

void add_to(std::atomic<int>& sum, int a, std::unique_ptr<int> b) { sum += a + *b; }

struct counter {
  void add(int n) { sum += n; }
  std::atomic<int> sum = 0;
};

TEST(go, calls_as_a_thread_calls) {
  std::atomic<int> sum = 0;
  counter member;
  weft::run([&] {
    weft::wait_group group;
    group.add(1);
    weft::go(
        [&group](std::atomic<int>& s, int a, std::unique_ptr<int> b) {
          add_to(s, a, std::move(b));
          group.done();
        },
        std::ref(sum), 1, std::make_unique<int>(2));
    group.wait();
    weft::spawn(add_to, std::ref(sum), 10, std::make_unique<int>(20)).join();
    weft::spawn(&counter::add, &member, 5).join();
  });
  EXPECT_EQ(sum, 33);
  EXPECT_EQ(member.sum, 5);
}

TEST(go, copies_its_arguments) {
  weft::run([] {
    std::string text = "before";
    auto fiber = weft::spawn([](const std::string& copy) { return copy; }, text);
    text = "after";
    EXPECT_EQ(fiber.join(), "before");
  });
}

TEST(go, destroys_its_callable_when_the_fiber_ends) {
  weft::run([] {
    auto token = std::make_shared<int>(0);
    struct large {
      std::shared_ptr<int> token;
      char filling[1000];
    };
    weft::go([token] {});
    weft::go([l = large{token, {}}] {});
    until([&] { return token.use_count() == 1; });
  });
}

TEST(go, works_from_a_plain_thread_while_a_runtime_runs) {
  weft::run([] {
    weft::chan<std::uint64_t> ids(2);
    std::thread thread([ids] {
      EXPECT_EQ(weft::this_fiber::id(), 0u);
      weft::go([ids] { ids.send(weft::this_fiber::id()); });
      EXPECT_EQ(weft::spawn([] { return 6; }).join(), 6);
    });
    weft::blocking([&] { thread.join(); });
    EXPECT_NE(ids.recv(), 0u);
  });
}

/// What a library keeps for each thread, and takes its time to let go.
struct of_each_thread {
  static inline std::atomic<int> there{0};
  of_each_thread() { ++there; }
  ~of_each_thread() {
    for (int i = 0; i < 100; ++i) std::this_thread::yield();
    --there;
  }
  void touch() const {}
};

thread_local const of_each_thread mine;

TEST(end_of_run, outlasts_what_the_program_keeps_for_each_thread) {
  constexpr int threads = 4;
  mine.touch();
  for (int round = 0; round < 20; ++round) {
    weft::run({.maxprocs = 2}, [&] {
      std::barrier together(threads);
      weft::scope s;
      for (int i = 0; i < threads; ++i) {
        s.go([&] {
          weft::blocking([&] {
            mine.touch();
            together.arrive_and_wait();
          });
        });
      }
      s.join();
      EXPECT_GE(of_each_thread::there, threads);
    });
    EXPECT_EQ(of_each_thread::there, 1);  // this thread's
  }
}

TEST(end_of_run, cancels_detached_fibers_and_awaits_them) {
  std::atomic<int> unwound = 0;
  std::atomic<int> cancelled = 0;
  weft::run([&] {
    for (int i = 0; i < 10; ++i) {
      weft::go([&, c = weft::chan<int>()] {
        const std::shared_ptr<void> last(nullptr, [&](void*) { ++unwound; });
        try {
          c.recv();
        } catch (const weft::cancelled&) {
          ++cancelled;
          throw;
        }
      });
    }
    until_waiting(10);
  });
  EXPECT_EQ(cancelled, 10);
  EXPECT_EQ(unwound, 10);
}

TEST(end_of_run, destroys_the_callables_of_fibers_that_never_ran) {
  auto token = std::make_shared<int>(0);
  weft::run({.maxprocs = 1}, [&] {
    for (int i = 0; i < 100; ++i) weft::go([token] { weft::sleep_for(1h); });
  });
  EXPECT_EQ(token.use_count(), 1);
}

TEST(end_of_run, awaits_a_fiber_that_is_shielded) {
  std::atomic<bool> cleaned = false;
  weft::run([&] {
    // By value: the locals of main are gone when the fiber goes on.
    weft::go([&cleaned, c = weft::chan<int>()] {
      try {
        c.recv();
      } catch (const weft::cancelled&) {
        weft::shield([&] {
          for (int i = 0; i < 10; ++i) weft::sleep_for(100us);
          cleaned = true;
        });
      }
    });
    until_waiting(1);
  });
  EXPECT_TRUE(cleaned);
}

TEST(end_of_run, comes_after_an_exception_of_main_too) {
  std::atomic<bool> unwound = false;
  EXPECT_THROW(weft::run([&] {
                 weft::go([&unwound] {
                   const std::shared_ptr<void> last(nullptr, [&](void*) { unwound = true; });
                   weft::sleep_for(1h);
                 });
                 until_waiting(1);
                 throw std::runtime_error("main");
               }),
               std::runtime_error);
  EXPECT_TRUE(unwound);
}

TEST(end_of_run, awaits_fibers_that_a_cancelled_fiber_starts) {
  std::atomic<int> unwound = 0;
  weft::run([&] {
    weft::go([&unwound] {
      const std::shared_ptr<void> last(nullptr, [&](void*) { ++unwound; });
      try {
        weft::sleep_for(1h);
      } catch (const weft::cancelled&) {
        weft::go([&unwound] {
          const std::shared_ptr<void> inner(nullptr, [&](void*) { ++unwound; });
          weft::sleep_for(1h);
        });
      }
    });
    until_waiting(1);
  });
  EXPECT_EQ(unwound, 2);
}

TEST(end_of_run, wakes_a_plain_thread_that_still_waits_with_an_error) {
  std::error_code code;
  std::thread thread;
  const weft::chan<int> c;
  weft::run([&] {
    thread = std::thread([&] {
      try {
        c.recv();
      } catch (const std::system_error& error) {
        code = error.code();
      }
    });
    until_waiting(1);
  });
  thread.join();
  EXPECT_EQ(code, std::errc::operation_canceled);
}

TEST(yield, lets_others_run_on_the_only_processor) {
  weft::run({.maxprocs = 1}, [] {
    std::atomic<int> turn = 0;
    weft::scope s;
    for (int f = 0; f < 3; ++f) {
      s.go([&, f] {
        for (int i = 0; i < 100; ++i) {
          while (turn % 3 != f) weft::yield();
          ++turn;
        }
      });
    }
    s.join();
    EXPECT_EQ(turn, 300);
  });
}

TEST(this_fiber, has_an_id_of_its_own) {
  EXPECT_EQ(weft::this_fiber::id(), 0u) << "a plain thread";
  weft::run([] {
    std::set<std::uint64_t> ids = {weft::this_fiber::id()};
    EXPECT_NE(weft::this_fiber::id(), 0u);
    for (int i = 0; i < 100; ++i) {
      auto fiber = weft::spawn([] { return weft::this_fiber::id(); });
      const auto id = fiber.id();
      EXPECT_EQ(fiber.join(), id);
      EXPECT_TRUE(ids.insert(id).second) << id;
    }
  });
}

TEST(this_fiber, has_a_name_that_is_copied) {
  weft::run([] {
    std::string name = "ingest";
    weft::chan<void> gate;
    auto fiber = weft::spawn(weft::attrs{.name = name.c_str()}, [gate] {
      gate.recv();
      std::string first(weft::this_fiber::name());
      std::string second = "renamed";
      weft::this_fiber::set_name(second.c_str());
      second.assign("xxxxxxx");
      return first + " " + std::string(weft::this_fiber::name());
    });
    name.assign("xxxxxx");
    gate.close();
    EXPECT_EQ(fiber.join(), "ingest renamed");
  });
}

TEST(spawn, gives_the_stack_that_was_asked_for) {
  weft::run([] {
    auto fiber = weft::spawn(weft::attrs{.stack_size = 4 << 20}, [] {
      volatile char deep[3 << 20];
      for (std::size_t i = 0; i < sizeof deep; i += 4096) deep[i] = 1;
      return static_cast<int>(deep[4096]);
    });
    EXPECT_EQ(fiber.join(), 1);
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{16383}, std::size_t{1073741825}}) {
      EXPECT_THROW((void)weft::spawn(weft::attrs{.stack_size = bytes}, [] {}), std::invalid_argument) << bytes;
    }
  });
}

TEST(blocking, gives_the_result_of_its_callable) {
  weft::run([] {
    EXPECT_EQ(weft::blocking([] { return 5; }), 5);
    EXPECT_EQ(*weft::blocking([p = std::make_unique<int>(6)]() mutable { return std::move(p); }), 6);
    int value = 1;
    weft::blocking([&] { value = 2; });
    EXPECT_EQ(value, 2);
    EXPECT_THROW(weft::blocking([]() -> int { throw std::out_of_range("inside"); }), std::out_of_range);
    EXPECT_EQ(weft::blocking([] { return 7; }), 7) << "after an exception too";
  });
}

TEST(blocking, lets_other_fibers_go_on_elsewhere) {
  weft::run({.maxprocs = 1}, [] {
    std::binary_semaphore thread_blocker(0);
    auto other = weft::spawn([&] { thread_blocker.release(); });
    // Would never return if the fiber kept the only P.
    weft::blocking([&] { thread_blocker.acquire(); });
    other.join();
  });
}

TEST(blocking, lets_many_block_at_the_same_time) {
  weft::run({.maxprocs = 1}, [] {
    constexpr int count = 8;
    std::counting_semaphore<count> arrived(0);
    std::counting_semaphore<count> leave(0);
    weft::scope s;
    for (int i = 0; i < count; ++i) {
      s.go([&] {
        weft::blocking([&] {
          arrived.release();
          leave.acquire();
        });
      });
    }
    weft::blocking([&] {
      for (int i = 0; i < count; ++i) arrived.acquire();
    });
    leave.release(count);
    s.join();
  });
}

TEST(run_death, an_exception_that_escapes_a_detached_fiber_ends_the_process) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(weft::run([] {
                weft::go([] { throw std::runtime_error("lost in a fiber"); });
                weft::sleep_for(1h);
              }),
              testing::ExitedWithCode(2), "lost in a fiber");
}

}  // namespace
