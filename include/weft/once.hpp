// SPDX-License-Identifier: Apache-2.0
// Doing something once, whoever comes first.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <weft/detail/atomic.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/detail/wait_list.hpp>
#include <weft/error.hpp>

namespace weft {
inline namespace v0 {

/// once_flag says whether its call_once has been done.
class WEFT_EXPORT once_flag {
 public:
  constexpr once_flag() noexcept = default;
  once_flag(const once_flag&) = delete;
  once_flag& operator=(const once_flag&) = delete;

 private:
  template <class F, class... Args>
  friend void call_once(once_flag& flag, F&& f, Args&&... args);

  /// Whoever ends the call may still be inside: then not yet. The lock was taken before `done_` was written, so who
  /// sees the one sees the other.
  bool is_done() const noexcept { return done_.load(std::memory_order_acquire) && !lock_.is_locked(); }
  /// Waits for whoever is at it. True: it is the caller's turn.
  bool begin() noexcept;
  void end(bool done) noexcept;

  detail::spin_lock lock_;
  detail::atomic<bool> done_{false};  ///< written under the lock, released to `is_done`
  bool running_ WEFT_GUARDED_BY(lock_) = false;
  detail::wait_list waiters_ WEFT_GUARDED_BY(lock_);
};

/// call_once calls `f(args...)` unless a call with this flag has returned before; if one is under way, it waits for it.
///
/// A call that throws does not count: the exception goes to its caller, and the next one tries. A `cancelled` that
/// leaves `f` is such an exception. The wait for another's call is not cancellable. Calling it again from within `f`
/// deadlocks. What `f` did happens before the return of every call_once with this flag. Any fiber or plain thread.
template <class F, class... Args>
void call_once(once_flag& flag, F&& f, Args&&... args) {
  if (flag.is_done() || !flag.begin()) return;
  struct turn {
    once_flag& flag;
    bool done = false;
    ~turn() { flag.end(done); }
  } mine{flag};
  static_cast<void>(std::invoke(std::forward<F>(f), std::forward<Args>(args)...));
  mine.done = true;
}

namespace this_fiber {
WEFT_EXPORT bool cancelled() noexcept;  // weft/runtime.hpp
}

namespace detail {

/// What once_value returns.
template <class F>
class remembered {
 public:
  using result = std::invoke_result_t<F>;

  explicit remembered(F f) : state_(std::make_shared<state>(std::move(f))) {}

  decltype(auto) operator()() const {
    state& s = *state_;
    call_once(s.once, [&s] {
      try {
        if constexpr (std::is_void_v<result>)
          std::move(s.f)();
        else if constexpr (std::is_reference_v<result>)
          s.value = std::addressof(static_cast<std::remove_reference_t<result>&>(std::move(s.f)()));
        else
          s.value.emplace(std::move(s.f)());
      } catch (const cancelled&) {
        throw;
      } catch (...) {
        if (this_fiber::cancelled()) throw;  // it may be the error of a failed scope around this call, and not of `f`
        s.error = std::current_exception();
      }
    });
    if (s.error != nullptr) std::rethrow_exception(s.error);
    if constexpr (std::is_void_v<result>)
      return;
    else if constexpr (std::is_reference_v<result>)
      return static_cast<std::remove_reference_t<result>&>(*s.value);
    else
      return static_cast<const result&>(*s.value);
  }

 private:
  struct nothing {};
  using stored = std::conditional_t<
      std::is_void_v<result>, nothing,
      std::conditional_t<std::is_reference_v<result>, std::remove_reference_t<result>*, std::optional<result>>>;
  struct state {
    explicit state(F&& f_) : f(std::move(f_)) {}
    once_flag once;
    F f;
    stored value{};
    std::exception_ptr error;
  };
  std::shared_ptr<state> state_;
};

}  // namespace detail

/// once_value returns a callable that calls `f` when it is first called, and from then on returns what `f` returned (a
/// const reference to it, or the reference that `f` returned) or throws what `f` threw.
///
/// Copies of the callable share the value, and it lives as long as the last of them. Calls wait, not cancellably, while
/// another computes. What leaves `f` while its caller is cancelled is not remembered: the call throws it, and the next one
/// calls `f` again. What `f` did happens before the return of every call. Any fiber or plain thread.
///
/// ```cpp
/// auto settings = weft::once_value([] { return read_settings(); });
/// use(settings());
/// ```
template <class F>
requires std::is_invocable_v<std::decay_t<F>>
[[nodiscard]] auto once_value(F&& f) { return detail::remembered<std::decay_t<F>>(std::forward<F>(f)); }

}  // namespace v0
}  // namespace weft
