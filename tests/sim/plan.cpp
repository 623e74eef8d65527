// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/plan.hpp"

#include <initializer_list>

namespace sim {

namespace {

class chooser {
 public:
  explicit chooser(std::uint64_t seed) noexcept : state_(sequence_of(seed, 1)) {}
  unsigned below(unsigned n) noexcept { return static_cast<unsigned>((next_number(state_) >> 33) % n); }
  template <class T>
  T one_of(std::initializer_list<T> these) noexcept {
    return these.begin()[below(static_cast<unsigned>(these.size()))];
  }

 private:
  std::uint64_t state_;
};

}  // namespace

plan plan_of(std::uint64_t seed) noexcept {
  chooser choose(seed);
  plan p;
  p.seed = seed;
  p.pct = choose.below(2) == 0;
  p.change_points = 3 + choose.below(8);
  p.one_in = choose.one_of({2u, 4u, 16u, 64u, 256u, 1024u});
  p.cpus = 1 + choose.below(4);
  p.slice = choose.one_of({300'000, 1'000'000, 3'000'000});
  if (choose.below(2) == 0) return p;
  if (choose.below(3) == 0) p.lose_cpu_one_in = choose.one_of({5'000u, 10'000u, 20'000u, 40'000u});
  if (choose.below(3) == 0) p.no_thread_one_in = 2 + choose.below(6);
  if (choose.below(3) == 0) p.slow_thread_one_in = 1 + choose.below(4);
  if (choose.below(3) == 0) p.wake_for_nothing_one_in = 2 + choose.below(20);
  if (choose.below(3) == 0) p.no_memory_one_in = 4 + choose.below(6);
  if (choose.below(3) == 0) p.no_membarrier = true;
  return p;
}

instant plan::slack() const noexcept {
  if (!in_time()) return 5'000'000'000;
  return cpus == 1 ? 2 * slice : 0;
}

void print(std::FILE* out, const plan& how) noexcept {
  std::fprintf(out, "seed %llu: ", static_cast<unsigned long long>(how.seed));
  if (how.pct)
    std::fprintf(out, "pct, %u change points", how.change_points);
  else
    std::fprintf(out, "random, another thread at one step in %u", how.one_in);
  std::fprintf(out, ", %u CPUs, slices of %.1f ms", how.cpus, static_cast<double>(how.slice) * 1e-6);
  const auto fault = [&](unsigned one_in, const char* what) {
    if (one_in != 0) std::fprintf(out, "; %s, 1 in %u", what, one_in);
  };
  fault(how.lose_cpu_one_in, "a thread stands still for 20 ms at a step");
  fault(how.no_thread_one_in, "no thread is to be had");
  fault(how.slow_thread_one_in, "a thread starts late");
  fault(how.wake_for_nothing_one_in, "a futex wakes for nothing");
  fault(how.no_memory_one_in, "no memory for a stack");
  if (how.no_membarrier) std::fputs("; no membarrier", out);
  std::fputc('\n', out);
}

}  // namespace sim
