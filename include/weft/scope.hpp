// SPDX-License-Identifier: Apache-2.0
// Structure and cancellation: scopes whose children end before they do, regions with a time limit, shields.
//
// Cancellation is cooperative and level-triggered: once a scope is cancelled, every cancellable wait in it throws
// weft::cancelled, at its entry even if it could go on, now and each later time. A wait that completes in the moment of
// cancellation may return; the next one throws. While an exception unwinds through the scope, waits in destructors are
// shielded by themselves; a wait in any other destructor belongs in `shield`.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>
#include <vector>

#include <weft/detail/any_duration.hpp>
#include <weft/detail/callable_ref.hpp>
#include <weft/detail/cancel_frame.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/nursery.hpp>
#include <weft/detail/result.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/error.hpp>
#include <weft/fiber.hpp>
#include <weft/time.hpp>

namespace weft {
inline namespace v0 {

/// scope_options: `limit` children at a time, 0 for any number.
struct scope_options {
  std::size_t limit = 0;
};

/// collect_t selects a scope whose children fail on their own; see `collect`.
struct collect_t {
  explicit collect_t() = default;
};
inline constexpr collect_t collect{};

/// collect_options: as scope_options; `on_error` hears of each error, in the failing child, one at a time. It must not
/// throw.
struct collect_options {
  std::size_t limit = 0;
  std::function<void(std::exception_ptr)> on_error{};
};

/// scope is a nursery: what runs in it ends before it does. A local object; it is a child of the scope it stands in,
/// and is cancelled with that one.
///
/// The first child that fails cancels its siblings, and `join` rethrows that error. With `collect` a failing child
/// leaves its siblings alone, `join` throws no child's error, and no child's error ends the process. The destructor
/// cancels the children if an exception unwinds, and waits for them (shielded); an error that nobody has joined then
/// ends the process, unless an exception unwinds. Only the fiber that made it should join it; `go`, `spawn` and
/// `cancel` may be called by its children, too.
///
/// ```cpp
/// weft::scope s;
/// s.go([&] { left = sum(a); });
/// s.go([&] { right = sum(b); });
/// s.join();
/// ```
class scope {
 public:
  scope() : core_(false, 0, nullptr) {}
  explicit scope(const scope_options& how) : core_(false, how.limit, nullptr) {}
  explicit scope(collect_t) : core_(true, 0, nullptr) {}
  scope(collect_t, collect_options how) : core_(true, how.limit, std::move(how.on_error)) {}
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;
  ~scope() = default;

  /// Starts `f` in a child. Waits, cancellably, while `limit` children run. `f` is moved from only if the child is
  /// started.
  template <class F>
  void go(F&& f) {
    plant(std::forward<F>(f),
          [this](auto&& g) { detail::plant<std::decay_t<F>>(nullptr, nullptr, &core_, std::forward<decltype(g)>(g)); });
  }

  /// The same with a handle. An error that the handle's `join` throws is not thrown again by the scope's.
  template <class F>
  [[nodiscard]] auto spawn(F&& f) -> fiber<detail::call_result<F>> {
    using result = detail::call_result<F>;
    fiber<result> handle;
    plant(std::forward<F>(f), [this, &handle](auto&& g) {
      handle = fiber<result>(detail::plant_task<result>(nullptr, &core_, std::forward<decltype(g)>(g)));
    });
    return handle;
  }

  /// Waits until all children have ended; rethrows the first error (not with `collect`), once. Cancellable.
  void join() { core_.join(); }
  /// Cancels all children, also those to come. Never waits.
  void cancel() noexcept { core_.cancel(); }
  /// Whether the children are cancelled.
  [[nodiscard]] bool cancelled() const noexcept { return core_.is_cancelled(); }
  /// The errors so far: the first 64.
  [[nodiscard]] std::vector<std::exception_ptr> errors() const { return core_.errors(); }
  /// How many children have failed so far.
  [[nodiscard]] std::size_t error_count() const noexcept { return core_.error_count(); }

 private:
  template <class F, class Start>
  void plant(F&& f, Start&& start) {
    core_.admit();
    try {
      start(std::forward<F>(f));
    } catch (...) {
      core_.take_back();
      throw;
    }
  }

  detail::nursery core_;
};

namespace detail {
/// Runs `f` in a region with a deadline; throws timed_out if that is what left `f`.
WEFT_EXPORT void run_until(clock::time_point deadline, callable_ref f);
WEFT_EXPORT void run_shielded(callable_ref f);
}  // namespace detail

/// with_deadline runs `f` here; past `when` its cancellable waits throw, and the call throws timed_out if only that is
/// what left `f` and no outer scope is cancelled. A result that comes late is returned. Nests: the nearest deadline
/// wins. On a plain thread it just calls `f`, whose waits nothing ends: use their own `_for` forms there.
template <class F>
auto with_deadline(clock::time_point when, F&& f) -> std::invoke_result_t<F> {
  detail::result_slot<std::invoke_result_t<F>> result;
  auto body = [&] { result.fill(std::forward<F>(f)); };
  detail::run_until(when, body);
  return result.take();
}

/// with_timeout is with_deadline, counted from now.
template <class F>
auto with_timeout(detail::any_duration how_long, F&& f) -> std::invoke_result_t<F> {
  const auto now = clock::now();
  const bool fits = how_long.ns() < (clock::time_point::max() - now).count();
  return with_deadline(fits ? now + std::chrono::nanoseconds(how_long.ns()) : clock::time_point::max(),
                       std::forward<F>(f));
}

/// cancel_scope is a region that is cancelled by hand, from any fiber or thread, before or while it runs. On a plain
/// thread `run` just calls `f`.
class WEFT_EXPORT cancel_scope {
 public:
  constexpr cancel_scope() noexcept = default;
  cancel_scope(const cancel_scope&) = delete;
  cancel_scope& operator=(const cancel_scope&) = delete;

  /// Runs `f` here. True if it completed, false if this scope ended it; an outer cancellation passes through as
  /// `cancelled`.
  template <class F>
  bool run(F&& f) {
    auto body = [&] { std::forward<F>(f)(); };
    return run_body(body);
  }
  /// Cancels what runs in it, and what will. Never waits.
  void cancel() noexcept;
  [[nodiscard]] bool cancelled() const noexcept;

 private:
  bool run_body(detail::callable_ref f);

  mutable detail::spin_lock lock_;
  bool cancelled_ WEFT_GUARDED_BY(lock_) = false;
  detail::cancel_frame* active_ WEFT_GUARDED_BY(lock_) = nullptr;
};

/// shield runs `f` with no cancellation inside: for clean-up that waits.
template <class F>
auto shield(F&& f) -> std::invoke_result_t<F> {
  detail::result_slot<std::invoke_result_t<F>> result;
  auto body = [&] { result.fill(std::forward<F>(f)); };
  detail::run_shielded(body);
  return result.take();
}

}  // namespace v0
}  // namespace weft
