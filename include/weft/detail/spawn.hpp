// SPDX-License-Identifier: Apache-2.0
// From a callable to a fiber: the closure is built right in the fiber's own room (or behind it, if it is large), so
// that a spawn allocates nothing for small ones.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <weft/detail/completion.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/result.hpp>

namespace weft {
inline namespace v0 {

/// attrs describes a fiber to be spawned. The name is copied (31 characters are kept). stack_size in bytes, 0: the
/// runtime's.
struct attrs {
  std::string_view name{};
  std::size_t stack_size = 0;
};

namespace detail {

class nursery;

/// A fiber that has not started: its room for the closure.
struct unstarted_fiber {
  void* g;
  void* room;
};

/// Throws std::logic_error without a runtime, std::bad_alloc, std::system_error at a limit, std::invalid_argument for a
/// bad size.
WEFT_EXPORT unstarted_fiber prepare_fiber(std::size_t size, std::size_t alignment, const attrs* how);
/// Hands the fiber to the scheduler. `ended` (may be null) gets one of its references taken over by the fiber; a `home`
/// (may be null) has admitted it.
WEFT_EXPORT void start_fiber(unstarted_fiber s, void (*entry)(void*), completion* ended, nursery* home) noexcept;
WEFT_EXPORT void drop_fiber(unstarted_fiber s) noexcept;

template <class Closure>
void run_closure(void* room) {
  struct destroyer {
    Closure* closure;
    ~destroyer() { std::destroy_at(closure); }
  } owner{static_cast<Closure*>(room)};
  auto& closure = *owner.closure;
  static_cast<void>(std::move(closure)());  // the result of a fiber without a handle is dropped
}

template <class Closure, class F>
void spawn_closure(const attrs* how, completion* ended, nursery* home, F&& f) {
  const unstarted_fiber s = prepare_fiber(sizeof(Closure), alignof(Closure), how);
  if constexpr (std::is_nothrow_constructible_v<Closure, F>) {
    ::new (s.room) Closure(std::forward<F>(f));
  } else {
    try {
      ::new (s.room) Closure(std::forward<F>(f));
    } catch (...) {
      drop_fiber(s);
      throw;
    }
  }
  start_fiber(s, run_closure<Closure>, ended, home);
}

/// A callable with its arguments, invoked once, as std::thread does it.
template <class F, class... Args>
struct bound_call {
  std::tuple<F, Args...> all;
  decltype(auto) operator()() && {
    return std::apply(
        [](F&& f, Args&&... args) -> decltype(auto) { return std::invoke(std::move(f), std::move(args)...); },
        std::move(all));
  }
};

/// What a handle and its fiber share, with the result.
template <class T>
class fiber_state final : public completion {
 public:
  result_slot<T> result;

 private:
  ~fiber_state() override = default;
};

/// The closure of a fiber that has a handle.
template <class T, class F>
struct task {
  fiber_state<T>* state;
  F f;
  void operator()() && { state->result.fill(std::move(f)); }
};

template <class F, class... Args>
using call_result = std::invoke_result_t<std::decay_t<F>, std::decay_t<Args>...>;

template <class F, class... Args>
auto bind_call(F&& f, Args&&... args) {
  if constexpr (sizeof...(Args) == 0)
    return std::decay_t<F>(std::forward<F>(f));
  else
    return bound_call<std::decay_t<F>, std::decay_t<Args>...>{
        std::tuple<std::decay_t<F>, std::decay_t<Args>...>(std::forward<F>(f), std::forward<Args>(args)...)};
}

/// Starts a fiber with a handle's state; the caller gets one reference.
template <class T, class F>
fiber_state<T>* spawn_task(const attrs* how, nursery* home, F&& f) {
  using closure = task<T, std::decay_t<F>>;
  auto* state = new fiber_state<T>;
  state->retain();  // the fiber's
  try {
    spawn_closure<closure>(how, state, home, closure{state, std::forward<F>(f)});
  } catch (...) {
    state->release();
    state->release();
    throw;
  }
  return state;
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
