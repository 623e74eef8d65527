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
// Readiness (WEFT_NETPOLL=io_uring): a multishot poll for each descriptor, edge-triggered as with epoll. Its
// completions are edges, handed to `descriptor::event`; the fibers that they claim are woken with the rest. One that
// ends (no F_MORE: a full completion queue, -ECANCELED) is armed again, and reports at once what is ready then, so no
// edge is lost. A poll keeps the file open, so before a close it must have ended:
//
//   watch     none -> queued      taken from the inbox; or armed -> queued: it has ended by itself
//             queued -> armed     submitted; if a closer waits for its end by then: queued -> none, and it is told
//   unwatch   none                the closer is told at once
//             queued              the closer is told when the turn of the watch comes
//             armed               POLL_REMOVE, again while it says -EALREADY; the poll's last completion makes it none,
//                                 and once both have completed the closer is told
//
// When the closer goes on, the kernel has let go of the file: it does so before the call that reports the last
// completion returns, as that call is the submitting thread's own.
//
// Invariants
//  1. A submission entry that was taken is submitted, whatever a call says until then: its operation's memory lives
//     until its completion came. Failed calls are repeated, entries are never dropped.
//  2. File operations in flight <= credit < completions of the ring; what is beyond it waits in `files_`, in order. So
//     nothing is refused, and file operations cannot overflow the completion queue. (Edges can: then the kernel keeps
//     what does not fit, or ends the poll.)
//  3. Everything but the inbox and the counters is the thread's own.
//  4. user_data says what a completion belongs to, in its low bits: an operation's address, or a descriptor's
//     generation and index, so that a late one finds that the slot has another use.
//
// The wake is an eventfd with a READ in flight on it: one write a sleep, by the thread that the inbox tells to.
#pragma once

#include <cstdint>

#include <weft/detail/atomic.hpp>

#include "netpoll/file_engine.hpp"
#include "netpoll/inbox.hpp"
#include "netpoll/requests.hpp"
#include "netpoll/ring.hpp"
#include "netpoll/table.hpp"

namespace weft::rt {

class ring_engine final : public file_engine, public readiness_reporter {
 public:
  constexpr ring_engine() noexcept = default;

  /// Starts the thread, and blocks the calling thread until its verdict. Called once, or again after a refusal.
  /// An engine that was started is never destroyed: the thread may be on its last line, and the last thread to push
  /// may still be about to wake it.
  bool start(const ring_calls& calls, const ring_limits& limits, ring_refusal& refusal) noexcept;
  /// In the child of a fork.
  void forget() noexcept;

  [[nodiscard]] bool prepare() noexcept override { return true; }
  void submit(file_op& op) noexcept override { push(op); }

  int add(descriptor& d) noexcept override;
  void remove(descriptor& d) noexcept override;

  const ring_shape& shape() const noexcept { return shape_; }
  /// Polls that ended by themselves and were armed again; for tests, as the next, which is of file operations.
  unsigned rearmed() const noexcept { return rearmed_.load(std::memory_order_relaxed); }
  unsigned most_in_flight() const noexcept { return most_in_flight_.load(std::memory_order_relaxed); }

 private:
  enum class state : std::uint32_t { starting, works, refused };

  static void* thread_main(void* self) noexcept;
  bool open() noexcept;
  void serve() noexcept;
  void take() noexcept;
  void prepare_submissions() noexcept;
  bool prepare_wake() noexcept;
  void enter(unsigned wait_for) noexcept;
  void reap() noexcept;
  void completed(std::uint64_t user_data, int result, unsigned flags) noexcept;
  void file_completed(file_op& op, int result) noexcept;
  void watched(std::uint64_t user_data, int events, bool more) noexcept;
  void unwatched(unwatch_request& u, int result) noexcept;
  void end_of(watch_request& watch) noexcept;
  void unwatch(unwatch_request& u) noexcept;
  bool prepare_control(request& r) noexcept;
  void push(request& r) noexcept;

  inbox<std_atomics, request> inbox_;
  detail::atomic<std::uint32_t> state_{0};      // futex of `start`; release by the thread, acquire there
  detail::atomic<bool> gone_{false};            // relaxed: written while there is one thread
  detail::atomic<unsigned> rearmed_{0};         // relaxed: a figure, as the next
  detail::atomic<unsigned> most_in_flight_{0};  // relaxed: a figure
  int wake_ = -1;                               // written before the thread works
  const ring_calls* calls_ = nullptr;           // these four too
  ring_limits limits_;
  ring_shape shape_;
  ring_refusal* refusal_ = nullptr;

  // The thread's own.
  io_uring ring_{};
  request_line files_;     // file operations that wait for credit, or for room
  request_line controls_;  // watches and unwatches that wait for room
  g_list ready_;
  std::uint64_t wakes_ = 0;  // where the READ puts the eventfd's count
  unsigned in_flight_ = 0;
  bool wake_armed_ = false;
  bool memory_is_short_ = false;  // a poll could not be armed: no sense in trying at once
};

}  // namespace weft::rt
