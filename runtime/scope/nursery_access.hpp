// SPDX-License-Identifier: Apache-2.0
// What cancellation and the end of a fiber do inside a nursery.
#pragma once

#include <weft/detail/nursery.hpp>

#include "runtime/sched/g.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

struct nursery_access {
  /// Flags the nursery, and holds its lock on return. Returns false, with the lock free, if it was cancelled before.
  static bool lock_to_mark(nursery& n) noexcept WEFT_TRY_ACQUIRE(true, n.lock_) {
    n.lock_.lock();
    if (!n.cancelled_) {
      n.cancelled_ = true;
      return true;
    }
    n.lock_.unlock();
    return false;
  }
  /// Holds its lock on return if it is cancelled. Returns false, with the lock free, if it is not.
  static bool lock_if_cancelled(nursery& n) noexcept WEFT_TRY_ACQUIRE(true, n.lock_) {
    n.lock_.lock();
    if (n.cancelled_) return true;
    n.lock_.unlock();
    return false;
  }
  static void unlock(nursery& n) noexcept WEFT_RELEASE(n.lock_) { n.lock_.unlock(); }
  /// Under its lock: its members, linked by `sibling_next`.
  static rt::G* first_member(const nursery& n) noexcept WEFT_REQUIRES(n.lock_) {
    return static_cast<rt::G*>(n.members_);
  }
  static cancel_frame& frame(nursery& n) noexcept { return n.frame_; }
  static rt::G* owner(const nursery& n) noexcept { return static_cast<rt::G*>(n.owner_); }
  /// The first error, if nobody has taken it; it is taken then.
  static std::exception_ptr take_error(nursery& n) noexcept { return n.take_error(); }
  /// The fiber that opened it ends without having closed it. Returns an error that nobody has taken.
  static std::exception_ptr orphan(nursery& n) noexcept {
    n.orphaned_.store(true, std::memory_order_relaxed);
    return n.take_error();
  }

  /// The end of a child, in the child: reports its error, leaves. The nursery may be gone afterwards.
  static void leave(nursery& n, rt::G* g, std::exception_ptr error) noexcept;
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
