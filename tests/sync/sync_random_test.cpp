// SPDX-License-Identifier: Apache-2.0
//
// Random sequences of operations against a sequential reference. One fiber at a time acts, chosen by the seed; between
// two steps all others either wait where the reference says that they do, or have got what it says that they got.
//
// A worker takes one order at a time from a channel of its own. The conductor gives an order, lets the world come to
// rest (each worker idle or parked in its operation), and compares. WEFT_RANDOM_SEED=N runs that seed alone.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/until_waiting.hpp"

namespace {

enum class end : int { pending, ok, cancelled, refused };

/// A fiber that does what it is told; `outcome` is that of the last order.
class worker {
 public:
  worker()
      : fiber_(weft::spawn([this] {
          for (auto& order : orders_) {
            end how = end::ok;
            weft::cancel_scope region;
            region_.store(&region);
            if (!region.run([&] { how = order() ? end::ok : end::refused; })) how = end::cancelled;
            outcome.store(how);
          }
        })) {}
  ~worker() {
    orders_.close();
    fiber_.join();
  }
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  void tell(std::function<bool()> order) {
    outcome.store(end::pending);
    orders_.send(std::move(order));
  }
  void cancel() { region_.load()->cancel(); }

  std::atomic<end> outcome{end::ok};

 private:
  weft::chan<std::function<bool()>> orders_;
  std::atomic<weft::cancel_scope*> region_{nullptr};
  weft::fiber<void> fiber_;
};

constexpr std::size_t workers = 5;
constexpr int steps = 150;

/// What a test of one type says: the object's operations, and the reference's.
class world {
 public:
  explicit world(unsigned seed) : seed_(seed), random_(seed) {}

  unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }
  worker& at(std::size_t i) { return crew_[i]; }
  bool idle(std::size_t i) const { return expected_[i] != end::pending; }
  void expect(std::size_t i, end how) { expected_[i] = how; }

  /// Until every worker waits, for an order or in its operation; then all is as the reference says.
  ::testing::AssertionResult settle(const std::string& what) {
    log_ += what + "; ";
    weft_test::until_waiting(workers);
    for (std::size_t i = 0; i < workers; ++i) {
      const end is = crew_[i].outcome.load();
      if (is != expected_[i])
        return ::testing::AssertionFailure()
               << "seed " << seed_ << ": worker " << i << " has come to " << static_cast<int>(is)
               << " where the reference says " << static_cast<int>(expected_[i]) << " after: " << log_;
    }
    return ::testing::AssertionSuccess();
  }

 private:
  unsigned seed_;
  std::mt19937 random_;
  worker crew_[workers];
  end expected_[workers] = {end::ok, end::ok, end::ok, end::ok, end::ok};
  std::string log_;
};

template <class Test>
void for_seeds(unsigned count, Test test) {
  const char* const only = std::getenv("WEFT_RANDOM_SEED");
  const unsigned first = only != nullptr ? static_cast<unsigned>(std::strtoul(only, nullptr, 0)) : 1;
  for (unsigned seed = first; seed < first + (only != nullptr ? 1 : count); ++seed) {
    weft::run({.maxprocs = seed % 2 == 0 ? 1 : 3}, [&] { test(seed); });
    if (testing::Test::HasFatalFailure()) return;
  }
}

void semaphore_against_reference(unsigned seed) {
  struct request {
    std::size_t who;
    int amount;
  };
  std::mt19937 start(seed);
  int free = static_cast<int>(start() % 4);
  weft::semaphore s(free);
  std::deque<request> queue;
  world w(seed);
  const auto grant = [&] {
    while (!queue.empty() && queue.front().amount <= free) {
      free -= queue.front().amount;
      w.expect(queue.front().who, end::ok);
      queue.pop_front();
    }
  };
  for (int step = 0; step < steps; ++step) {
    const std::size_t who = w.below(workers);
    const int n = static_cast<int>(w.below(5));
    std::string what = std::to_string(who);
    switch (w.below(4)) {
      case 0:
        if (!w.idle(who)) continue;
        what += " acquires " + std::to_string(n);
        w.expect(who, end::pending);
        queue.push_back({who, n});
        grant();
        w.at(who).tell([&s, n] {
          s.acquire(n);
          return true;
        });
        break;
      case 1: {
        what = "try " + std::to_string(n);
        const bool fits = queue.empty() && n <= free;
        if (fits) free -= n;
        ASSERT_EQ(s.try_acquire(n), fits) << "seed " << seed;
        break;
      }
      case 2:
        what = "release " + std::to_string(n);
        free += n;
        grant();
        s.release(n);
        break;
      default:
        if (w.idle(who)) continue;
        what += " is cancelled";
        std::erase_if(queue, [&](const request& r) { return r.who == who; });
        w.expect(who, end::cancelled);
        grant();
        w.at(who).cancel();
    }
    ASSERT_TRUE(w.settle(what));
  }
  s.release(1000);  // the crew goes home
}

