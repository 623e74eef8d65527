// SPDX-License-Identifier: Apache-2.0
// The one sentence for a number that is too small.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace weft::rt {

[[noreturn]] inline void throw_too_small(const char* what, std::ptrdiff_t n, std::ptrdiff_t least) {
  throw std::invalid_argument(std::string("weft: ") + what + '(' + std::to_string(n) + "): expected " +
                              std::to_string(least) + " or more");
}

inline void require_at_least(const char* what, std::ptrdiff_t n, std::ptrdiff_t least) {
  if (n < least) throw_too_small(what, n, least);
}

}  // namespace weft::rt
