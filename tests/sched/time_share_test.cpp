// SPDX-License-Identifier: Apache-2.0
//
// Turns are measured in time: who waits for a timer, a socket or another thread waits for some turns of those that run,
// not for a number of picks, however long a pick lasts. The tests count turns: how many others had until one had its own.
// So a thread that is kept off its CPU for long changes little: nobody has a turn then.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "runtime/sched/scheduler.hpp"
#include "tests/support/undisturbed.hpp"
#include "tests/support/until_waiting.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using weft_test::undisturbed;
using weft_test::until;
using weft_test::waiting;

using counter = std::atomic<long>;

long look_at(const counter& c) noexcept { return c.load(std::memory_order_relaxed); }
void count(counter& c) noexcept { c.fetch_add(1, std::memory_order_relaxed); }

void compute_for(weft::clock::duration time) {
  for (const auto end = weft::clock::now() + time; weft::clock::now() < end;) {
  }
}

/// Fibers that go on until this ends: `turn` again and again.
class crowd {
 public:
  template <class F>
  crowd(int size, F turn) : turns_(static_cast<std::size_t>(size)) {
    for (counter& mine : turns_) {
      fibers_.go([this, &mine, turn] {
        while (!over_.load(std::memory_order_relaxed)) {
          turn();
          count(mine);
        }
      });
    }
    until([&] { return fewest() > 0; });
  }
  ~crowd() {
    over_.store(true, std::memory_order_relaxed);
    fibers_.join();
  }

  long turns() const {
    long sum = 0;
    for (const counter& each : turns_) sum += look_at(each);
    return sum;
  }
  /// Of the one that had the fewest.
  long fewest() const {
    long least = look_at(turns_.front());
    for (const counter& each : turns_) least = std::min(least, look_at(each));
    return least;
  }

 private:
  std::vector<counter> turns_;
  std::atomic<bool> over_{false};
  weft::scope fibers_;
};

void compute_and_yield() {
  compute_for(1ms);
  weft::yield();
}
void compute_for_a_moment_and_yield() {
  compute_for(100us);
  weft::yield();
}

class time_share : public testing::Test {
 private:
  weft_test::watchdog watchdog_{60s};
};

constexpr int rounds = 20;
constexpr long few = 5;  ///< turns of others that one round may wait for

TEST_F(time_share, a_sleeper_waits_for_few_turns) {
  weft::run({.maxprocs = 1}, [] {
    crowd slicers(2, compute_and_yield);
    const long before = slicers.turns();
    for (int i = 0; i < rounds; ++i) weft::sleep_for(1ms);
    EXPECT_LT(slicers.turns() - before, rounds * few);
  });
}

/// A plain thread between two rounds, so that each begins at another place among the picks. Returns the turns so far.
long after_a_pause(const crowd& slicers, int round) {
  const long end = slicers.turns() + 65 + 3 * round;
  while (slicers.turns() < end) usleep(100);
  return slicers.turns();
}

