// SPDX-License-Identifier: Apache-2.0
//
// The policy through which lock-free parts of the runtime reach atomics, fences and the pause instruction.
//
// Problem: a protocol that is right on x86 may be wrong on arm64, and wrong once in a year on either. So the run
// queue, the bracket and the idle protocol are templates over a policy: production instantiates them with
// `std_atomics` (nothing but aliases and inlined instructions), and tests/model instantiates the very same code with a
// policy whose every access is a step of a model checker with weak memory.
//
// Rules for code over a policy: every shared word is an `Atomics::template atomic<T>`; every access names its order;
// every wait loop calls `Atomics::pause()`, which is how the checker knows that a thread waits for another.
#pragma once

#include <atomic>

#include <weft/detail/atomic.hpp>

namespace weft::rt {

#if defined(WEFT_SIMULATED)
using detail::atomic_ref;
#else
template <class T>
using atomic_ref = std::atomic_ref<T>;
#endif

struct std_atomics {
  template <class T>
  using atomic = detail::atomic<T>;

  // Full store-load barrier: one locked instruction on x86. It only excludes ("one of us sees the other"); data must
  // travel along acquire and release, as ThreadSanitizer does not model fences (and g++ says so, hence the pragma).
  static void fence_seq_cst() noexcept {
#if defined(WEFT_SIMULATED)
    sim::step();
#elif defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
    std::atomic_thread_fence(std::memory_order_seq_cst);
#pragma GCC diagnostic pop
#else
    std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
  }

  // Keeps the compiler's order and costs no instruction. It stands for a full fence only where the other side of the
  // pair executes membarrier(2).
  static void compiler_barrier() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

  static void pause() noexcept {
#if defined(WEFT_SIMULATED)
    sim::pause();
#elif defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");
#else
    compiler_barrier();
#endif
  }
};

}  // namespace weft::rt