TEST(sync_random, semaphore) { for_seeds(200, semaphore_against_reference); }

void mutex_against_reference(unsigned seed) {
  constexpr std::size_t nobody = workers;
  weft::mutex m;
  std::size_t owner = nobody;
  std::deque<std::size_t> queue;
  world w(seed);
  for (int step = 0; step < steps; ++step) {
    const std::size_t who = w.below(workers);
    std::string what = std::to_string(who);
    switch (w.below(3)) {
      case 0:
        if (!w.idle(who) || owner == who) continue;
        what += " locks";
        if (owner == nobody) {
          owner = who;
          w.expect(who, end::ok);
        } else {
          queue.push_back(who);
          w.expect(who, end::pending);
        }
        w.at(who).tell([&m] {
          m.lock();
          return true;
        });
        break;
      case 1:
        if (!w.idle(who)) continue;
        what += " tries";
        w.expect(who, owner == nobody ? end::ok : end::refused);
        if (owner == nobody) owner = who;
        w.at(who).tell([&m] { return m.try_lock(); });
        break;
      default:
        if (owner == nobody) continue;
        // Nobody comes in between, so whoever waits first has it: handed over or woken.
        what = std::to_string(owner) + " unlocks";
        owner = nobody;
        if (!queue.empty()) {
          owner = queue.front();
          queue.pop_front();
          w.expect(owner, end::ok);
        }
        m.unlock();
    }
    ASSERT_TRUE(w.settle(what));
  }
  while (owner != nobody) {
    owner = nobody;
    if (!queue.empty()) {
      owner = queue.front();
      queue.pop_front();
      w.expect(owner, end::ok);
    }
    m.unlock();
    ASSERT_TRUE(w.settle("unlock"));
  }
}

TEST(sync_random, mutex) { for_seeds(200, mutex_against_reference); }

void wait_group_against_reference(unsigned seed) {
  weft::wait_group group;
  int count = 0;
  std::vector<std::size_t> waiting;
  world w(seed);
  const auto let_go = [&] {
    if (count != 0) return;
    for (const std::size_t who : waiting) w.expect(who, end::ok);
    waiting.clear();
  };
  for (int step = 0; step < steps; ++step) {
    const std::size_t who = w.below(workers);
    std::string what = std::to_string(who);
    switch (w.below(4)) {
      case 0: {
        const int n = static_cast<int>(w.below(6)) - 3;
        what = "add " + std::to_string(n);
        if (count + n < 0) {
          ASSERT_THROW(group.add(n), std::logic_error) << "seed " << seed;
        } else {
          count += n;
          group.add(n);
          let_go();
        }
        break;
      }
      case 1:
        if (!w.idle(who)) continue;
        what += " waits";
        waiting.push_back(who);
        w.expect(who, end::pending);
        let_go();
        w.at(who).tell([&group] {
          group.wait();
          return true;
        });
        break;
      case 2:
        what = "look";
        ASSERT_EQ(group.wait_for(std::chrono::seconds(0)), count == 0) << "seed " << seed;
        break;
      default:
        if (w.idle(who)) continue;
        what += " is cancelled";
        std::erase(waiting, who);
        w.expect(who, end::cancelled);
        w.at(who).cancel();
    }
    ASSERT_TRUE(w.settle(what));
  }
  group.add(-count);  // the crew goes home
}

TEST(sync_random, wait_group) { for_seeds(200, wait_group_against_reference); }

}  // namespace
