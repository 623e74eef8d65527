// SPDX-License-Identifier: Apache-2.0
// Starting and ending a runtime, starting fibers in it, and what a fiber can say of itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <weft/detail/callable_ref.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/result.hpp>
#include <weft/detail/spawn.hpp>
#include <weft/fiber.hpp>
#include <weft/fiber_local.hpp>
#include <weft/options.hpp>

namespace weft {
inline namespace v0 {

namespace detail {
WEFT_EXPORT void run_main(const options& how, callable_ref main);
WEFT_EXPORT void begin_blocking();
WEFT_EXPORT void end_blocking() noexcept;
}  // namespace detail

/// run starts the runtime, runs `f` as its main fiber, and returns what `f` returns or throws what it throws.
///
/// When `f` ends, fibers that still live are cancelled and awaited, so that every destructor runs; then the runtime's
/// threads end. By then the locals of `f` are gone: a detached fiber must not refer to them (use a `scope`). Its
/// threads block the signals that the caller blocks, save those of faults (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP,
/// SIGSYS); the caller has its own mask back afterwards. Blocks the calling thread, which becomes one of the runtime's.
/// May be called again afterwards; while a runtime runs, in this thread or another, it throws std::logic_error. A bad
/// option or environment variable throws std::invalid_argument, a backend that cannot be had std::system_error.
template <class F>
auto run(const options& how, F f) -> std::invoke_result_t<F> {
  detail::result_slot<std::invoke_result_t<F>> result;
  std::exception_ptr error;
  auto main = [&] {
    try {
      result.fill(std::move(f));
    } catch (...) {
      error = std::current_exception();
    }
  };
  detail::run_main(how, main);
  if (error != nullptr) std::rethrow_exception(error);
  return result.take();
}

template <class F>
requires(!std::is_same_v<std::remove_cvref_t<F>, options>) auto run(F f) -> std::invoke_result_t<F> {
  return run(options{}, std::move(f));
}

/// maxprocs is how many fibers may run at the same time: the number of Ps. 0 without a runtime. Any thread; never
/// waits.
WEFT_EXPORT int maxprocs() noexcept;

/// set_maxprocs changes that number while fibers run, and returns the former one. Any thread; never waits. n < 1 or n >
/// 1024 throws std::invalid_argument; without a runtime it throws std::logic_error.
WEFT_EXPORT int set_maxprocs(int n);

/// num_fibers is the number of live fibers; exact while none starts or ends. One whose join (or whose scope's) has
/// returned does not count. Any thread; never waits.
WEFT_EXPORT std::size_t num_fibers() noexcept;

/// go starts `f(args...)` in a fiber of its own, detached. Callable and arguments are decay-copied and invoked as
/// rvalues.
///
/// An exception that escapes it ends the process with its message, the fiber's stack and exit status 2; `cancelled`
/// ends the fiber quietly. Never waits. Any thread while a runtime runs; else std::logic_error. What happened before
/// the call happens before `f`.
template <class F, class... Args>
requires std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>
void go(F&& f, Args&&... args) {
  auto call = detail::bind_call(std::forward<F>(f), std::forward<Args>(args)...);
  detail::spawn_closure<decltype(call)>(nullptr, nullptr, nullptr, std::move(call));
}

/// spawn starts `f(args...)` in a fiber of its own and returns its handle. As `go`; the error goes to whoever joins.
template <class F, class... Args>
[[nodiscard]] auto spawn(F&& f, Args&&... args) -> fiber<detail::call_result<F, Args...>> {
  using result = detail::call_result<F, Args...>;
  return fiber<result>(
      detail::spawn_task<result>(nullptr, nullptr, detail::bind_call(std::forward<F>(f), std::forward<Args>(args)...)));
}

/// The same with a name and a stack size: `spawn({.name = "ingest"}, f)`. A bad stack size throws
/// std::invalid_argument.
template <class F, class... Args>
[[nodiscard]] auto spawn(const attrs& how, F&& f, Args&&... args) -> fiber<detail::call_result<F, Args...>> {
  using result = detail::call_result<F, Args...>;
  return fiber<result>(
      detail::spawn_task<result>(&how, nullptr, detail::bind_call(std::forward<F>(f), std::forward<Args>(args)...)));
}

/// yield lets other fibers run: the caller goes behind all that are ready on its P. Cancellable. On a plain thread:
/// sched_yield.
WEFT_EXPORT void yield();

/// blocking runs `f`, which may block its thread, and gives its result, while other fibers go on elsewhere. Costs a few
/// nanoseconds when `f` is short: the P is only marked, and taken if `f` is still at it when the monitor looks. Waits
/// inside `f` block the thread. Cancellation is looked at on entry only. Where no more threads are to be had (see
/// options::max_threads), it yields before it calls `f`: hold no std::mutex then. On a plain thread it just calls `f`.
template <class F>
auto blocking(F&& f) -> std::invoke_result_t<F> {
  detail::begin_blocking();
  struct ender {
    ~ender() { detail::end_blocking(); }
  } at_the_end;
  return std::forward<F>(f)();
}

/// thread_pin keeps the calling fiber on its thread while it lives: for libraries that keep state for each thread, and for
/// graphics, JNI or debuggers, which want to be called by the same one. Others nest in it; the outermost counts. The
/// thread runs no other fiber in that time, unless not one other thread is to be had, so each pin costs a thread, and
/// waits of the fiber end some microseconds later than usual. A local variable: destroyed in another fiber it is fatal.
///
/// The constructor throws std::system_error (std::errc::resource_unavailable_try_again) if the thread is another pinned
/// fiber's which is helping out, as no more threads are to be had. Never waits. Nothing on a plain thread.
class thread_pin {
 public:
  WEFT_EXPORT thread_pin();
  WEFT_EXPORT ~thread_pin();
  thread_pin(const thread_pin&) = delete;
  thread_pin& operator=(const thread_pin&) = delete;

 private:
  std::uint64_t fiber_ = 0;
};

namespace this_fiber {

/// id is the calling fiber's number, unique within the process; 0 on a plain thread.
WEFT_EXPORT std::uint64_t id() noexcept;
/// name is the calling fiber's name, empty if it has none; and on a plain thread.
WEFT_EXPORT std::string name();
/// set_name names the calling fiber (31 characters are kept). Nothing on a plain thread.
WEFT_EXPORT void set_name(std::string_view name) noexcept;
/// cancelled tells whether the next wait would throw `cancelled`. Never throws, never waits.
WEFT_EXPORT bool cancelled() noexcept;
/// check_cancelled throws `cancelled` if the next wait would. For loops that compute.
WEFT_EXPORT void check_cancelled();

}  // namespace this_fiber
}  // namespace v0
}  // namespace weft
