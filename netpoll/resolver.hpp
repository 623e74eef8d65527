// SPDX-License-Identifier: Apache-2.0
// Names: getaddrinfo, on threads of its own.
//
// Problem: getaddrinfo blocks its thread for as long as it likes, tens of seconds where a name server does not answer,
// and nothing interrupts it. On a thread that runs fibers no deadline could end the call, the end of a run would wait
// for it, and a thousand names at once would want a thousand threads.
//
// So a lookup is a request. Helper threads make the calls, up to a limit; what the limit leaves over waits in line. The
// caller waits for its request as for anything else, and leaves when it is cancelled. A helper is left alone then: it
// outlives the caller, and the run if need be, and drops its result when it has one.
//
//   state     whose                       what follows
//   in_line   the caller's                running; done, where no thread can be had; a caller that leaves takes it out
//   running   the caller's and a helper's done; left, if the caller leaves
//   done      the caller's                -
//   left      the helper's, which deletes it
//
// Invariants
//  1. A helper touches nothing of a run but the fiber that it wakes, and the pool lives as long as the process. So the
//     end of a run waits for no helper, the next run finds the pool as it is, and the process may exit beside calls
//     that never return.
//  2. While a request is in line, a helper runs or is being started. The last helper whose start fails while none runs
//     fails everything in line.
//  3. A helper that is idle, or being started, takes a request as soon as it has the lock, so a further one is started
//     only for what is in line beyond those.
//
// Lock order: lock_ is a leaf; no system call under it. The futex word changes under it, so a request that comes between
// a helper's look at the line and its sleep is seen by the futex. What a helper writes into a running request is
// published by the lock, under which it becomes done.
#pragma once

#include <netdb.h>

#include <cstdint>
#include <memory>
#include <string>

#include <weft/detail/annotations.hpp>
#include <weft/detail/atomic.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/detail/wait_list.hpp>

#include "netpoll/address.hpp"
#include "runtime/base/os.hpp"
#include "runtime/sched/timer_heap.hpp"
#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft::rt {

struct name_request {
  enum class state : std::uint8_t { in_line, running, done, left };

  name_request(std::string its_host, std::string its_port, bool passive, int type)
      : host(std::move(its_host)), port(std::move(its_port)) {
    hints.ai_socktype = type;
    hints.ai_flags = passive ? AI_PASSIVE : 0;
  }
  ~name_request() {
    if (found != nullptr) freeaddrinfo(found);
  }
  name_request(const name_request&) = delete;
  name_request& operator=(const name_request&) = delete;

  const std::string host;
  const std::string port;
  addrinfo hints{};

  // What getaddrinfo said: its result, the errno, the list.
  int code = 0;
  int error = 0;
  addrinfo* found = nullptr;

  // Under the pool's lock.
  state now = state::in_line;
  detail::wait_list waiters;  ///< the caller
  name_request* next = nullptr;
  name_request* prev = nullptr;
};

class resolver {
 public:
  static constexpr int most_threads = 64;
  static constexpr nanoseconds_t idle_thread_timeout = 10'000'000'000;
  /// Makes a detached thread. Returns 0, or the errno. A parameter, so that tests can let it fail.
  using thread_maker = int (*)(void* (*main)(void*), void* argument) noexcept;

  constexpr explicit resolver(int limit = most_threads, nanoseconds_t patience = idle_thread_timeout,
                              thread_maker make = os::start_detached_thread) noexcept
      : limit_(limit), patience_(patience), make_(make) {}
  resolver(const resolver&) = delete;
  resolver& operator=(const resolver&) = delete;

  /// Waits until the request is done. Returns false if the wait was cancelled: `asked` is empty, or the caller's alone.
  [[nodiscard]] bool ask(std::unique_ptr<name_request>& asked) noexcept;

  /// Returns how many threads there are now.
  int threads() noexcept;
  /// In the child of a fork, where it has no threads, and nobody waits.
  void forget() noexcept;

 private:
  static void* thread_main(void* self) noexcept;
  [[nodiscard]] bool put_in_line(name_request& r) noexcept;
  void start_thread() noexcept;
  wait_outcome wait_until_done(name_request& r) noexcept;
  void serve() noexcept;
  name_request* next_or_end() noexcept;
  void finish(name_request& r) noexcept;
  void unlink(name_request& r) noexcept WEFT_REQUIRES(lock_);

  const int limit_;
  const nanoseconds_t patience_;
  const thread_maker make_;
  detail::spin_lock lock_;
  name_request* first_ WEFT_GUARDED_BY(lock_) = nullptr;  // the line
  name_request* last_ WEFT_GUARDED_BY(lock_) = nullptr;
  int in_line_ WEFT_GUARDED_BY(lock_) = 0;
  int running_ WEFT_GUARDED_BY(lock_) = 0;         // threads
  int starting_ WEFT_GUARDED_BY(lock_) = 0;        // those that have not had the lock yet
  int idle_ WEFT_GUARDED_BY(lock_) = 0;            // of those that run
  detail::atomic<std::uint32_t> came_in_line_{0};  // futex of idle threads; written under the lock, which orders it
};

/// Looks a name up, for `look_up`: waits, and may be cancelled. Fills `result`.
void resolve_name(const std::string& host, const std::string& port, bool passive, int type, lookup& result);

}  // namespace weft::rt