/// A plain thread: sends a byte and waits for its echo, and notes before each how many turns there were.
void ask_for_echoes(std::uint16_t port, const crowd& slicers, counter& asked_at) {
  const int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(port);
  EXPECT_EQ(connect(s, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  for (int i = 0; i < rounds; ++i) {
    char byte = 'x';
    asked_at.store(after_a_pause(slicers, i));
    EXPECT_EQ(send(s, &byte, 1, 0), 1);
    EXPECT_EQ(recv(s, &byte, 1, 0), 1);
  }
  close(s);
}

TEST_F(time_share, a_byte_from_a_socket_waits_for_few_turns) {
  weft::run({.maxprocs = 1}, [] {
    crowd slicers(2, compute_for_a_moment_and_yield);
    counter asked_at{0};
    auto listener = weft::net::listen("127.0.0.1:0");
    std::thread client([&, port = listener.local_endpoint().port()] { ask_for_echoes(port, slicers, asked_at); });
    auto stream = listener.accept();
    long waited = 0;
    char byte = 0;
    while (stream->read_some(std::span(&byte, 1)) == 1) {
      waited += slicers.turns() - asked_at.load();
      stream->write_some(std::span(&byte, 1));
    }
    EXPECT_LT(waited, rounds * few);
    weft::blocking([&] { client.join(); });
  });
}

TEST_F(time_share, whom_a_thread_wakes_waits_for_few_turns) {
  weft::run({.maxprocs = 1}, [] {
    crowd slicers(2, compute_for_a_moment_and_yield);
    weft::chan<long> asked;
    weft::chan<void> answered;
    std::thread waker([&] {
      for (int i = 0; i < rounds; ++i) {
        asked.send(after_a_pause(slicers, i));
        EXPECT_TRUE(answered.recv());
      }
      asked.close();
    });
    long waited = 0;
    for (const long then : asked) {
      waited += slicers.turns() - then;
      answered.send();
    }
    EXPECT_LT(waited, rounds * few);
    weft::blocking([&] { waker.join(); });
  });
}

TEST_F(time_share, the_global_queue_and_the_ring_go_on_by_turns) {
  weft::run({.maxprocs = 1}, [] {
    crowd slicers(2, compute_for_a_moment_and_yield);
    constexpr int size = 100;
    std::atomic<int> ready_to_wait{0};
    std::atomic<long> at_first{-1}, at_last{0};
    weft::event begin;
    weft::scope others;
    for (int i = 0; i < size; ++i) {
      others.go([&] {
        ready_to_wait.fetch_add(1);
        begin.wait();
        if (at_first.load() < 0) at_first.store(slicers.turns());
        compute_for(100us);
        at_last.store(slicers.turns());
      });
    }
    until([&] { return ready_to_wait.load() == size; });
    // Until the monitor has seen how long the turns are each pick need not be a look.
    until([] { return weft::rt::sched.all_ps[0].load()->look_every.load() == 1; });
    const long seen = slicers.turns();
    until([&] { return slicers.turns() > seen + long{weft::rt::P::rarest_look}; });
    std::thread waker([&] { begin.set(); });
    others.join();
    const long beside = at_last.load() - at_first.load();
    EXPECT_GT(beside, size / 2);
    EXPECT_LT(beside, size * 10);
    weft::blocking([&] { waker.join(); });
  });
}

/// While one of them computes, the other one's time comes: so one that is due is always there, alone.
TEST_F(time_share, those_that_are_due_and_the_ring_go_on_by_turns) {
  weft::run({.maxprocs = 1}, [] {
    crowd sleepers(2, [] {
      weft::sleep_for(1us);
      compute_for(100us);
    });
    crowd slicers(2, compute_for_a_moment_and_yield);
    const long slept = sleepers.turns(), before = slicers.turns();
    until([&] { return sleepers.turns() > slept + 300 && slicers.turns() > before + 300; });
    EXPECT_GT(slicers.turns() - before, (sleepers.turns() - slept) / 5);
    EXPECT_GT(sleepers.turns() - slept, (slicers.turns() - before) / 5);
  });
}

/// Three become due within a turn, and one more alone while these wait behind others. Returns in which order they woke;
/// empty if the first one was due before the last had gone to sleep.
std::vector<int> order_of_sleepers() {
  constexpr int size = 16;
  std::vector<int> order;
  weft::mutex m;
  const auto start = weft::clock::now() + 30ms;
  weft::scope s;
  for (int i = 0; i < size; ++i) {
    s.go([&, i] {
      weft::sleep_until(start + i / 4 * 6ms + (i % 4 == 3 ? 1500us : i % 4 * 10us));
      const std::lock_guard lock(m);
      order.push_back(i);
    });
  }
  bool all_asleep = false;
  until([&] {
    all_asleep = waiting() >= size;
    return all_asleep || weft::clock::now() >= start;
  });
  s.join();
  return all_asleep ? order : std::vector<int>();
}

TEST_F(time_share, sleepers_wake_in_order) {
  weft::run({.maxprocs = 1}, [] {
    crowd slicers(4, compute_and_yield);
    std::vector<int> woken;
    while (woken.empty()) woken = undisturbed(order_of_sleepers);
    EXPECT_EQ(woken.size(), 16u);
    EXPECT_TRUE(std::is_sorted(woken.begin(), woken.end())) << testing::PrintToString(woken);
  });
}

/// Two fibers that hand a ball to and fro and call `turn` when they have it, until `over`.
template <class F>
void play(weft::scope& s, const std::atomic<bool>& over, counter& round_trips, F turn) {
  weft::chan<int> ping, pong;
  s.go([ping, pong, turn] {
    for (const int ball : ping) {
      turn();
      pong.send(ball);
    }
  });
  s.go([&, ping, pong, turn] {
    while (!over.load(std::memory_order_relaxed)) {
      turn();
      ping.send(1);
      pong.recv();
      count(round_trips);
    }
    ping.close();
  });
}

TEST_F(time_share, a_pair_with_long_turns_leaves_as_much_time_to_one_with_short_turns) {
  weft::run({.maxprocs = 1}, [] {
    std::atomic<bool> over{false};
    counter heavy{0}, light{0};
    weft::scope s;
    play(s, over, heavy, [] { compute_for(1ms); });
    play(s, over, light, [] {});
    while (look_at(heavy) < 50) weft::sleep_for(1ms);
    over.store(true);
    s.join();
    EXPECT_GT(look_at(light), 10 * look_at(heavy));
  });
}

/// Ten fibers come back from blocking calls without the one P, again and again, and `then` each time.
template <class F>
void beside_blocking_calls(F then) {
  weft::run({.maxprocs = 1}, [&] {
    crowd callers(10, [&] {
      weft::blocking([] { usleep(200); });
      then();
    });
    crowd yielders(4, weft::yield);
    // The callers have threads of their own, so where other programs take the CPUs it is the yielders' one that waits.
    constexpr int tries = 20;
    int bad = 0;
    for (bool many = false; !many && bad < tries;) {
      const long calls = callers.turns(), turns = yielders.turns();
      until([&] { return callers.turns() > calls + 200 && yielders.turns() > turns + 10'000; });
      many = yielders.turns() - turns > 8 * (callers.turns() - calls);
      bad += many ? 0 : 1;
    }
    EXPECT_LT(bad, tries);
  });
}

TEST_F(time_share, yielders_have_many_turns_beside_each_blocking_call_of_others) { beside_blocking_calls(weft::yield); }
TEST_F(time_share, yielders_have_many_turns_beside_each_blocking_call_of_sleepers) {
  beside_blocking_calls([] { weft::sleep_for(1us); });
}

/// Threads for them are started one after another; a plain thread shows how many ticks that has room for.
TEST_F(time_share, a_ticker_goes_on_beside_a_burst_of_blocking_calls) {
  weft::run({.maxprocs = 1}, [] {
    std::atomic<bool> all_begun{false};
    counter ticks{0}, thread_ticks{0};
    constexpr int size = 200;
    std::atomic<int> begun{0};
    weft::scope s;
    s.go([&] {
      for (; !all_begun.load(); count(ticks)) weft::sleep_for(1ms);
    });
    std::thread ticker([&] {
      for (; !all_begun.load(); count(thread_ticks)) usleep(1000);
    });
    for (int i = 0; i < size; ++i) {
      s.go([&] {
        weft::blocking([&] {
          if (begun.fetch_add(1) == size - 1) all_begun.store(true);
          usleep(100'000);
        });
      });
    }
    s.join();
    EXPECT_GT(16 * look_at(ticks) + 20, look_at(thread_ticks));
    weft::blocking([&] { ticker.join(); });
  });
}

template <class F>
void beside_hogs(int processors, F turn) {
  weft::run({.maxprocs = processors}, [&] {
    crowd hogs(8 * processors, turn);
    for (int i = 0; i < rounds; ++i) weft::sleep_for(1ms);
    const long before = hogs.fewest();
    until([&] { return hogs.fewest() > before; });
  });
}

void lock_and_unlock() {
  weft::mutex m;
  const std::lock_guard lock(m);
}

TEST_F(time_share, eight_hogs_a_processor_all_go_on_and_a_sleeper_beside_them) {
  for (const int processors : {1, 2}) {
    beside_hogs(processors, [] {});
    beside_hogs(processors, lock_and_unlock);
  }
}

}  // namespace
