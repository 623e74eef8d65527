// SPDX-License-Identifier: Apache-2.0
// Locks and their kin; fibers that only come and go.
#include <mutex>
#include <shared_mutex>

#include <weft/weft.hpp>

#include "tests/sim/programs/common.hpp"

namespace sim {

namespace {

void locks() {
  weft::run({.maxprocs = up_to(4)}, [] {
    weft::mutex m;
    weft::condition_variable changed;
    int n = 0;
    weft::scope s;
    for (int i = 0; i < 6; ++i)
      s.go([&] {
        for (int k = 0; k < 10; ++k) {
          const std::lock_guard guard(m);
          const int seen = n;
          if (maybe(6)) weft::yield();
          if (maybe(9)) block(20 * us);
          n = seen + 1;
          changed.notify_one();
        }
      });
    {
      std::unique_lock guard(m);
      while (n < 60)
        if (maybe(3))
          changed.wait_for(guard, 20us);
        else
          changed.wait(guard);
    }
    s.join();
    expect(n == 60, "nobody's turn under the lock is lost");
  });
}

void shared_locks() {
  weft::run({.maxprocs = up_to(4)}, [] {
    weft::shared_mutex m;
    int value = 0, readers = 0;
    bool writes = false;
    weft::scope s;
    for (int i = 0; i < 5; ++i)
      s.go([&] {
        for (int k = 0; k < 6; ++k) {
          if (maybe(3)) {
            const std::lock_guard guard(m);
            expect(!writes && readers == 0, "who writes is alone");
            writes = true;
            if (maybe(3)) weft::yield();
            ++value;
            writes = false;
          } else if (maybe(3)) {
            if (!m.try_lock_shared_for(10us)) continue;
            expect(!writes, "nobody reads while one writes");
            m.unlock_shared();
          } else {
            const std::shared_lock guard(m);
            expect(!writes, "nobody reads while one writes");
            ++readers;
            if (maybe(3)) weft::yield();
            --readers;
          }
        }
      });
    s.join();
  });
}

void semaphores() {
  weft::run({.maxprocs = up_to(4)}, [] {
    weft::semaphore free(3);
    int inside = 0;
    weft::scope s;
    for (int i = 0; i < 8; ++i)
      s.go([&] {
        for (int k = 0; k < 5; ++k) {
          const int n = up_to(2);
          if (maybe(4)) {
            if (!free.try_acquire_for(20us, n)) continue;
          } else {
            free.acquire(n);
          }
          inside += n;
          expect(inside <= 3, "a semaphore lets in as many as it has");
          if (maybe(2)) weft::yield();
          inside -= n;
          free.release(n);
        }
      });
    s.join();
  });
}

void meetings() {
  weft::run({.maxprocs = up_to(4)}, [] {
    weft::barrier together(4);
    weft::latch all_there(4);
    weft::once_flag once;
    weft::event begun;
    int calls = 0, phase[4]{};
    weft::scope s;
    for (int i = 0; i < 4; ++i)
      s.go([&, i] {
        weft::call_once(once, [&] {
          ++calls;
          weft::yield();
          begun.set();
        });
        begun.wait();
        for (int k = 0; k < 5; ++k) {
          ++phase[i];
          together.arrive_and_wait();
          for (const int other : phase) expect(other >= k + 1 && other <= k + 2, "nobody is a phase ahead");
        }
        all_there.count_down();
      });
    all_there.wait();
    s.join();
    expect(calls == 1, "once is once");
  });
}

void many_fibers() {
  weft::run({.maxprocs = up_to(4)}, [] {
    int ended = 0;
    weft::wait_group wg;
    for (int i = 0; i < 40; ++i)
      wg.go([&] {
        weft::yield();
        if (maybe(3)) weft::sleep_for(50us);
        if (maybe(5)) compute(30 * us);
        if (maybe(8)) weft::blocking([] { block(300 * us); });
        ++ended;
      });
    if (maybe(2))
      wg.wait();
    else
      while (!wg.wait_for(40us)) {
      }
    expect(ended == 40, "each fiber runs once");
  });
}

// More than a P's ring holds.
void a_full_ring() {
  weft::run({.maxprocs = up_to(3)}, [] {
    int ended = 0;
    weft::wait_group wg;
    for (int i = 0; i < 300; ++i) wg.go([&] { ++ended; });
    wg.wait();
    expect(ended == 300, "each fiber runs once");
  });
}

constexpr program all[] = {
    {"locks", locks},       {"shared_locks", shared_locks}, {"semaphores", semaphores},
    {"meetings", meetings}, {"many_fibers", many_fibers},   {"a_full_ring", a_full_ring},
};

}  // namespace

constinit const std::span<const program> programs_of_locks = all;

}  // namespace sim
