// SPDX-License-Identifier: Apache-2.0
// Waiting until a number of things are done.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include <weft/detail/any_duration.hpp>
#include <weft/detail/atomic.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/detail/wait_list.hpp>

namespace weft {
inline namespace v0 {

/// wait_group waits until a number of things are done. Reusable once a wait has returned.
///
/// What happened before a `done` happens before the return of the `wait` that it releases.
class WEFT_EXPORT wait_group {
 public:
  constexpr wait_group() noexcept = default;
  wait_group(const wait_group&) = delete;
  wait_group& operator=(const wait_group&) = delete;

  /// Adds `n`, which may be negative. Never waits. Throws std::logic_error, and changes nothing, if the count would
  /// become negative or exceed 2^31 - 1.
  void add(int n = 1);
  /// The same as add(-1). Never throws `cancelled`.
  void done() { add(-1); }
  /// Waits until the count is zero. Cancellable.
  void wait();
  /// The same, at most for so long; true: the count was zero.
  [[nodiscard]] bool wait_for(detail::any_duration at_most);
  /// Counts one, and starts `f` in a fiber of its own, detached; done when `f` returns. Never waits. If `f` throws, the
  /// process ends as with weft::go; if it is cancelled, it counts as done.
  template <class F>
  void go(F&& f) {
    add(1);
    counted_call<std::decay_t<F>> call{counted(this), std::forward<F>(f)};
    detail::spawn_closure<decltype(call)>(nullptr, nullptr, nullptr, std::move(call));
  }

 private:
  /// One that is to be done, by whoever holds it last.
  class counted {
   public:
    explicit counted(wait_group* group) noexcept : group_(group) {}
    counted(counted&& other) noexcept : group_(std::exchange(other.group_, nullptr)) {}
    counted& operator=(counted&&) = delete;
    ~counted() {
      if (group_ != nullptr) group_->done();
    }

   private:
    wait_group* group_;
  };
  template <class F>
  struct counted_call {
    counted one;  // goes after `f`: what the closure holds is gone when the wait returns
    F f;
    void operator()() && { static_cast<void>(std::move(f)()); }
  };

  bool wait_until(std::int64_t deadline);
  // {count:32, waiters:31, lock:1}: see runtime/sync/wait_group.cpp.
  detail::atomic<std::uint64_t> word_{0};
  detail::wait_list waiters_;
};

}  // namespace v0
}  // namespace weft
