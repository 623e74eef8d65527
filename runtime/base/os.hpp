// SPDX-License-Identifier: Apache-2.0
// What the scheduler asks of the system: threads, clocks, futexes, membarrier, memory for stacks. Inlined calls, and
// nothing else. A build with WEFT_SIMULATED has the simulator answer them (tests/sim).
#pragma once

#include <cstdint>

#include <weft/detail/atomic.hpp>

#if defined(WEFT_SIMULATED)
#include "tests/sim/seam/os.hpp"
#else

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <optional>

namespace weft::rt::os {

using thread = pthread_t;
using cpu_clock = clockid_t;

inline int start_thread(thread& t, void* (*body)(void*), void* arg) noexcept {
  return pthread_create(&t, nullptr, body, arg);
}
/// The same for a thread that nobody joins.
inline int start_detached_thread(void* (*body)(void*), void* arg) noexcept {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  thread t;
  const int error = pthread_create(&t, &attributes, body, arg);
  pthread_attr_destroy(&attributes);
  return error;
}
inline void join_thread(thread t) noexcept { pthread_join(t, nullptr); }
inline thread this_thread() noexcept { return pthread_self(); }
inline int this_thread_id() noexcept { return static_cast<int>(gettid()); }
inline void name_thread(const char* name) noexcept { pthread_setname_np(pthread_self(), name); }
/// A sleep of microseconds would otherwise take 50 more.
inline void sleep_exactly_from_now_on() noexcept { prctl(PR_SET_TIMERSLACK, 1UL); }

inline cpu_clock this_thread_cpu_clock() noexcept {
  clockid_t clock = 0;
  pthread_getcpuclockid(pthread_self(), &clock);
  return clock;
}
/// Returns -1 if the thread has ended.
inline std::int64_t cpu_time(cpu_clock clock) noexcept {
  timespec t;
  if (clock_gettime(clock, &t) != 0) return -1;
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}
/// Returns true if the thread is asleep in the kernel, as opposed to runnable and waiting for a CPU; nothing if that
/// cannot be found out: no descriptor is free, or /proc is not mounted.
inline std::optional<bool> is_asleep(int thread_id) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread_id);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  char text[256];
  const ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return std::nullopt;
  text[n] = '\0';
  const char* after_name = std::strrchr(text, ')');
  return after_name == nullptr || after_name[1] == '\0' || after_name[2] != 'R';
}

/// What the kernel's scheduler grants a thread at a time, in nanoseconds (Linux 6.12; before that it is not asked). Returns
/// what it was; -1 if it was left alone: another policy, or a system that refuses.
inline std::int64_t set_slice(int thread_id, std::int64_t slice) noexcept {
  struct {
    std::uint32_t size, policy;
    std::uint64_t flags;
    std::int32_t nice;
    std::uint32_t priority;
    std::uint64_t runtime, deadline, period;
  } attributes{};
  constexpr std::uint64_t reset_on_fork = 1;  // SCHED_FLAG_RESET_ON_FORK: a thread that it starts is none of ours
  // Under a filter of system calls, for which these two may be deadly, nothing is asked.
  if (prctl(PR_GET_SECCOMP) != 0) return -1;
  if (syscall(SYS_sched_getattr, thread_id, &attributes, sizeof attributes, 0) != 0) return -1;
  // What it starts would lose a negative nice value.
  if (attributes.policy != SCHED_OTHER || attributes.nice < 0 || attributes.runtime == 0) return -1;
  const auto former = static_cast<std::int64_t>(attributes.runtime);
  attributes.flags = reset_on_fork;
  attributes.runtime = static_cast<std::uint64_t>(slice);
  return syscall(SYS_sched_setattr, thread_id, &attributes, 0) == 0 ? former : -1;
}

inline void yield_cpu() noexcept { sched_yield(); }
inline void sleep_for(std::int64_t ns) noexcept {
  const timespec time{ns / 1'000'000'000, static_cast<long>(ns % 1'000'000'000)};
  nanosleep(&time, nullptr);
}
inline std::int64_t now() noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

/// Sleeps while the word is `expected`, at most `timeout` nanoseconds (negative: no limit). May return early.
inline void futex_wait(detail::atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t timeout) noexcept {
  timespec limit;
  timespec* at_most = nullptr;
  if (timeout >= 0) {
    limit = {static_cast<time_t>(timeout / 1'000'000'000), static_cast<long>(timeout % 1'000'000'000)};
    at_most = &limit;
  }
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, at_most, nullptr, 0);
}
inline void futex_wake(detail::atomic<std::uint32_t>& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

inline bool membarrier(int command) noexcept { return syscall(SYS_membarrier, command, 0, 0) == 0; }

/// For what may sleep while it holds a lock.
using mutex = std::mutex;

/// Address space without memory; MAP_FAILED if there is none.
inline void* reserve_memory(std::size_t size) noexcept {
  return mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}
/// These two as mprotect and madvise.
inline int open_memory(void* at, std::size_t size) noexcept { return mprotect(at, size, PROT_READ | PROT_WRITE); }
inline int advise_memory(void* at, std::size_t size, int advice) noexcept { return madvise(at, size, advice); }

}  // namespace weft::rt::os
#endif
