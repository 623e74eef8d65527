// SPDX-License-Identifier: Apache-2.0
//
// A dump names every fiber, says what it waits for and where, and hurts nobody: not the fibers that run meanwhile, not
// the one that asks.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <weft/debug.hpp>
#include <weft/weft.hpp>

#include "runtime/sched/scheduler.hpp"
#include "tests/support/undisturbed.hpp"
#include "tests/support/until_waiting.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using weft_test::undisturbed;
using weft_test::until_waiting;

std::string dump() {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* const out = open_memstream(&text, &size);
  weft::debug::dump_fibers(out);
  std::fclose(out);
  std::string result(text, size);
  std::free(text);
  return result;
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++n;
  return n;
}

// Functions with a frame of their own, to be looked for in dumps.
[[gnu::noinline]] void wait_for_a_number(const weft::chan<int>& from) {
  from.recv();
  asm volatile("" ::: "memory");
}
[[gnu::noinline]] void ask_for_a_number(const weft::chan<int>& from) {
  wait_for_a_number(from);
  asm volatile("" ::: "memory");
}
[[gnu::noinline]] weft::fiber<void> start_the_ingest(const weft::chan<int>& from) {
  auto f = weft::spawn({.name = "ingest"}, [from] { ask_for_a_number(from); });
  asm volatile("" ::: "memory");
  return f;
}

TEST(dump, shows_a_waiting_fiber_with_its_name_reason_frames_and_spawn_site) {
  weft::run([] {
    weft::chan<int> numbers;
    auto f = start_the_ingest(numbers);
    until_waiting(1);
    const std::string text = dump();
    EXPECT_THAT(text, ContainsRegex("fiber " + std::to_string(f.id()) +
                                    " \"ingest\" \\[chan receive\\]:\n"
                                    "(    .*\n)*"
                                    "    .*wait_for_a_number.*\n"
                                    "    .*ask_for_a_number.*\n"
                                    "(    .*\n)*"
                                    "  spawned at .*start_the_ingest"));
    numbers.close();
    f.join();
  });
}

TEST(dump, leaves_the_runtime_s_own_frames_out) {
  weft::run([] {
    weft::chan<int> numbers;
    auto f = start_the_ingest(numbers);
    until_waiting(1);
    const std::string text = dump();
    for (const char* own : {"weft::rt::", "run_closure", "callable_ref", "result_slot"})
      EXPECT_THAT(text, Not(HasSubstr(own)));
    numbers.close();
    f.join();
  });
}

TEST(dump, shows_its_caller_as_running_with_the_call) {
  weft::run([] {
    // Its own frame, or that of whom the link-time optimiser put it into.
    EXPECT_THAT(dump(), ContainsRegex("fiber [0-9]+ \"main\" \\[running\\]:\n"
                                      "(    .*\n)*    .*::dump(_fibers|\\[abi:cxx11\\])?\\(.*\n"));
  });
}

TEST(dump, tells_each_reason_in_go_s_words) {
  weft::run([] {
    weft::chan<int> c;
    weft::mutex m;
    weft::wait_group g;
    g.add();
    m.lock();
    weft::scope s;
    s.go([&] { c.send(1); });
    s.go([&] { m.lock(), m.unlock(); });
    s.go([&] { g.wait(); });
    s.go([&] {
      weft::cancel_scope forever;
      forever.run([] { weft::sleep_for(1h); });
    });
    s.go([] { weft::chan<int>(nullptr).recv(); });
    until_waiting(5);
    const std::string text = dump();
    for (const char* reason :
         {"[chan send]", "[mutex.lock]", "[wait_group.wait]", "[sleep]", "[chan receive (nil chan)]"})
      EXPECT_THAT(text, HasSubstr(reason));
    m.unlock();
    s.cancel();
    c.recv_for(0ns);
    s.join();
  });
}

TEST(dump, says_since_when_once_it_is_minutes) {
  weft::run([] {
    weft::chan<int> numbers;
    auto f = start_the_ingest(numbers);
    until_waiting(1);
    weft::rt::for_each_g([&](weft::rt::G& g) {
      if (g.id == f.id()) g.since.store(weft::rt::steady_now() - std::chrono::nanoseconds(5min + 1s).count());
    });
    EXPECT_THAT(dump(), HasSubstr("\"ingest\" [chan receive, 5 minutes]:"));
    numbers.close();
    f.join();
  });
}

TEST(dump, shows_one_that_has_not_started) {
  weft::run({.maxprocs = 1}, [] {
    const std::string text = undisturbed([] {
      auto f = weft::spawn({.name = "late"}, [] {});
      std::string meanwhile = dump();
      f.join();
      return meanwhile;
    });
    EXPECT_THAT(text, ContainsRegex("\"late\" \\[runnable\\]:\n    \\(has not started\\)\n  spawned at"));
  });
}

TEST(dump, shows_one_that_is_ready_where_it_will_go_on) {
  weft::run({.maxprocs = 1}, [] {
    const std::string text = undisturbed([] {
      weft::chan<int> numbers;
      auto f = start_the_ingest(numbers);
      until_waiting(1);
      numbers.close();  // ready now, and has no P to run on
      std::string meanwhile = dump();
      f.join();
      return meanwhile;
    });
    EXPECT_THAT(text, ContainsRegex("\"ingest\" \\[runnable\\]:\n(    .*\n)*    .*wait_for_a_number"));
  });
}

