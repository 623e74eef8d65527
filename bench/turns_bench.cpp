// SPDX-License-Identifier: Apache-2.0
//
// Who gets a turn under load: how late a sleeper wakes, and what others get done, beside fibers that never wait, that
// compute long slices, that block for a moment again and again, or that all block at once. (Sockets under load are in
// stalls_bench.cpp.)
//
// Invariants:
// - Every row ends. A plain thread says when: a sleeper whom the hogs kept from running wakes when they stop, and what
//   it reports is the whole span. If even that does not help, the same thread reports the span and ends the process.
// - A burn() lasts a time on the clock; a spin() is a fixed amount of work, for where a turn that is interrupted must
//   not become shorter.
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <weft/weft.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "bench/harness.hpp"

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

void report(const bench::context& c, const std::vector<double>& values, std::string_view unit) {
  double sum = 0;
  for (const double each : values) sum += each;
  c.report(c.row + "_mean", sum / static_cast<double>(std::max<std::size_t>(values.size(), 1)), unit);
  c.report(c.row + "_p50", bench::percentile(values, 0.5), unit);
  c.report(c.row + "_p99", bench::percentile(values, 0.99), unit);
  c.report(c.row + "_p999", bench::percentile(values, 0.999), unit);
  c.report(c.row + "_worst", bench::percentile(values, 1.0), unit);
}

