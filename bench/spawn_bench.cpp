// SPDX-License-Identifier: Apache-2.0
//
// Starting and ending fibers: batches that fit the pools (spawn), a tree of a million (skynet, with a channel a node as
// the original has it, and with join handles as task libraries do it), and recursion that forks at each call (fib).
#include <weft/weft.hpp>

#include <stdexcept>

#include "bench/harness.hpp"

namespace {

void spawn(const bench::context& c) {
  weft::run({.maxprocs = c.w}, [&] {
    const long batches = c.scale(1000);
    c.measure(batches * 1000, [&] {
      for (long b = 0; b < batches; ++b) {
        weft::wait_group done;
        done.add(1000);
        for (int i = 0; i < 1000; ++i) weft::go([&done] { done.done(); });
        done.wait();
      }
    });
  });
}

void skynet_node(weft::chan<long> out, long first, long size) {
  if (size == 1) {
    out.send(first);
    return;
  }
  weft::chan<long> in(0);
  for (long i = 0; i < 10; ++i) weft::go(skynet_node, in, first + i * (size / 10), size / 10);
  long sum = 0;
  for (int i = 0; i < 10; ++i) sum += in.recv().value();
  out.send(sum);
}

long skynet_joined(long first, long size) {
  if (size == 1) return first;
  weft::fiber<long> children[10];
  for (long i = 0; i < 10; ++i) children[i] = weft::spawn(skynet_joined, first + i * (size / 10), size / 10);
  long sum = 0;
  for (auto& child : children) sum += child.join();
  return sum;
}

void expect_sum(long sum, long leaves) {
  if (sum != leaves * (leaves - 1) / 2) throw std::runtime_error("skynet: wrong sum " + std::to_string(sum));
}

void skynet(const bench::context& c) {
  const long leaves = c.scale(1'000'000);
  weft::run({.maxprocs = c.w}, [&] {
    c.measure_ms([&] {
      weft::chan<long> root(0);
      weft::go(skynet_node, root, 0L, leaves);
      expect_sum(root.recv().value(), leaves);
    });
  });
}

void skynet_join(const bench::context& c) {
  const long leaves = c.scale(1'000'000);
  weft::run({.maxprocs = c.w}, [&] { c.measure_ms([&] { expect_sum(skynet_joined(0, leaves), leaves); }); });
}

long fib_sequential(long n) { return n < 2 ? n : fib_sequential(n - 1) + fib_sequential(n - 2); }

// A call whose argument is above the cutoff gets a fiber, its sibling runs in the caller: 4 180 fibers for fib(30) at
// cutoff 12, 514 228 at cutoff 2.
long fib_forked(long n, long cutoff) {
  if (n <= cutoff + 1) return fib_sequential(n);
  auto left = weft::spawn(fib_forked, n - 1, cutoff);
  const long right = fib_forked(n - 2, cutoff);
  return left.join() + right;
}

void fib(const bench::context& c, long cutoff) {
  weft::run({.maxprocs = c.w}, [&] {
    c.measure_ms([&] {
      if (fib_forked(30, cutoff) != 832040) throw std::runtime_error("fib(30) is not 832040");
    });
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::main(argc, argv,
                     {{"spawn", {1, 2}, spawn},
                      {"skynet", {1, 2}, skynet},
                      {"skynet_join", {1, 2}, skynet_join},
                      {"fib30_cut12", {1, 2}, [](const bench::context& c) { fib(c, 12); }},
                      {"fib30_cut2", {1, 2}, [](const bench::context& c) { fib(c, 2); }}});
}
