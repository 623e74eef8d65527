// SPDX-License-Identifier: Apache-2.0
// The stand-in by which a plain thread waits in the queues that fibers wait in.
//
// A waker may still be about to wake the futex word when the thread has long gone on, so stand-ins are never freed: a
// thread that ends gives its own to the next one that needs one. A wake that comes too late is then a spurious one, and
// every wait loops.
//
// A stand-in is given back after the thread's last thread_local object is gone, as destructors of those may wait, too:
// by a POSIX key, whose destructors run after them. A thread that waits in the destructor of another key takes a new one.
#pragma once

#include <atomic>

#include "runtime/sched/g.hpp"

namespace weft::inline v0::rt {

/// The calling thread's. Throws nothing; ends the process if there is no memory for 320 bytes.
G* thread_g() noexcept;

/// Calls f(G&) for every stand-in ever made.
void for_each_thread_g(void (*f)(G&, void*), void* arg) noexcept;

/// The runtime is about to end: no plain thread begins a cancellable wait. Set before the fence and the claims that end
/// the waits that had begun (the end of run()); looked at after a wait is armed. The `cancel` word of a stand-in is 1
/// for good, which means: look here.
extern std::atomic<bool> plain_waits_are_over;

}  // namespace weft::inline v0::rt
