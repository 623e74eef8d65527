// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/kernel/counters.hpp"

#include <cstring>

namespace sim::kernel {

ssize_t counter::take(char* to, std::size_t n) noexcept {
  if (n < sizeof count) return -EINVAL;
  if (count == 0) return -EAGAIN;
  std::memcpy(to, &count, sizeof count);
  count = 0;
  notify(this, EPOLLOUT);
  return sizeof count;
}

ssize_t counter::put(const char* from, std::size_t n) noexcept {
  std::uint64_t more = 0;
  if (n < sizeof more) return -EINVAL;
  std::memcpy(&more, from, sizeof more);
  if (more == most) return -EINVAL;
  if (most - count <= more) return -EAGAIN;
  count += more;
  notify(this, EPOLLIN);
  return sizeof more;
}

}  // namespace sim::kernel