/// The time that a row, or a part of it, lasts.
class span {
 public:
  span(const bench::context& c, milliseconds length) : thread_([this, &c, length] { keep_time(c, length); }) {}
  span(const span&) = delete;
  span& operator=(const span&) = delete;
  ~span() {
    {
      const std::lock_guard hold(lock_);
      gone_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  bool over() const { return over_.load(std::memory_order_relaxed); }  // relaxed: nothing is handed over with it
  void end() { over_.store(true, std::memory_order_relaxed); }

 private:
  void keep_time(const bench::context& c, milliseconds length) {
    const auto gone = [this] { return gone_; };
    std::unique_lock hold(lock_);
    if (changed_.wait_for(hold, length, gone)) return;
    end();
    if (changed_.wait_for(hold, 10s, gone)) return;
    std::fprintf(stderr, "%s at w=%d: still runs 10 s after all were told to end\n", c.row.c_str(), c.w);
    report(c, {std::chrono::duration<double, std::milli>(length).count()}, "ms");
    ::_exit(1);
  }

  std::atomic<bool> over_{false};
  std::mutex lock_;
  std::condition_variable changed_;
  bool gone_ = false;
  std::thread thread_;  // last: it uses the others
};

void burn(nanoseconds how_long) {
  const auto end = bench::now_ns() + how_long.count();
  while (bench::now_ns() < end) {
  }
}

void spin(long steps) {
  std::uint64_t x = 1;
  for (long i = 0; i < steps; ++i) x = x * 6364136223846793005U + 1442695040888963407U;
  [[maybe_unused]] const volatile std::uint64_t sink = x;
}

long steps_in(nanoseconds how_long) {
  constexpr long sample = 1'000'000;
  auto best = std::numeric_limits<std::int64_t>::max();
  for (int i = 0; i < 5; ++i) {
    const auto start = bench::now_ns();
    spin(sample);
    best = std::min(best, bench::now_ns() - start);
  }
  return how_long.count() * sample / best;
}

/// Sleeps again and again until `row` is over: how late each sleep ended, in ms.
template <class Sleep>
std::vector<double> lateness(const span& row, milliseconds how_long, Sleep sleep) {
  std::vector<double> late;
  while (!row.over()) {
    const auto start = bench::now_ns();
    sleep(how_long);
    late.push_back(static_cast<double>(bench::now_ns() - start - nanoseconds(how_long).count()) / 1e6);
  }
  return late;
}

std::vector<double> lateness(const span& row, milliseconds how_long) {
  return lateness(row, how_long, [](milliseconds d) { weft::sleep_for(d); });
}

// -- fibers that never wait

using hog = void (*)(const span&);

const std::vector<std::pair<std::string, hog>> hog_kinds = {
    {"pure",
     [](const span& row) {
       while (!row.over()) {
       }
     }},
    {"mutex",
     [](const span& row) {
       weft::mutex mine;
       while (!row.over()) {
         mine.lock();
         mine.unlock();
       }
     }},
    {"chan",
     [](const span& row) {
       weft::chan<int> mine(1);
       while (!row.over()) {
         mine.send(1);
         mine.recv();
       }
     }},
    {"select",
     [](const span& row) {
       weft::chan<int> mine(1);
       while (!row.over()) weft::select(weft::on_send(mine, 1), weft::on_recv(mine, [](std::optional<int>) {}));
     }},
    {"timer",
     [](const span& row) {
       while (!row.over()) {
         weft::timer far(1h);
         far.stop();
       }
     }},
};

void hogs(const bench::context& c, hog kind, int per_p) {
  weft::run({.maxprocs = c.w}, [&] {
    span row(c, milliseconds(c.scale(2000)));
    weft::scope all;
    for (int i = 0; i < per_p * c.w; ++i) all.go([&] { kind(row); });
    const auto late = lateness(row, 5ms);
    all.join();
    report(c, late, "ms");
  });
}

// The same by plain threads: what the kernel's scheduler makes of it.
void threads(const bench::context& c, int per_p) {
  span row(c, milliseconds(c.scale(2000)));
  std::vector<std::thread> all;
  for (int i = 0; i < per_p * c.w; ++i)
    all.emplace_back([&] {
      while (!row.over()) {
      }
    });
  const auto late = lateness(row, 5ms, [](milliseconds d) { std::this_thread::sleep_for(d); });
  for (auto& each : all) each.join();
  report(c, late, "ms");
}

void slices(const bench::context& c, milliseconds slice) {
  weft::run({.maxprocs = c.w}, [&] {
    span row(c, milliseconds(c.scale(2000)));
    weft::scope all;
    for (int i = 0; i < 2; ++i)
      all.go([&] {
        while (!row.over()) {
          burn(slice);
          weft::yield();
        }
      });
    const auto late = lateness(row, 1ms);
    all.join();
    report(c, late, "ms");
  });
}

// -- two pairs with turns of unlike length

/// Two fibers that hand a value to and fro, each working for `steps` before it does.
struct ping_pong {
  long steps;
  long trips = 0;
  weft::chan<int> there{0};
  weft::chan<int> back{0};

  explicit ping_pong(long steps_a_turn) : steps(steps_a_turn) {}

  void start(weft::scope& in, const span& row) {
    in.go([this] {
      while (const auto value = there.recv()) {
        spin(steps);
        back.send(*value);
      }
    });
    in.go([this, &row] {
      for (; !row.over(); ++trips) {
        spin(steps);
        there.send(1);
        back.recv();
      }
      there.close();
    });
  }
};

/// What one round trip costs with nobody else about, in ns.
double trip_alone(const bench::context& c, long steps) {
  ping_pong only(steps);
  span part(c, milliseconds(c.scale(300)));
  const auto start = bench::now_ns();
  weft::scope all;
  only.start(all, part);
  all.join();
  return static_cast<double>(bench::now_ns() - start) / static_cast<double>(std::max(only.trips, 1L));
}

// The time that a pair got is its round trips times what one costs alone; the figure is the greater by the smaller.
void pairs(const bench::context& c) {
  const long long_turn = steps_in(300us), short_turn = steps_in(300ns);
  weft::run({.maxprocs = c.w}, [&] {
    const double long_trip = trip_alone(c, long_turn), short_trip = trip_alone(c, short_turn);
    ping_pong slow(long_turn), quick(short_turn);
    span row(c, milliseconds(c.scale(3000)));
    weft::scope all;
    slow.start(all, row);
    quick.start(all, row);
    all.join();
    const double slow_got = long_trip * static_cast<double>(std::max(slow.trips, 1L));
    const double quick_got = short_trip * static_cast<double>(std::max(quick.trips, 1L));
    c.report("pairs_ratio", std::max(slow_got / quick_got, quick_got / slow_got), "x");
  });
}

// -- fibers that block their thread

// The slack is the thread's, and fibers move: it is set each time.
void nap(nanoseconds how_long) {
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  const timespec wait{0, how_long.count()};
  ::nanosleep(&wait, nullptr);
}

void short_blocks(const bench::context& c) {
  weft::run({.maxprocs = c.w}, [&] {
    span row(c, milliseconds(c.scale(2000)));
    weft::scope all;
    for (int i = 0; i < 8; ++i)
      all.go([&] {
        while (!row.over()) {
          nap(30us);
          spin(5000);
        }
      });
    const auto late = lateness(row, 1ms);
    all.join();
    report(c, late, "ms");
  });
}

// Cold: no thread was started yet for any of the calls, and the row is too short to be shortened by --quick.
void burst(const bench::context& c, int calls) {
  weft::run({.maxprocs = c.w}, [&] {
    span row(c, 4s);
    auto ticker = weft::spawn([&] { return lateness(row, 1ms); });
    weft::sleep_for(50ms);
    const auto start = bench::now_ns();
    weft::scope all;
    for (int i = 0; i < calls; ++i) all.go([] { weft::blocking([] { std::this_thread::sleep_for(300ms); }); });
    all.join();
    const auto wall = bench::now_ns() - start;
    row.end();
    report(c, ticker.join(), "ms");
    c.report(c.row + "_wall", static_cast<double>(wall) / 1e6, "ms");
  });
}

/// Four fibers that only yield, beside what else is in `all`; how often a second, together.
class yielders {
 public:
  yielders(weft::scope& all, const span& row) {
    for (auto& turns : turns_)
      all.go([&] {
        for (; !row.over(); ++turns) weft::yield();
      });
  }

  /// Once all have ended.
  double turns_per_second() const {
    long sum = 0;
    for (const long each : turns_) sum += each;
    return static_cast<double>(sum) * 1e9 / static_cast<double>(bench::now_ns() - start_);
  }

 private:
  std::int64_t start_ = bench::now_ns();
  long turns_[4] = {};
};

void urgent(const bench::context& c) {
  weft::run({.maxprocs = c.w}, [&] {
    double alone = 0;
    {
      span part(c, milliseconds(c.scale(1000)));
      weft::scope all;
      const yielders four(all, part);
      all.join();
      alone = four.turns_per_second();
    }
    span row(c, milliseconds(c.scale(2000)));
    weft::scope all;
    const yielders four(all, row);
    for (int i = 0; i < 10; ++i)
      all.go([&] {
        while (!row.over()) weft::blocking([] { ::usleep(200); });
      });
    const auto late = lateness(row, 1ms);
    all.join();
    const double beside = four.turns_per_second();
    c.report(c.row + "_turns", beside, "/s");
    c.report(c.row + "_turns_alone", alone, "/s");
    report(c, late, "ms");
  });
}

void wake_and_compute(const bench::context& c) {
  weft::run({.maxprocs = c.w}, [&] {
    std::vector<double> delays;
    weft::chan<std::int64_t> sent_at(0);
    span row(c, milliseconds(c.scale(3000)));
    weft::scope all;
    all.go([&] {
      while (const auto when = sent_at.recv()) delays.push_back(static_cast<double>(bench::now_ns() - *when) / 1e3);
    });
    while (!row.over()) {
      weft::sleep_for(10ms);
      sent_at.send(bench::now_ns());
      burn(15ms);
    }
    sent_at.close();
    all.join();
    report(c, delays, "us");
  });
}

}  // namespace

int main(int argc, char** argv) {
  using bench::context;
  std::vector<bench::row> rows;
  const std::vector<std::pair<std::string, int>> per_p = {{"P", 1}, {"2P", 2}, {"8P", 8}};
  for (const auto& [kind, body] : hog_kinds)
    for (const auto& [name, n] : per_p)
      rows.push_back(
          {"hogs_" + kind + "_" + name, {1, 2, 4}, [body = body, n = n](const context& c) { hogs(c, body, n); }});
  for (const auto& [name, n] : per_p)
    rows.push_back({"threads_" + name, {1, 2, 4}, [n = n](const context& c) { threads(c, n); }});
  for (const int ms : {1, 5, 9})
    rows.push_back({"slices_" + std::to_string(ms), {1}, [ms](const context& c) { slices(c, milliseconds(ms)); }});
  rows.push_back({"pairs", {1}, pairs});
  rows.push_back({"short_blocks", {2}, short_blocks});
  for (const int calls : {200, 1000})
    rows.push_back({"burst_" + std::to_string(calls), {2}, [calls](const context& c) { burst(c, calls); }});
  rows.push_back({"urgent", {1}, urgent});
  rows.push_back({"wake_and_compute", {2, 4}, wake_and_compute});
  return bench::main(argc, argv, rows);
}
