// SPDX-License-Identifier: Apache-2.0
// What address and thread sanitizers must know of an execution, so that they can be told of each switch.
#pragma once

#include <cstddef>

namespace weft::rt {

struct sanitizer_context {
  const void* bottom = nullptr;
  std::size_t size = 0;
  void* fake_stack = nullptr;  ///< ASan's, while the execution is left
  void* tsan_fiber = nullptr;  ///< TSan's, for as long as the execution exists
};

}  // namespace weft::rt
