// SPDX-License-Identifier: Apache-2.0
// Something that has happened, or not yet.
#pragma once

#include <cstdint>

#include <weft/detail/any_duration.hpp>
#include <weft/detail/atomic.hpp>
#include <weft/detail/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/select_entry.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/detail/wait_list.hpp>

namespace weft {
inline namespace v0 {

namespace detail {
struct event_insight;
}

/// event is set or not; waits return while it is set. Not set at first.
///
/// `set` lets everybody go who waits, also if a `reset` follows at once. What happened before a `set` happens before
/// the return of a wait that saw it. `on_event` makes it a case of a select. Any fiber or plain thread.
class WEFT_EXPORT event {
 public:
  constexpr event() noexcept = default;
  event(const event&) = delete;
  event& operator=(const event&) = delete;

  /// Never waits.
  void set() noexcept;
  /// Waits begin to wait again. Never waits.
  void reset() noexcept;
  /// Never waits.
  [[nodiscard]] bool is_set() const noexcept;
  /// Waits until it is set. Cancellable.
  void wait() { wait_ns(detail::for_ever); }
  /// The same, at most for so long; true: it was set.
  [[nodiscard]] bool wait_for(detail::any_duration at_most) { return wait_ns(at_most.ns()); }

 private:
  friend struct detail::event_insight;
  bool wait_ns(std::int64_t patience);
  mutable detail::spin_lock lock_;
  detail::atomic<bool> set_{false};  ///< written under the lock; a select looks at it without, and again under it
  detail::wait_list waiters_ WEFT_GUARDED_BY(lock_);
};

namespace detail {
/// How a select sees an event.
struct event_insight {
  WEFT_EXPORT static select_entry set_case(event& e) noexcept;
  struct ops;
};
}  // namespace detail

}  // namespace v0
}  // namespace weft
