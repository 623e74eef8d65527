// SPDX-License-Identifier: Apache-2.0
//
// select over two channels, each fed by a producer of its own: unbuffered (every item parks somebody) and with 128
// slots (mostly the fast look).
#include <weft/weft.hpp>

#include <optional>
#include <stdexcept>

#include "bench/harness.hpp"

namespace {

void select_two(const bench::context& c, int capacity) {
  weft::run({.maxprocs = c.w}, [&] {
    const long each = c.scale(1'000'000) / 2;
    c.measure(2 * each, [&] {
      weft::chan<long> left(capacity), right(capacity);
      for (const auto& out : {left, right})
        weft::go([out, each] {
          for (long i = 0; i < each; ++i) out.send(1);
        });
      long received = 0;
      const auto take = [&](std::optional<long> v) { received += *v; };
      for (long i = 0; i < 2 * each; ++i) weft::select(weft::on_recv(left, take), weft::on_recv(right, take));
      if (received != 2 * each) throw std::runtime_error("select: items were lost");
    });
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::main(argc, argv,
                     {{"select_2", {1, 2}, [](const bench::context& c) { select_two(c, 0); }},
                      {"select_2_cap128", {1, 2}, [](const bench::context& c) { select_two(c, 128); }}});
}
