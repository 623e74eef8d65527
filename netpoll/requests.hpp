// SPDX-License-Identifier: Apache-2.0
// What can be asked of the ring's thread.
#pragma once

#include <cstdint>

namespace weft::inline v0::rt {

enum class request_kind : std::uint8_t {
  file,     ///< a file_op (netpoll/file_engine.hpp)
  watch,    ///< report a descriptor's readiness from here on
  unwatch,  ///< no more; whoever asks waits until nothing is reported any more
  stop,     ///< end the thread once nothing is in flight
};

struct request {
  request* next = nullptr;  ///< the inbox's, then the engine's
  request_kind kind;
};

}  // namespace weft::inline v0::rt
