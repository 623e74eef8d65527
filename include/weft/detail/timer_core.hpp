// SPDX-License-Identifier: Apache-2.0
// The calls that weft::timer, weft::ticker and weft::after are a thin cover of.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <weft/detail/any_duration.hpp>
#include <weft/detail/chan_core.hpp>
#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {
namespace detail {

// A channel that a timer feeds; stop and reset take a null core for a timer that was moved from. `what` is the caller's
// name for messages. Making and resetting throw std::logic_error on a plain thread without a runtime.
WEFT_EXPORT chan_core* timer_chan_make(any_duration d, const char* what);
WEFT_EXPORT chan_core* ticker_chan_make(any_duration period);
WEFT_EXPORT bool timer_chan_stop(chan_core* c) noexcept;
WEFT_EXPORT bool timer_chan_reset(chan_core* c, any_duration d);
WEFT_EXPORT void ticker_chan_reset(chan_core* c, any_duration period);

/// What a timer can keep and call again and again.
template <class F>
concept timed_function = requires(std::decay_t<F>& f) {
  std::invoke(f);
};

/// What the library needs to know of the function of a timer.
struct timed_function_ops {
  std::size_t size;
  std::size_t alignment;
  void (*call)(void* f);
  void (*destroy)(void* f) noexcept;
};

template <class F>
struct timed_function_ops_of {
  static void call(void* f) { static_cast<void>(std::invoke(*static_cast<F*>(f))); }
  static void destroy(void* f) noexcept { std::destroy_at(static_cast<F*>(f)); }
  static constexpr timed_function_ops value{sizeof(F), alignof(F), call, destroy};
};

class timed_call;

/// A timer without its function, which the caller makes in `timed_call_room`. Throws std::bad_alloc.
WEFT_EXPORT timed_call* timed_call_make(const timed_function_ops& ops);
WEFT_EXPORT void* timed_call_room(timed_call* c) noexcept;
/// Takes back a `timed_call_make` whose function could not be made.
WEFT_EXPORT void timed_call_drop(timed_call* c) noexcept;
WEFT_EXPORT bool timed_call_stop(timed_call* c) noexcept;
/// Throws std::logic_error on a plain thread without a runtime; what `go` throws if `d` is 0 or less.
WEFT_EXPORT bool timed_call_reset(timed_call* c, any_duration d);
/// Stops, and destroys the function when the last fiber that runs it has ended.
WEFT_EXPORT void timed_call_release(timed_call* c) noexcept;

template <class F>
timed_call* timed_call_of(any_duration d, F&& f) {
  using function = std::decay_t<F>;
  timed_call* const c = timed_call_make(timed_function_ops_of<function>::value);
  try {
    ::new (timed_call_room(c)) function(std::forward<F>(f));
  } catch (...) {
    timed_call_drop(c);
    throw;
  }
  try {
    timed_call_reset(c, d);
  } catch (...) {
    timed_call_release(c);
    throw;
  }
  return c;
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
