// SPDX-License-Identifier: Apache-2.0
// One io_uring on one thread that outlives every M: the engine for files, and on demand the reporter of readiness.
//
// Problem: an io_uring request belongs to the thread that submitted it. If that thread blocks, its completions wait; if
// it ends, they fail. To Ms both happen at any time. So requests go through an inbox to a thread that does nothing else
// and lives as long as the process, also between two run()s: there it sleeps in the kernel. (A child of a fork has the
// memory of neither the thread nor the ring: see backend.cpp.)
//
//   fiber                        ring's thread
//     push into the inbox          take all · prepare those for which there is credit · nothing left: fall asleep
//     wake it if it slept          submit and wait, in one system call
//                                  reap: finish short counts, complete operations · wake all their fibers at once
//
// Invariants
//  1. A submission entry that was taken is submitted, whatever a call says meanwhile: its operation's memory lives until
//     its completion came. Failed calls are repeated, entries are never dropped.
//  2. File operations in flight <= credit < completions of the ring; what is beyond it waits in `backlog_`, in order. So
//     nothing is refused, and file operations cannot overflow the completion queue.
//  3. Everything but the inbox and the counters is the thread's own.
//  4. user_data says whose a completion is, in its low bits: an operation's address, or a descriptor's generation and
//     index, so that a late one finds that the slot is somebody else's.
//
// The wake is an eventfd with a READ in flight on it: one write a sleep, by whoever the inbox says it to.
#pragma once

#include <atomic>
#include <cstdint>

#include "netpoll/file_engine.hpp"
#include "netpoll/inbox.hpp"
#include "netpoll/ring.hpp"

namespace weft::inline v0::rt {

class ring_engine final : public file_engine {
 public:
  constexpr ring_engine() noexcept = default;

  /// Starts the thread, and waits for its verdict; blocks the calling thread meanwhile. Once, or again after a refusal
  /// and after `stop`.
  bool start(const ring_calls& calls, const ring_limits& limits, ring_refusal& refusal) noexcept;
  /// Ends the thread once nothing is in flight; for tests. (The process's own lives as long as the process.)
  void stop() noexcept;
  /// In the child of a fork.
  void forget() noexcept;

  [[nodiscard]] bool prepare() noexcept override { return true; }
  void submit(file_op& op) noexcept override { push(op); }

  const ring_shape& shape() const noexcept { return shape_; }
  /// Of file operations, for tests.
  unsigned most_in_flight() const noexcept { return most_in_flight_.load(std::memory_order_relaxed); }

 private:
  enum class state : std::uint32_t { none, starting, works, refused };

  static void* thread_main(void* self) noexcept;
  bool open() noexcept;
  void close() noexcept;
  void serve() noexcept;
  void take() noexcept;
  void prepare_submissions() noexcept;
  bool prepare_wake() noexcept;
  void enter(unsigned wait_for) noexcept;
  void reap() noexcept;
  void completed(std::uint64_t user_data, int result, unsigned flags) noexcept;
  void file_completed(file_op& op, int result) noexcept;
  void put_off(request& r) noexcept;
  void push(request& r) noexcept;

  inbox<std_atomics, request> inbox_;
  std::atomic<std::uint32_t> state_{0};      // futex of `start` and `stop`; release by the thread, acquire by them
  std::atomic<unsigned> most_in_flight_{0};  // relaxed: a figure
  int wake_ = -1;                            // written before the thread works
  const ring_calls* calls_ = nullptr;        // these four too
  ring_limits limits_;
  ring_shape shape_;
  ring_refusal* refusal_ = nullptr;

  // The thread's own.
  io_uring ring_{};
  request* first_ = nullptr;  // the backlog
  request* last_ = nullptr;
  g_list ready_;
  std::uint64_t wakes_ = 0;  // where the READ puts the eventfd's count
  unsigned in_flight_ = 0;
  bool wake_armed_ = false;
  bool stopping_ = false;
};

}  // namespace weft::inline v0::rt
