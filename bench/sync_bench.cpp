// SPDX-License-Identifier: Apache-2.0
//
// Contended mutex, how long it keeps others waiting, other types uncontended, and blocking calls. The section is twenty
// dependent multiplications (some 19 ns) on a value that the mutex guards, so that every lock moves it; blocking()
// around nothing shows what announcing a blocking call costs by itself.
#include <weft/weft.hpp>

#include <atomic>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "bench/harness.hpp"

namespace {

void mutex(const bench::context& c) {
  weft::run({.maxprocs = c.w}, [&] {
    constexpr int fibers = 8;
    const long each = c.scale(4'000'000) / fibers;
    c.measure(each * fibers, [&] {
      weft::mutex lock;
      weft::wait_group done;
      long entries = 0;
      unsigned long guarded = 1;
      done.add(fibers);
      for (int i = 0; i < fibers; ++i)
        weft::go([&] {
          for (long k = 0; k < each; ++k) {
            std::lock_guard<weft::mutex> held(lock);
            unsigned long x = guarded;
            for (int step = 0; step < 20; ++step) {
              x = x * 6364136223846793005UL + 1442695040888963407UL;
              asm volatile("" : "+r"(x));
            }
            guarded = x;
            ++entries;
          }
          done.done();
        });
      done.wait();
      if (entries != each * fibers) throw std::runtime_error("mutex: two fibers were inside at once");
    });
  });
}

// One fiber that has nothing to do outside the section (20 us) and takes the mutex again at once, and four that want it
// now and then: how long do these wait? A mutex that may be overtaken for ever has no answer.
void mutex_hog(const bench::context& c) {
  weft::run({.maxprocs = c.w}, [&] {
    constexpr int others = 4;
    const long each = c.scale(2'000) / others;
    weft::mutex lock;
    std::atomic<bool> stop{false};
    std::vector<double> waits;  // guarded by the mutex
    weft::scope s;
    s.go([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        std::lock_guard<weft::mutex> held(lock);
        for (const auto end = bench::now_ns() + 20'000; bench::now_ns() < end;) {
        }
      }
    });
    weft::scope waiters;
    for (int i = 0; i < others; ++i)
      waiters.go([&] {
        for (long k = 0; k < each; ++k) {
          const auto start = bench::now_ns();
          {
            std::lock_guard<weft::mutex> held(lock);
            waits.push_back(static_cast<double>(bench::now_ns() - start));
          }
          weft::yield();
        }
      });
    waiters.join();
    stop.store(true, std::memory_order_relaxed);
    s.join();
    c.report(c.row + "_p50", bench::percentile(waits, 0.5) / 1e6, "ms");
    c.report(c.row + "_p99", bench::percentile(waits, 0.99) / 1e6, "ms");
  });
}

// A lock and its unlock, or what comes nearest, by one fiber alone.
template <class Operation>
void alone(const bench::context& c, Operation operation) {
  weft::run({.maxprocs = c.w}, [&] {
    const long times = c.scale(20'000'000);
    c.measure(times, [&] {
      for (long i = 0; i < times; ++i) operation();
    });
  });
}

void mutex_alone(const bench::context& c) {
  weft::mutex mutex;
  alone(c, [&] {
    mutex.lock();
    mutex.unlock();
  });
}
void shared_alone(const bench::context& c) {
  weft::shared_mutex mutex;
  alone(c, [&] {
    mutex.lock_shared();
    mutex.unlock_shared();
  });
}
void semaphore_alone(const bench::context& c) {
  weft::semaphore semaphore(1);
  alone(c, [&] {
    semaphore.acquire();
    semaphore.release();
  });
}
void once_alone(const bench::context& c) {
  weft::once_flag flag;
  alone(c, [&] { weft::call_once(flag, [] {}); });
}

void blocking(const bench::context& c) {
  weft::run({.maxprocs = c.w}, [&] {
    const long calls = c.scale(10'000'000);
    c.measure(calls, [&] {
      for (long i = 0; i < calls; ++i) weft::blocking([] { asm volatile("" ::: "memory"); });
    });
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::main(argc, argv,
                     {{"mutex_8", {1, 2}, mutex},
                      {"mutex_hog", {1, 2}, mutex_hog},
                      {"mutex_alone", {1}, mutex_alone},
                      {"shared_alone", {1}, shared_alone},
                      {"semaphore_alone", {1}, semaphore_alone},
                      {"once_alone", {1}, once_alone},
                      {"blocking", {1, 2}, blocking}});
}
