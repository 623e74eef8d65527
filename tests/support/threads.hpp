// SPDX-License-Identifier: Apache-2.0
//
// Moving a fiber to another thread as an event, for tests of what must not stick to the old one.
//
// All questions about the thread go through functions that are not inlined and that the optimiser cannot see through: a
// test that is compiled with its answers cached across a wait would test the compiler.
#pragma once

#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <memory>

#include <weft/chan.hpp>
#include <weft/runtime.hpp>

namespace weft_test {

[[gnu::noinline]] inline pid_t this_thread() noexcept {
  pid_t tid = gettid();
  asm volatile("" : "+r"(tid)::"memory");
  return tid;
}

/// Returns on another thread than it was called on. Another fiber takes the thread that the caller has left, wakes the
/// caller, and stays there until the caller has gone on: so that is elsewhere. Should the other fiber itself have been
/// started elsewhere, again.
inline void hop() {
  const pid_t from = this_thread();
  struct meeting {
    weft::chan<void> here{0};
    std::atomic<bool> gone_on{false};
  };
  while (this_thread() == from) {
    const auto m = std::make_shared<meeting>();
    weft::go([m] {
      m->here.send();
      weft::blocking([&] {
        while (!m->gone_on.load(std::memory_order_acquire)) sched_yield();
      });
    });
    m->here.recv();
    m->gone_on.store(true, std::memory_order_release);
  }
}

}  // namespace weft_test
