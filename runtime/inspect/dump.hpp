// SPDX-License-Identifier: Apache-2.0
// All fibers as text, in the form of Go's tracebacks:
//
//     fiber 18 "ingest" [chan receive, 5 minutes]:
//         read_all(weft::chan<int>)+0x2f (server+0x12f0)
//         main::{lambda()#1}::operator()() const+0x11 (server+0x1043)
//       spawned at main+0x33 (server+0x1233)
//
// Nobody is stopped: each fiber is shown as it was at a moment of its own (fiber_snapshot.hpp). Fibers that wait for
// the same reason at the same place, spawned at the same place, share one stack. The runtime's own frames are left out.
// No lock of the scheduler is taken, so a thread may call this whatever it holds; it allocates, and looks names up in
// files.
//
// A fiber's stack may be too small for this, so a caller on one has it done by a thread that is made for it.
#pragma once

#include <cstdio>
#include <string>

namespace weft::rt {

/// Every fiber, and the plain threads that wait in weft. Any thread or fiber, not a signal handler.
void dump_everything(std::FILE* out) noexcept;

/// The calling fiber only; on a plain thread nothing.
void dump_caller(std::FILE* out) noexcept;

/// `fiber 7 "ingest"`; on a plain thread "a plain thread". Throws std::bad_alloc.
std::string describe_caller();

}  // namespace weft::rt
