// SPDX-License-Identifier: Apache-2.0
// runtime/base/os.hpp, answered by the simulator.
#pragma once

#include <linux/membarrier.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <optional>

#include <weft/detail/atomic.hpp>

#include "tests/sim/seam/sim.hpp"

namespace weft::rt::os {

using thread = sim::task*;
using cpu_clock = sim::task*;

inline int start_thread(thread& t, void* (*body)(void*), void* arg) noexcept { return sim::start(t, body, arg); }
inline int start_detached_thread(void* (*body)(void*), void* arg) noexcept {
  thread t = nullptr;
  return sim::start(t, body, arg);
}
inline void join_thread(thread t) noexcept { sim::join(t); }
inline thread this_thread() noexcept { return sim::self(); }
inline int this_thread_id() noexcept { return sim::id_of(sim::self()); }
inline void name_thread(const char* name) noexcept { sim::name_self(name); }
inline void sleep_exactly_from_now_on() noexcept {}
inline cpu_clock this_thread_cpu_clock() noexcept { return sim::self(); }
inline std::int64_t cpu_time(cpu_clock clock) noexcept { return sim::cpu_of(clock); }
inline std::int64_t set_slice(int, std::int64_t) noexcept { return -1; }  // here CPUs are shared by other rules
inline std::optional<bool> is_asleep(int thread_id) noexcept { return sim::is_asleep(thread_id); }
inline void yield_cpu() noexcept { sim::spin(); }
inline void sleep_for(std::int64_t ns) noexcept { sim::nap(ns); }
inline std::int64_t now() noexcept {
  sim::step();
  return sim::now();
}
inline void futex_wait(detail::atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t timeout) noexcept {
  sim::wait(
      &word,
      [](const void* w, std::uint32_t e) {
        return static_cast<const std::atomic<std::uint32_t>*>(static_cast<const detail::atomic<std::uint32_t>*>(w))
                   ->load(std::memory_order_relaxed) == e;
      },
      expected, timeout);
}
inline void futex_wake(detail::atomic<std::uint32_t>& word) noexcept { sim::wake(&word); }
inline bool membarrier(int) noexcept { return sim::membarrier(); }

/// Who waits for it sleeps.
class mutex {
 public:
  constexpr mutex() noexcept = default;
  void lock() noexcept {
    sim::step();
    while (held_)
      sim::wait(
          this, [](const void* self, std::uint32_t) { return static_cast<const mutex*>(self)->held_; }, 0, -1);
    held_ = true;
  }
  void unlock() noexcept {
    held_ = false;
    sim::wake(this);
  }

 private:
  bool held_ = false;
};

inline void* reserve_memory(std::size_t size) noexcept {
  if (sim::memory(0)) return mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  errno = ENOMEM;
  return MAP_FAILED;
}
inline int open_memory(void* at, std::size_t size) noexcept {
  if (sim::memory(size)) return mprotect(at, size, PROT_READ | PROT_WRITE);
  errno = ENOMEM;
  return -1;
}
inline int advise_memory(void* at, std::size_t size, int advice) noexcept {
  if (sim::memory(0)) return madvise(at, size, advice);
  errno = ENOMEM;
  return -1;
}

}  // namespace weft::rt::os
