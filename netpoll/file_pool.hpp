// SPDX-License-Identifier: Apache-2.0
// The file engine where there is no io_uring: threads that block in the caller's place.
//
// Threads are made when there are more operations than threads, up to a limit, and end when they have had nothing to do
// for a while; what the limit leaves over waits in line.
//
// Invariant: a thread ends only while `wanted_`, the operations between `prepare` and their end, is zero; and `prepare`
// succeeds only if there is a thread by then, not one that is still being made, which may yet fail. So what is
// submitted after it finds a thread.
//
// Lock order: lock_ is a leaf; no system call under it. The futex word changes under it, so a submit between a thread's
// look at the line and its sleep is seen by the futex.
#pragma once

#include <cstdint>

#include <weft/detail/atomic.hpp>

#include "netpoll/file_engine.hpp"

namespace weft::rt {

/// Makes a detached thread. Returns 0, or the errno. A parameter, so that tests can let it fail.
using thread_maker = int (*)(void* (*main)(void*), void* argument) noexcept;
int make_thread(void* (*main)(void*), void* argument) noexcept;

class file_pool final : public file_engine {
 public:
  static constexpr int most_threads = 16;
  static constexpr nanoseconds_t idle_thread_timeout = 10'000'000'000;

  constexpr explicit file_pool(int limit = most_threads, nanoseconds_t patience = idle_thread_timeout,
                               thread_maker make = make_thread) noexcept
      : limit_(limit), patience_(patience), make_(make) {}

  [[nodiscard]] bool prepare() noexcept override;
  void submit(file_op& op) noexcept override;

  /// Returns how many threads there are now.
  int threads() noexcept;
  /// In the child of a fork, where it has no threads.
  void forget() noexcept;

 private:
  static void* thread_main(void* self) noexcept;
  void serve() noexcept;
  file_op* next_or_end() noexcept;

  const int limit_;
  const nanoseconds_t patience_;
  const thread_maker make_;
  detail::spin_lock lock_;
  request_line line_ WEFT_GUARDED_BY(lock_);
  int wanted_ WEFT_GUARDED_BY(lock_) = 0;
  int running_ WEFT_GUARDED_BY(lock_) = 0;   // threads
  int starting_ WEFT_GUARDED_BY(lock_) = 0;  // those that are being made
  int idle_ WEFT_GUARDED_BY(lock_) = 0;
  detail::atomic<std::uint32_t> submitted_{0};  // futex of idle threads; written under the lock, which orders it
};

}  // namespace weft::rt
