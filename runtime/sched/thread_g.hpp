// SPDX-License-Identifier: Apache-2.0
// The stand-in by which a plain thread waits in the queues that fibers wait in.
//
// A waker may still be about to wake the futex word when the thread has long gone on, so stand-ins are never freed: a
// thread that ends gives its own to the next one that needs one. A wake that comes too late is then a spurious one, and
// every wait loops.
//
// A stand-in is given back after the thread's last thread_local object is gone, as destructors of those may wait, too:
// by a POSIX key, whose destructors run after them. A thread that waits in the destructor of another key takes a new
// one.
#pragma once

#include <cstdint>

#include <weft/detail/atomic.hpp>

#include "runtime/sched/m.hpp"

namespace weft::rt {

/// The calling thread's. Throws nothing; ends the process if there is no memory for 320 bytes.
G* thread_g() noexcept;

/// The calling fiber; on a plain thread its stand-in, which is made on first use and never freed.
inline G* current_g() noexcept {
  const M* m = current_m();
  return m != nullptr && m->cur != nullptr && m->in_blocking == 0 ? m->cur : thread_g();
}

/// Calls f(G&) for every stand-in ever made.
void for_each_thread_g(void (*f)(G&, void*), void* arg) noexcept;

/// The waits of plain threads as the end of run() sees them: odd while they are over, from the return of main to that
/// of run(); the next even number afterwards. A thread notes it at the entry of each cancellable wait, where an odd one
/// already ends it, and looks again after it has armed: it has changed if the wait began before an end that has come
/// meanwhile. Written before the fence and the claims that end the waits that were armed before. The `cancel` word of a
/// stand-in is 1 for good, which means: look here.
extern detail::atomic<std::uint32_t> plain_waits;
constexpr bool plain_waits_are_over(std::uint32_t seen) noexcept { return seen % 2 != 0; }
/// Noted by a fiber that waits on its thread's stand-in, in blocking(f): the end of run() waits for it.
inline constexpr std::uint32_t wait_of_a_fiber = 0xffff'ffff;

}  // namespace weft::rt
