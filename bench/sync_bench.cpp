// SPDX-License-Identifier: Apache-2.0
//
// Contended mutex and blocking calls. The section is twenty dependent multiplications (some 19 ns) on a value that the
// mutex guards, so that every lock moves it; blocking() around nothing shows what announcing a blocking call costs by
// itself.
#include <weft/weft.hpp>

#include <mutex>
#include <stdexcept>

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
  return bench::main(argc, argv, {{"mutex_8", {1, 2}, mutex}, {"blocking", {1, 2}, blocking}});
}
