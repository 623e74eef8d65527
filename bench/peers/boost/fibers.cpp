// SPDX-License-Identifier: Apache-2.0
//
// The same work in Boost.Fiber: round robin on the calling thread at w=1, the library's work-stealing scheduler on two
// threads at w=2 (its default, idle threads that look for work: those that sleep are not told of it and would leave
// everything to the first thread). Stacks come from pooled_fixedsize_stack, the best allocator it ships; its buffered
// channel wants a power of two of slots and keeps one free, so 128 items are asked for as 256.
#include <sys/mman.h>

#include <boost/fiber/all.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include "bench/harness.hpp"

namespace {

namespace fibers = boost::fibers;

// The pool is not thread safe, so each thread has its own, and a stolen fiber may be freed elsewhere than where it was
// made: only w=1 can have it.
template <class F>
void go(int w, F f) {
  static thread_local fibers::pooled_fixedsize_stack pool(64 * 1024);
  if (w == 1) {
    fibers::fiber(fibers::launch::post, std::allocator_arg, pool, std::move(f)).detach();
  } else {
    fibers::fiber(fibers::launch::post, std::allocator_arg, fibers::fixedsize_stack(64 * 1024), std::move(f)).detach();
  }
}

class wait_group {
 public:
  explicit wait_group(long count) : count_(count) {}

