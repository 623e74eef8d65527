// SPDX-License-Identifier: Apache-2.0
// One operation on a descriptor: holding its side, and deciding after a system call whether to park, to try again or to
// give up. Every system call on a descriptor is made by the holder of a side (or under `while_open`), so the number
// cannot be closed, and given out again, beneath it.
//
// Locked instructions: those of descriptor.hpp, none more.
#pragma once

#include <utility>

#include "netpoll/calls.hpp"
#include "netpoll/failure.hpp"
#include "netpoll/table.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

constexpr failure no_descriptor{EBADF};

/// A side held for one operation. Use: while (side) { call; if (result < 0) { if (side.again(...)) continue; break; } }
class held_side {
 public:
  held_side(descriptor* d, direction which, failure& why) noexcept : which_(which) {
    if (d == nullptr) {
      why = no_descriptor;
      return;
    }
    why = cancelled_at_entry();
    if (why) return;
    why = failure_of(d->begin(which));
    if (!why) d_ = d;
  }
  ~held_side() {
    // Data that is always there must not keep other fibers from the P.
    if (d_ != nullptr && d_->end(which_, drained) && current_fiber() != nullptr) yield_now();
  }
  held_side(const held_side&) = delete;
  held_side& operator=(const held_side&) = delete;

  explicit operator bool() const noexcept { return d_ != nullptr; }
  descriptor& it() const noexcept { return *d_; }
  int fd() const noexcept { return d_->fd(); }

  /// Called after a call that returned a negative errno. Returns true if the caller should try again; else sets `why`.
  bool again(long result, failure& why) noexcept {
    if (result == -EINTR) return true;
    if (result != -EAGAIN)
      why.error = static_cast<int>(-result);
    else
      why = failure_of(d_->wait(which_));
    return !why;
  }

  bool drained = false;  ///< the last read gave less than was asked for

 private:
  descriptor* d_ = nullptr;
  direction which_;
};

/// Keeps the descriptor open around a call that waits for nothing.
template <class F>
failure while_open(descriptor* d, F&& call) noexcept {
  if (d == nullptr) return no_descriptor;
  if (!d->hold()) return failure_of(wait_outcome::closed);
  const int result = std::forward<F>(call)(d->fd());
  d->drop();
  return result < 0 ? failure{-result} : failure{};
}

}  // namespace weft::rt
