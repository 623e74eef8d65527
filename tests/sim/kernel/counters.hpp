// SPDX-License-Identifier: Apache-2.0
// eventfd(2): a counter that a write adds to and a read takes whole.
//
// As Linux has it (fs/eventfd.c): an arrival with each write, however high the count is, and one for writers with each
// read. A write that would bring the count to 2^64 - 1 waits.
// Not modelled: EFD_SEMAPHORE.
#pragma once

#include <cstdint>

#include "tests/sim/kernel/file.hpp"

namespace sim::kernel {

struct counter : file {
  explicit counter(unsigned initial) noexcept : count(initial) {}
  static constexpr std::uint64_t most = UINT64_MAX;  ///< which it never is
  std::uint64_t count;

  mode_t format() const noexcept override { return 0; }
  std::uint32_t state() noexcept override { return (count != 0 ? EPOLLIN : 0u) | (most - count > 1 ? EPOLLOUT : 0u); }
  ssize_t take(char* to, std::size_t n) noexcept override;
  ssize_t put(const char* from, std::size_t n) noexcept override;
};

}  // namespace sim::kernel
