// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/selftest.hpp"

#include <cstdio>
#include <cstring>

#include <weft/detail/atomic.hpp>
#include <weft/weft.hpp>

#include "runtime/base/os.hpp"
#include "tests/sim/child.hpp"
#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

using weft::detail::atomic;
namespace os = weft::rt::os;

/// Runs both at the same time.
template <class F, class G>
void beside(F&& f, G&& g) {
  foreign_thread one(f), other(g);
  one.join();
  other.join();
}

// One preemption between a load and a store.
template <bool Broken>
void count_together() {
  atomic<int> n{0};
  const auto count = [&] {
    for (int i = 0; i < 3; ++i) {
      if (Broken)
        n.store(n.load() + 1);
      else
        n.fetch_add(1);
    }
  };
  beside(count, count);
  expect(n.load() == 6, "a count is lost");
}

// The wake comes between the look and the sleep.
template <bool Broken>
void sleep_and_wake() {
  atomic<std::uint32_t> word{0};
  atomic<bool> set{false};
  beside(
      [&] {
        while (!set.load()) os::futex_wait(word, Broken ? word.load() : 0, -1);
      },
      [&] {
        set.store(true);
        if (!Broken) word.store(1);
        os::futex_wake(word);
      });
}

// Seen only by who interrupts at one step and stays away for long.
template <bool Broken>
void long_interruption() {
  atomic<bool> open{false};
  atomic<bool> done{false};
  beside(
      [&] {
        for (int i = 0; i < 10; ++i) {
          open.store(Broken);
          open.store(false);
        }
        done.store(true);
      },
      [&] {
        for (int in_a_row = 0; !done.load();) {
          in_a_row = open.load() ? in_a_row + 1 : 0;
          expect(in_a_row < 100, "it stays open");
        }
      });
}

// Two threads, two locks.
template <bool Broken>
void two_locks() {
  os::mutex a, b;
  const auto both = [](os::mutex& first, os::mutex& second) {
    first.lock();
    second.lock();
    second.unlock();
    first.unlock();
  };
  beside([&] { both(a, b); }, [&] { both(Broken ? b : a, Broken ? a : b); });
}

template <bool Broken>
void leaves_a_thread() {
  foreign_thread t([] { block(ms); });
  if (!Broken) t.join();
}

// The watch looks at the runtime's fibers: with a bound that nobody can keep it must say so.
void keeps_its_turns() {
  weft::run({.maxprocs = 1}, [] {
    weft::scope s;
    for (int i = 0; i < 3; ++i)
      s.go([] {
        for (int k = 0; k < 3; ++k) {
          compute(500 * us);
          weft::yield();
        }
      });
    s.join();
  });
}

struct twins {
  program broken, mended;
  const char* says;
};
constexpr bounds strict = {.ready = 1};
constexpr twins all[] = {
    {{"count_together", count_together<true>}, {"count_together", count_together<false>}, "a count is lost"},
    {{"sleep_and_wake", sleep_and_wake<true>}, {"sleep_and_wake", sleep_and_wake<false>}, "every thread sleeps"},
    {{"long_interruption", long_interruption<true>}, {"long_interruption", long_interruption<false>}, "it stays open"},
    {{"two_locks", two_locks<true>}, {"two_locks", two_locks<false>}, "every thread sleeps"},
    {{"leaves_a_thread", leaves_a_thread<true>}, {"leaves_a_thread", leaves_a_thread<false>}, "a thread is left"},
    {{"keeps_its_turns", keeps_its_turns, strict}, {"keeps_its_turns", keeps_its_turns}, "has no turn"},
};
constexpr std::uint64_t seeds = 300;

bool same(const outcome& a, const outcome& b) noexcept {
  return a.steps == b.steps && a.time == b.time && std::strcmp(a.failure, b.failure) == 0;
}

bool holds(const twins& t) {
  std::uint64_t found = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const plan how = plan_of(seed);
    const verdict mended = run_in_child(t.mended, how, 0);
    if (!mended.passed) {
      std::printf("%s: seed %llu finds a fault where there is none: %s\n", t.mended.name,
                  static_cast<unsigned long long>(seed), mended.seen.failure);
      print_report();
      return false;
    }
    if (found != 0) continue;
    const verdict broken = run_in_child(t.broken, how, 0);
    if (broken.passed) continue;
    found = seed;
    if (std::strstr(broken.seen.failure, t.says) == nullptr) {
      std::printf("%s: seed %llu says: %s; expected: %s\n", t.broken.name, static_cast<unsigned long long>(seed),
                  broken.seen.failure, t.says);
      return false;
    }
    if (!same(broken.seen, run_in_child(t.broken, how, 200).seen)) {
      std::printf("%s: seed %llu is not the same run twice\n", t.broken.name, static_cast<unsigned long long>(seed));
      return false;
    }
  }
  if (found == 0)
    std::printf("%s: not found in %llu seeds\n", t.broken.name, static_cast<unsigned long long>(seeds));
  else
    std::printf("%s: found by seed %llu, and nothing in its twin by %llu seeds\n", t.broken.name,
                static_cast<unsigned long long>(found), static_cast<unsigned long long>(seeds));
  return found != 0;
}

}  // namespace

bool self_test() {
  bool good = true;
  for (const twins& t : all) good = holds(t) && good;
  return good;
}

}  // namespace sim
