// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/kernel/troubles.hpp"

#include <set>

#include "tests/sim/kernel/epoll.hpp"
#include "tests/sim/kernel/tcp.hpp"

namespace sim::kernel {

namespace {

bool chosen = false;
troubles these;
unsigned reset_count = 0;
std::set<unsigned> reset_ports;

void choose_once() noexcept {
  if (chosen) return;
  chosen = true;
  troubles& t = these;
  constexpr std::size_t buffers[] = {1, 3, 16, 100, 1000, 65536};
  t.buffer = buffers[choose(6)];
  constexpr instant latencies[] = {0, 0, 20'000, 200'000, 2'000'000};
  t.latency = latencies[choose(5)];
  if (choose(3) == 0) t.slow_one_in = 5 + choose(50);
  if (choose(3) == 0) t.interrupted_one_in = 2 + choose(20);
  if (choose(3) == 0) t.short_write_one_in = 2 + choose(8);
  if (choose(3) == 0) t.no_accept_one_in = 2 + choose(10);
  if (choose(4) == 0) t.aborted_one_in = 2 + choose(10);
  if (choose(3) == 0) t.reset_one_in = 20 << choose(6);
  if (choose(3) == 0) t.spurious_readiness_one_in = 4 << choose(6);
}

}  // namespace

bool one_in(unsigned n) noexcept { return n != 0 && choose(n) == 0; }

void enter() noexcept {
  step();
  choose_once();
  if (one_in(these.reset_one_in)) reset_some_connection();
  if (one_in(these.spurious_readiness_one_in)) report_some_for_nothing();
}

void note_reset(unsigned port, unsigned other_port) noexcept {
  ++reset_count;
  reset_ports.insert(port);
  reset_ports.insert(other_port);
}

troubles& trouble() noexcept {
  choose_once();
  return these;
}
void print_troubles(std::FILE* out) noexcept {
  if (!chosen) return;
  const troubles& t = these;
  std::fprintf(out, "the kernel: buffers of %zu bytes, latency at most %.3f ms", t.buffer,
               static_cast<double>(t.latency) * 1e-6);
  const auto trouble_of = [&](unsigned n, const char* what) {
    if (n != 0) std::fprintf(out, "; %s, 1 in %u", what, n);
  };
  trouble_of(t.interrupted_one_in, "a call is interrupted");
  trouble_of(t.short_write_one_in, "a write is short");
  trouble_of(t.no_accept_one_in, "accept lacks a number or memory");
  trouble_of(t.aborted_one_in, "a connection is gone before accept");
  trouble_of(t.reset_one_in, "a connection is reset at a call");
  trouble_of(t.spurious_readiness_one_in, "an edge comes for nothing at a call");
  if (t.slow_one_in != 0)
    std::fprintf(out, "; what is sent comes %.1f ms later, 1 in %u", static_cast<double>(t.slow) * 1e-6, t.slow_one_in);
  if (reset_count != 0) std::fprintf(out, "; %u reset so far", reset_count);
  std::fputc('\n', out);
}
unsigned resets() noexcept { return reset_count; }
bool was_reset(unsigned port) noexcept { return reset_ports.count(port) != 0; }

}  // namespace sim::kernel