  void done() {
    if (count_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;  // pairs with the other fibers' done()
    std::unique_lock<fibers::mutex> held(mutex_);
    over_ = true;
    zero_.notify_all();
  }

  void wait() {
    std::unique_lock<fibers::mutex> held(mutex_);
    zero_.wait(held, [this] { return over_; });
  }

 private:
  fibers::mutex mutex_;
  fibers::condition_variable zero_;
  std::atomic<long> count_;
  bool over_ = false;
};

// Runs `body` with w threads in the scheduler; the others leave once it returns.
template <class Body>
void with_threads(int w, Body body) {
  if (w == 1) {
    fibers::use_scheduling_algorithm<fibers::algo::round_robin>();
    body();
    return;
  }
  fibers::mutex mutex;
  fibers::condition_variable_any ended;
  bool over = false;
  const auto count = static_cast<std::uint32_t>(w);
  std::vector<std::thread> workers;
  for (int i = 1; i < w; ++i)
    workers.emplace_back([&] {
      fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(count);
      std::unique_lock<fibers::mutex> held(mutex);
      ended.wait(held, [&] { return over; });
    });
  fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(count);
  body();
  {
    std::unique_lock<fibers::mutex> held(mutex);
    over = true;
  }
  ended.notify_all();
  for (auto& worker : workers) worker.join();
}

void yield_among(const bench::context& c, int count) {
  with_threads(c.w, [&] {
    const long each = c.scale(4'000'000) / count;
    c.measure(each * count, [&] {
      wait_group done(count);
      for (int i = 0; i < count; ++i)
        go(c.w, [&done, each] {
          for (long k = 0; k < each; ++k) boost::this_fiber::yield();
          done.done();
        });
      done.wait();
    });
  });
}

void spawn(const bench::context& c) {
  with_threads(c.w, [&] {
    const long batches = c.scale(100);
    c.measure(batches * 1000, [&] {
      for (long b = 0; b < batches; ++b) {
        wait_group done(1000);
        for (int i = 0; i < 1000; ++i) go(c.w, [&done] { done.done(); });
        done.wait();
      }
    });
  });
}

using unbuffered = fibers::unbuffered_channel<long>;

void pingpong(const bench::context& c) {
  with_threads(c.w, [&] {
    const long trips = c.scale(c.w == 1 ? 1'000'000 : 200'000);
    c.measure(trips, [&] {
      unbuffered there, back;
      wait_group done(1);
      go(c.w, [&] {
        for (long v; there.pop(v) == fibers::channel_op_status::success;) back.push(v);
        done.done();
      });
      for (long i = 0; i < trips; ++i) {
        there.push(i);
        if (back.value_pop() != i) throw std::runtime_error("pingpong: a value was lost");
      }
      there.close();
      done.wait();
    });
  });
}

void ring(const bench::context& c) {
  with_threads(c.w, [&] {
    constexpr int members = 1000;
    std::vector<std::unique_ptr<unbuffered>> links;
    for (int i = 0; i < members; ++i) links.push_back(std::make_unique<unbuffered>());
    wait_group done(members - 1);
    for (std::size_t i = 0; i + 1 < links.size(); ++i)
      go(c.w, [&done, in = links[i].get(), out = links[i + 1].get()] {
        for (long v; in->pop(v) == fibers::channel_op_status::success;) out->push(v + 1);
        out->close();
        done.done();
      });
    const long laps = c.scale(c.w == 1 ? 1000 : 200);
    c.measure(laps * members, [&] {
      long token = 0;
      for (long lap = 0; lap < laps; ++lap) {
        links.front()->push(token + 1);
        token = links.back()->value_pop();
      }
      if (token != laps * members) throw std::runtime_error("ring: hops were lost");
    });
    links.front()->close();
    done.wait();
  });
}

void buffered(const bench::context& c, int producers, int consumers) {
  with_threads(c.w, [&] {
    const long each = c.scale(4'000'000) / producers;
    c.measure(each * producers, [&] {
      fibers::buffered_channel<long> items(256);
      wait_group sent(producers), received(consumers);
      std::vector<long> counts(static_cast<std::size_t>(consumers));
      for (auto& count : counts)
        go(c.w, [&received, &count, &items] {
          long mine = 0;
          for (long v; items.pop(v) == fibers::channel_op_status::success;) ++mine;
          count = mine;
          received.done();
        });
      for (int p = 0; p < producers; ++p)
        go(c.w, [&sent, &items, each] {
          for (long i = 0; i < each; ++i) items.push(i);
          sent.done();
        });
      sent.wait();
      items.close();
      received.wait();
      long total = 0;
      for (long count : counts) total += count;
      if (total != each * producers) throw std::runtime_error("buffered channel: items were lost");
    });
  });
}

void mutex(const bench::context& c) {
  with_threads(c.w, [&] {
    constexpr int count = 8;
    const long each = c.scale(4'000'000) / count;
    c.measure(each * count, [&] {
      fibers::mutex lock;
      wait_group done(count);
      long entries = 0;
      unsigned long guarded = 1;
      for (int i = 0; i < count; ++i)
        go(c.w, [&] {
          for (long k = 0; k < each; ++k) {
            std::lock_guard<fibers::mutex> held(lock);
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
      if (entries != each * count) throw std::runtime_error("mutex: two were inside at once");
    });
  });
}

// As in timer_bench.cpp.
long sleep_us(unsigned long number, unsigned long range_us) {
  unsigned long x = number * 0x9E3779B97F4A7C15UL;
  x ^= x >> 29;
  x *= 0xBF58476D1CE4E5B9UL;
  x ^= x >> 32;
  return static_cast<long>(1000 + x % range_us);
}

void sleepers(const bench::context& c) {
  with_threads(c.w, [&] {
    constexpr long sleeps = 5;
    const long count = c.scale(10'000);
    const auto range_us = static_cast<unsigned long>(c.scale(99'000));
    std::vector<long> late(static_cast<std::size_t>(count * sleeps));
    double cpu = 0;
    for (int repetition = 0; repetition < 2; ++repetition) {
      wait_group done(count);
      const auto before = bench::cpu_ns();
      for (long i = 0; i < count; ++i)
        go(c.w, [&, i] {
          for (long k = 0; k < sleeps; ++k) {
            const long number = i * sleeps + k;
            const long us = sleep_us(static_cast<unsigned long>(number), range_us);
            const auto start = bench::now_ns();
            boost::this_fiber::sleep_for(std::chrono::microseconds(us));
            late[static_cast<std::size_t>(number)] = bench::now_ns() - start - us * 1000;
          }
          done.done();
        });
      done.wait();
      cpu = static_cast<double>(bench::cpu_ns() - before);
    }
    c.report(c.row + "_cpu", cpu / 1e6, "ms");
    c.report(c.row + "_p50", static_cast<double>(bench::percentile(late, 0.5)) / 1e3, "us");
    c.report(c.row + "_p99", static_cast<double>(bench::percentile(late, 0.99)) / 1e3, "us");
  });
}

// Stacks for a million fibers, cut from one mapping and never given back: the allocators that Boost ships also write
// to the far end of each stack, which costs a second page.
class bump_stack {
 public:
  static constexpr std::size_t stack_size = 64 * 1024;

  explicit bump_stack(std::size_t count)
      : next_(static_cast<char*>(::mmap(nullptr, count * stack_size, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    if (next_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap of the stacks");
    ::madvise(next_, count * stack_size, MADV_NOHUGEPAGE);
  }

  boost::context::stack_context allocate() {
    next_ += stack_size;
    boost::context::stack_context stack;
    stack.size = stack_size;
    stack.sp = next_;
    return stack;
  }

  void deallocate(boost::context::stack_context&) noexcept {}

 private:
  char* next_;
};

// Allocators are copied into each fiber, so they refer to the one cursor.
struct bump_reference {
  bump_stack* stacks;
  boost::context::stack_context allocate() { return stacks->allocate(); }
  void deallocate(boost::context::stack_context& stack) noexcept { stacks->deallocate(stack); }
};

void parked(const bench::context& c) {
  with_threads(c.w, [&] {
    const long count = c.scale(1'000'000);
    fibers::unbuffered_channel<long> gate;
    wait_group started(count), ended(count);
    bump_stack stacks(static_cast<std::size_t>(count));
    const auto before = bench::memory::now();
    const auto start = bench::now_ns();
    for (long i = 0; i < count; ++i)
      fibers::fiber(fibers::launch::post, std::allocator_arg, bump_reference{&stacks}, [&] {
        started.done();
        long nothing = 0;
        gate.pop(nothing);  // until it is closed
        ended.done();
      }).detach();
    started.wait();
    const auto elapsed = bench::now_ns() - start;
    const auto after = bench::memory::now();
    c.report(c.row + "_bytes", static_cast<double>(after.total() - before.total()) / static_cast<double>(count), "B");
    c.report(c.row + "_vmas", static_cast<double>(after.mappings), "mappings");
    c.report(c.row + "_spawn", static_cast<double>(elapsed) / static_cast<double>(count), "ns");
    gate.close();
    ended.wait();
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::main(argc, argv,
                     {{"yield_2", {1, 2}, [](const bench::context& c) { yield_among(c, 2); }},
                      {"yield_1000", {1, 2}, [](const bench::context& c) { yield_among(c, 1000); }},
                      {"spawn", {1, 2}, spawn},
                      {"pingpong", {1, 2}, pingpong},
                      {"ring_1000", {1, 2}, ring},
                      {"chan128_1_1", {1, 2}, [](const bench::context& c) { buffered(c, 1, 1); }},
                      {"chan128_4_4", {1, 2}, [](const bench::context& c) { buffered(c, 4, 4); }},
                      {"mutex_8", {1, 2}, mutex},
                      {"timers_10k", {1}, sleepers},
                      {"parked", {1}, parked}});
}
