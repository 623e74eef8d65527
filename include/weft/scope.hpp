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
#include <weft/detail/region.hpp>
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
/// The first child that fails cancels its siblings and reaches the owner, the fiber that made the scope: `join`, and any
/// cancellable wait of the owner inside the scope, rethrows that error, once. So a loop over a channel that the child was
/// to feed ends with the reason. Later waits there throw `cancelled`, until `join`, which then only waits for the
/// children. Of several failed scopes the innermost speaks first. Calls that report by an error code give
/// operation_canceled and leave the error to the next wait that throws. `cancel` by hand is for the children and does
/// not reach the owner; nor does a failure once `join` was called, nor one on a plain thread, where `join` alone throws.
///
/// With `collect` a failing child leaves its siblings and the owner alone, `join` throws no child's error, and no
/// child's error ends the process.
///
/// The destructor cancels the children if an exception unwinds, and waits for them (shielded); an error that nobody has
/// taken then ends the process, unless an exception unwinds. Only the owner should join it; `go`, `spawn` and `cancel`
/// may be called by its children as well. To use or destroy a scope after its owner has ended is fatal.
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

  /// Starts `f(args...)` in a child. Waits, cancellably, while `limit` children run. Callable and arguments are
  /// decay-copied and invoked as rvalues; a result is dropped. A callable without arguments is moved from only if the
  /// child is started.
  template <class F, class... Args>
  requires std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>
  void go(F&& f, Args&&... args) { go_with(nullptr, std::forward<F>(f), std::forward<Args>(args)...); }
  /// The same with a name and a stack size: `s.go({.name = "ingest"}, f)`. A bad size throws std::invalid_argument.
  template <class F, class... Args>
  requires std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>
  void go(const attrs& how, F&& f, Args&&... args) { go_with(&how, std::forward<F>(f), std::forward<Args>(args)...); }

  /// As `go`, and returns a handle. An error that the handle's `join` throws is not thrown again by the scope. Where the
  /// scope's failure has cancelled the child, the handle's `join` throws the scope's error.
  template <class F, class... Args>
  requires std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>
  [[nodiscard]] auto spawn(F&& f, Args&&... args) -> fiber<detail::call_result<F, Args...>> {
    return spawn_with(nullptr, std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
  requires std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>
  [[nodiscard]] auto spawn(const attrs& how, F&& f, Args&&... args) -> fiber<detail::call_result<F, Args...>> {
    return spawn_with(&how, std::forward<F>(f), std::forward<Args>(args)...);
  }

  /// Waits until all children have ended; rethrows the first error (not with `collect`), unless it was taken before.
  /// Cancellable.
  void join() { core_.join(); }
  /// Cancels all children, also those to come. Never waits.
  void cancel() noexcept { core_.cancel(); }
  /// Whether the children are cancelled.
  [[nodiscard]] bool cancelled() const noexcept { return core_.is_cancelled(); }
  /// The errors so far: the first 64.
  [[nodiscard]] std::vector<std::exception_ptr> errors() const {
    std::vector<std::exception_ptr> copies(detail::nursery::most_errors);
    copies.resize(core_.copy_errors(copies.data()));
    return copies;
  }
  /// How many children have failed so far.
  [[nodiscard]] std::size_t error_count() const noexcept { return core_.error_count(); }

 private:
  /// A place among the children, until a child has it.
  class admission {
   public:
    explicit admission(detail::nursery& to) : to_(&to) { to.admit(); }
    ~admission() {
      if (to_ != nullptr) to_->take_back();
    }
    admission(const admission&) = delete;
    admission& operator=(const admission&) = delete;
    void done() noexcept { to_ = nullptr; }

   private:
    detail::nursery* to_;
  };

  template <class F, class... Args>
  void go_with(const attrs* how, F&& f, Args&&... args) {
    using closure = decltype(detail::bind_call(std::forward<F>(f), std::forward<Args>(args)...));
    admission place(core_);
    if constexpr (sizeof...(Args) == 0)
      detail::spawn_closure<closure>(how, nullptr, &core_, std::forward<F>(f));
    else
      detail::spawn_closure<closure>(how, nullptr, &core_,
                                     detail::bind_call(std::forward<F>(f), std::forward<Args>(args)...));
    place.done();
  }

  template <class F, class... Args>
  auto spawn_with(const attrs* how, F&& f, Args&&... args) {
    using result = detail::call_result<F, Args...>;
    admission place(core_);
    fiber<result> handle;
    if constexpr (sizeof...(Args) == 0)
      handle = fiber<result>(detail::spawn_task<result>(how, &core_, std::forward<F>(f)));
    else
      handle = fiber<result>(
          detail::spawn_task<result>(how, &core_, detail::bind_call(std::forward<F>(f), std::forward<Args>(args)...)));
    place.done();
    return handle;
  }

  detail::nursery core_;
};

/// with_deadline runs `f` here; past `when` its cancellable waits throw, and the call throws timed_out if only that is
/// what left `f` and no outer scope is cancelled. A result that comes late is returned. Nests: the nearest deadline
/// wins. On a plain thread it just calls `f`, whose waits nothing ends: use their own `_for` forms there.
template <class F>
auto with_deadline(clock::time_point when, F&& f) -> std::invoke_result_t<F> {
  detail::deadline_region region(when);
  try {
    return std::forward<F>(f)();
  } catch (const cancelled&) {
    region.leave_cancelled();
  }
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

  /// Runs `f` here, and drops its result. Returns true if it completed, false if this scope ended it; an outer
  /// cancellation, or the error of a failed outer scope, passes through.
  template <class F>
  bool run(F&& f) {
    auto body = [&] { static_cast<void>(std::forward<F>(f)()); };
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
  const detail::shield_region region;
  return std::forward<F>(f)();
}

}  // namespace v0
}  // namespace weft
