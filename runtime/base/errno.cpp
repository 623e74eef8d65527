// SPDX-License-Identifier: Apache-2.0
#include <cerrno>

#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {
namespace detail {

WEFT_EXPORT int* errno_address() noexcept;

// Not inlined, and with an effect: else it would be found to be as constant as what it calls, also by an optimizer that
// sees the whole program.
[[gnu::noinline]] int* errno_address() noexcept {
  asm volatile("" : : : "memory");
  return &errno;
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
