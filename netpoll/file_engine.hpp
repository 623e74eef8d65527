// SPDX-License-Identifier: Apache-2.0
// Operations on files that may block: what they are, what performs them, and how a fiber waits for one.
//
// Problem: for a file there is no readiness to wait for, only the end of an operation; and from its start to its end
// the kernel, or a thread, writes into the caller's buffer.
//
// Invariants
//  1. An operation lies on the frame of the fiber that waits for it, and belongs to the engine from `submit` until
//     `complete`.
//     So the wait can be ended by nothing else: it is neither cancellable nor timed, as nothing in the kernel could be
//     taken back in time. Cancellation is looked at on entry; a close waits for those inside.
//  2. `submit` runs in the commit hook of the park, when the fiber is off its stack: the thread that completes the
//     operation never waits for that. It neither blocks nor allocates; what does happens in `prepare`, before the park.
//  3. The engine touches an operation for the last time in `complete`, before the fiber is made ready.
//  4. An engine accepts every operation; what it cannot begin at once it keeps in line. What it finds that it cannot do
//     at all it completes as `unserved`, and the calling thread performs it itself.
//
// Locked instructions of a wait: the engine's own, and the wake; the claim needs none (waiter.hpp: `sole`).
#pragma once

#include <limits.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "netpoll/requests.hpp"

namespace weft::rt {

enum class file_action : std::uint8_t { read, write, sync, sync_data, allocate };

struct file_op : awaited_request {
  file_op(file_action what, int of, void* from_or_to, std::size_t size, std::uint64_t where) noexcept
      : file_op(what, of, std::span<iovec>(), where) {
    one_ = {from_or_to, size};
    pieces = std::span(&one_, 1);
    left = size;
  }
  /// `some` is the operation's until its end, and changes.
  file_op(file_action what, int of, std::span<iovec> some, std::uint64_t where) noexcept
      : awaited_request(request_kind::file), action(what), fd(of), pieces(some), offset(where) {
    for (const iovec& each : some) left += each.iov_len;
  }
  file_op(const file_op&) = delete;
  file_op& operator=(const file_op&) = delete;

  bool moves_bytes() const noexcept { return action == file_action::read || action == file_action::write; }
  /// What is left, or as many pieces of it as a call takes.
  std::span<const iovec> pieces_of_a_call() const noexcept {
    return pieces.first(std::min<std::size_t>(pieces.size(), IOV_MAX));
  }

  file_action action;
  bool direct = false;    ///< O_DIRECT: no page cache between
  bool blocks = false;    ///< is to be made where it may block; if it was told to try again, for the last time
  bool unserved = false;  ///< the engine's: it could not, and the caller is to go on
  int fd;
  int mode = 0;             ///< of fallocate
  std::span<iovec> pieces;  ///< what is still to be read or written
  std::size_t left = 0;     ///< bytes of them; of an allocation, its length
  std::uint64_t offset;
  std::size_t done = 0;
  int error = 0;

  /// Takes in what a system call or a completion said: bytes, or minus the errno. Returns true if the operation has
  /// ended.
  bool advance(ssize_t result) noexcept;

 private:
  iovec one_{};
};

/// Bytes that the calling thread copies from or to the page cache in one call. Others get a turn between two.
inline constexpr std::size_t most_copied_at_once = std::size_t{1} << 20;

/// Makes the system call for the next `most` bytes of it. `at_once`: see netpoll/file_calls.hpp.
ssize_t call_for(file_op& op, std::size_t most, bool at_once) noexcept;

class file_engine {
 public:
  file_engine(const file_engine&) = delete;
  file_engine& operator=(const file_engine&) = delete;

  /// Called before the park. Returns false if no thread can be had for the operation: the caller then performs it
  /// itself, and submits nothing.
  [[nodiscard]] virtual bool prepare() noexcept = 0;
  virtual void submit(file_op& op) noexcept = 0;

 protected:
  file_engine() = default;
  ~file_engine() = default;
};

/// Has the engine perform it, and waits for the end. The calling thread performs it, announced as blocking, if the
/// engine has no thread for it.
void perform(file_engine& engine, file_op& op) noexcept;
/// Performs it on the calling thread, announced as blocking; `most` bytes at a time, with a turn for others in between.
void perform_here(file_op& op, std::size_t most = std::numeric_limits<std::size_t>::max()) noexcept;

}  // namespace weft::rt
