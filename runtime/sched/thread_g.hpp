// SPDX-License-Identifier: Apache-2.0
// The stand-in by which a plain thread waits in the queues that fibers wait in.
//
// A waker may still be about to wake the futex word when the thread has long gone on, so stand-ins are never freed: a
// thread that ends gives its own to the next one that needs one. A wake that comes too late is then a spurious one, and
// every wait loops.
#pragma once

#include "runtime/sched/g.hpp"

namespace weft::inline v0::rt {

/// The calling thread's. Throws nothing; ends the process if there is no memory for 320 bytes.
G* thread_g() noexcept;

/// Calls f(G&) for every stand-in ever made.
void for_each_thread_g(void (*f)(G&, void*), void* arg) noexcept;

}  // namespace weft::inline v0::rt
