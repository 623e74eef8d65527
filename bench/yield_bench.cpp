// SPDX-License-Identifier: Apache-2.0
//
// The bare scheduler: fibers that do nothing but let the others run. Two fibers show the switch, a thousand show what
// their stacks do to the caches; with two Ps the same thousand must not pay for each other's queues.
#include <weft/weft.hpp>

#include "bench/harness.hpp"

namespace {

void yield_among(const bench::context& c, int fibers) {
  weft::run({.maxprocs = c.w}, [&] {
    const long each = c.scale(4'000'000) / fibers;
    c.measure(each * fibers, [&] {
      weft::wait_group done;
      done.add(fibers);
      for (int i = 0; i < fibers; ++i)
        weft::go([&done, each] {
          for (long k = 0; k < each; ++k) weft::yield();
          done.done();
        });
      done.wait();
    });
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::main(argc, argv,
                     {{"yield_2", {1, 2}, [](const bench::context& c) { yield_among(c, 2); }},
                      {"yield_1000", {1, 2}, [](const bench::context& c) { yield_among(c, 1000); }}});
}
