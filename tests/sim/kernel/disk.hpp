// SPDX-License-Identifier: Apache-2.0
// Files of the simulation, in place of netpoll/file_calls.cpp: what a call finds in the cache is there at once, the rest
// takes time, in which the caller's thread sleeps.
//
// Invariant: a number is closed once, by somebody, while no call is at it. A call on a closed number, or a close beside
// a call, ends the run with a report: on a real system it would reach a stranger's file.
//
// Taken over from Linux: counts that are short, EINTR, EAGAIN and EOPNOTSUPP for RWF_NOWAIT, a size that grows with
// writes, O_TRUNC, O_APPEND, ftruncate. Left out: permissions, a full disk, O_DIRECT, caches that forget what fsync has not seen.
#pragma once

#include "tests/sim/kernel.hpp"

namespace sim::kernel {

/// How files behave; 0: never. Chosen by the seed with the first call, before a program may change it.
struct disk_troubles {
  unsigned not_cached_one_in = 2;
  unsigned short_one_in = 0;
  unsigned interrupted_one_in = 0;
  bool cannot_tell = false;  ///< EOPNOTSUPP for RWF_NOWAIT
  bool in_memory = false;    ///< where it cannot tell
  instant latency = 0;       ///< at most
};
disk_troubles& disk_trouble() noexcept;
void print_disk_troubles(std::FILE* out) noexcept;

/// Numbers in use.
int open_disk_files() noexcept;

}  // namespace sim::kernel
