// SPDX-License-Identifier: Apache-2.0
//
// Which backend the test was registered with (tests/CMakeLists.txt).
#pragma once

#include <cstdlib>
#include <cstring>

namespace weft_test {

inline bool sockets_by_io_uring() {
  const char* const backend = std::getenv("WEFT_NETPOLL");
  return backend != nullptr && std::strcmp(backend, "io_uring") == 0;
}

}  // namespace weft_test
