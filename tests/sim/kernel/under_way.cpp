// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/kernel/under_way.hpp"

#include <algorithm>

#include "tests/sim/kernel/troubles.hpp"

namespace sim::kernel {

namespace {

unsigned under_way = 0;

struct arrival {
  void (*f)(void*);
  void* arg;
};

}  // namespace

instant arrival_time(instant not_before) noexcept {
  const troubles& t = trouble();
  instant at = now();
  if (t.latency != 0) at += choose(static_cast<std::uint32_t>(t.latency));
  if (one_in(t.slow_one_in)) at += t.slow;
  return std::max(at, not_before);
}

void later(instant when, void (*f)(void*), void* arg) noexcept {
  if (when <= now() && under_way == 0) return f(arg);
  ++under_way;
  sim::at(
      when,
      [](void* it) {
        const auto* const a = static_cast<arrival*>(it);
        --under_way;
        a->f(a->arg);
      },
      new arrival{f, arg});
}

}  // namespace sim::kernel