TEST(dump, names_the_system_call_in_which_a_fiber_blocks_its_thread) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  weft::run({.maxprocs = 2}, [&] {
    auto f = weft::spawn({.name = "blocker"}, [&] {
      char byte;
      EXPECT_EQ(read(ends[0], &byte, 1), 1);
    });
    std::string text;
    do text = dump();
    while (text.find("    in read(2)") == std::string::npos);  // until it is there
    EXPECT_THAT(text, ContainsRegex(
                          "\"blocker\" \\[running\\]:\n    \\(on thread [0-9]+: its stack cannot be read from here\\)\n"
                          "    in read\\(2\\)"));
    EXPECT_EQ(write(ends[1], "x", 1), 1);
    f.join();
  });
  close(ends[0]);
  close(ends[1]);
}

// What it follows, the stack of a fiber that runs, may have been made a moment before.
TEST(dump, follows_fibers_that_begin_on_new_stacks_and_block) {
  weft::run({.maxprocs = 2}, [] {
    constexpr int fibers = 60;
    std::atomic<bool> over{false};
    std::atomic<int> seen{0};
    std::thread watcher([&] {
      while (!over.load())
        if (dump().find("nanosleep(2)") != std::string::npos) seen.fetch_add(1);
    });
    weft::chan<void> gate;
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < fibers; ++i) {
      const int before = seen.load();
      std::atomic<bool> noticed{false};
      all.push_back(weft::spawn([&, gate] {
        while (!noticed.load()) usleep(200);
        gate.recv();  // its stack is not the next one's
      }));
      weft_test::until([&] { return seen.load() > before; });
      noticed.store(true);
      until_waiting(static_cast<std::size_t>(i) + 1);
    }
    over.store(true);
    gate.close();
    for (auto& f : all) f.join();
    weft::blocking([&] { watcher.join(); });
  });
}

TEST(dump, says_that_a_fiber_is_in_blocking) {
  weft::run({.maxprocs = 2}, [] {
    std::atomic<bool> inside{false};
    std::atomic<bool> go_on{false};
    auto f = weft::spawn([&] {
      weft::blocking([&] {
        inside = true;
        while (!go_on) std::this_thread::yield();
      });
    });
    while (!inside) weft::yield();
    EXPECT_THAT(dump(), HasSubstr("[running, in blocking(f)]"));
    go_on = true;
    f.join();
  });
}

TEST(dump, gives_fibers_that_wait_alike_one_stack) {
  constexpr int fibers = 100;
  weft::run([] {
    weft::chan<int> numbers;
    weft::wait_group all;
    for (int i = 0; i < fibers; ++i) all.go([numbers] { wait_for_a_number(numbers); });
    until_waiting(fibers);
    const std::string text = dump();
    EXPECT_THAT(text, HasSubstr("(100 fibers with this stack)"));
    EXPECT_THAT(text, ContainsRegex("and 80 more: [0-9]+-[0-9]+"));
    EXPECT_EQ(count(text, "wait_for_a_number"), 1u);
    EXPECT_EQ(count(text, "[chan receive]:"), 20u);
    EXPECT_THAT(text, HasSubstr("101 fibers"));
    numbers.close();
    all.wait();
  });
}

[[gnu::noinline]] void go_down(int depth, const weft::chan<int>& from) {
  if (depth == 0)
    from.recv();
  else
    go_down(depth - 1, from);
  asm volatile("" ::: "memory");
}

TEST(dump, leaves_out_the_middle_of_a_deep_stack) {
  weft::run([] {
    weft::chan<int> numbers;
    auto f = weft::spawn([numbers] { go_down(500, numbers); });
    until_waiting(1);
    const std::string text = dump();
    EXPECT_THAT(text, ContainsRegex("    \\.\\.\\. 4[0-9][0-9] frames left out \\.\\.\\.\n"));
    EXPECT_LE(count(text, "go_down"), 100u);
    numbers.close();
    f.join();
  });
}

TEST(dump, works_on_the_smallest_stack) {
  weft::run([] { weft::spawn({.stack_size = 16 * 1024}, [] { EXPECT_THAT(dump(), HasSubstr("[running]")); }).join(); });
}

TEST(dump, works_from_a_plain_thread_and_shows_plain_threads_that_wait) {
  weft::run([] {
    weft::chan<int> numbers;
    std::thread waits([numbers] { numbers.recv(); });
    until_waiting(1);
    std::string text;
    std::thread asks([&] { text = dump(); });
    asks.join();
    EXPECT_THAT(text, HasSubstr("a plain thread [chan receive]\n"));
    EXPECT_THAT(text, HasSubstr("\"main\" [running]:\n    (on thread "));
    numbers.close();
    waits.join();
  });
}

TEST(dump, says_that_no_runtime_runs) { EXPECT_EQ(dump(), "weft: no runtime runs\n"); }

TEST(dump, distrusts_names) {
  weft::run([] {
    weft::this_fiber::set_name("a\nb\"c\x1b[2J");
    EXPECT_THAT(dump(), HasSubstr("\"a?b?c?[2J\" [running]"));
  });
}

TEST(dump, harms_nobody_who_runs_meanwhile) {
  weft_test::watchdog dog(60s);
  weft::run({.maxprocs = 4}, [] {
    std::atomic<bool> done{false};
    weft::scope s;
    for (int i = 0; i < 4; ++i) {
      s.go([&] {  // parks and wakes
        weft::chan<int> ping, pong;
        weft::scope pair;
        pair.go([=] {
          for (int n : ping) pong.send(n + 1);
        });
        for (int n = 0; !done; ++n) {
          ping.send(n);
          EXPECT_EQ(pong.recv(), n + 1);
        }
        ping.close();
        pair.join();
      });
      s.go([&] {
        while (!done) weft::yield();
      });
      s.go([&] {
        while (!done) weft::spawn([] { go_down(20, weft::chan<int>(1)); }).cancel();
      });  // comes and goes
    }
    for (int i = 0; i < 200; ++i) EXPECT_THAT(dump(), HasSubstr("\"main\" [running]"));
    done = true;
    s.join();
  });
}

}  // namespace
