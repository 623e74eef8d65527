// SPDX-License-Identifier: Apache-2.0
// An io_uring that has shown that it works, or the reason why there is none.
//
// Refusal is the normal case in a container (its default seccomp profile leaves io_uring out) and on older kernels, so
// each way of being refused has a sentence that says what to change.
#pragma once

#include <liburing.h>

#include <cstddef>

namespace weft::rt {

/// The system calls, so that tests can let them fail. Results as in liburing: minus the errno.
struct ring_calls {
  int (*setup)(unsigned entries, io_uring* ring, io_uring_params* how);
  int (*enter)(io_uring* ring, unsigned wait_for);  ///< submits all, waits for so many completions
  void (*pause)();                                  ///< a moment, for the kernel to find memory
};
extern const ring_calls kernel_calls;

struct ring_limits {
  unsigned entries = 256;       ///< prepared and not yet submitted
  unsigned completions = 4096;  ///< not yet reaped; a power of two
  unsigned credit = 4000;       ///< file operations in flight; fewer than there are completions
};

struct ring_refusal {
  int error = 0;        ///< errno, for the exception; 0: there is a ring
  char why[256] = {0};  ///< a clause: "io_uring_setup: ..."
};

/// Makes a ring that the calling thread alone may use, and tries out what is needed of it. `shape` says how it was
/// made: the first set of flags, from the newest to the oldest, that the kernel accepts.
struct ring_shape {
  unsigned flags = 0;
  const char* name = "";
};
bool open_ring(io_uring& ring, const ring_calls& calls, const ring_limits& limits, ring_shape& shape,
               ring_refusal& refusal) noexcept;

}  // namespace weft::rt
