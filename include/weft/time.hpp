// SPDX-License-Identifier: Apache-2.0
// Time: the clock, sleeping, and timers whose end comes through a channel or starts a fiber.
#pragma once

#include <chrono>
#include <concepts>
#include <type_traits>
#include <utility>

#include <weft/chan.hpp>
#include <weft/detail/any_duration.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/timer_core.hpp>

namespace weft {
inline namespace v0 {

/// clock is steady: it never goes back, and a change of the wall clock does not touch it.
using clock = std::chrono::steady_clock;

namespace detail {
WEFT_EXPORT void sleep_until_ns(std::chrono::nanoseconds since_epoch);
}

/// sleep_until waits until `when`; never less. A time that has passed returns at once. Cancellable. On a plain thread
/// it blocks it.
inline void sleep_until(clock::time_point when) { detail::sleep_until_ns(when.time_since_epoch()); }

/// sleep_for waits for `how_long`; never less. Zero or less returns at once. Cancellable. On a plain thread it blocks
/// it.
WEFT_EXPORT void sleep_for(detail::any_duration how_long);

/// after gives a channel on which one value arrives when `d` has passed, never earlier: the time it was due.
///
/// The timer goes with the last handle to the channel, so a forgotten one costs nothing. The channel is never closed,
/// and shows as unbuffered, though the value waits there for its receiver. Zero or less: the value is there when the
/// call returns. Never waits. Any fiber; a plain thread while a runtime runs, else std::logic_error.
///
/// ```cpp
/// auto late = weft::after(10ms);
/// if (!replies.try_recv().value) late.recv();
/// ```
[[nodiscard]] inline recv_chan<clock::time_point> after(detail::any_duration d) {
  return recv_chan<clock::time_point>(detail::chan_handle(detail::timer_chan_make(d, "after")));
}

/// timer fires once when its time has passed, never earlier: it sends the time it was due on its channel, or runs a
/// function in a fiber of its own. It can be stopped, and set again.
///
/// Its operations never wait and may be called by any fiber; by a plain thread too, where the constructor and `reset`
/// throw std::logic_error if no runtime runs. Calls on one timer may run at the same time (the object itself is moved
/// and destroyed by one). When main has returned no function is started any more; a timer that outlives its runtime
/// does not fire in the next.
class timer {
 public:
  /// Sends the time it was due on `chan()` once `d` has passed; with zero or less the value is there at once.
  explicit timer(detail::any_duration d) : chan_(detail::chan_handle(detail::timer_chan_make(d, "timer"))) {}

  /// Runs `f` in a fiber of its own, detached, once `d` has passed; its channel is nil. `f` is kept and called as an
  /// lvalue, since `reset` lets it run again: then two calls may overlap. What escapes it ends the process, as with
  /// `go`. What happened before the construction, or before the `reset`, happens before the call.
  template <detail::timed_function F>
  timer(detail::any_duration d, F&& f) : call_(detail::timed_call_of(d, std::forward<F>(f))) {}

  timer(timer&& other) noexcept : chan_(std::move(other.chan_)), call_(std::exchange(other.call_, nullptr)) {}
  timer& operator=(timer&& other) noexcept {
    timer taken(std::move(other));
    std::swap(chan_, taken.chan_);
    std::swap(call_, taken.call_);
    return *this;
  }
  /// Stops it. A function that runs already is not waited for.
  ~timer() {
    if (call_ != nullptr)
      detail::timed_call_release(call_);
    else
      stop();
  }

  /// The channel; nil for a timer with a function, and one that was moved from. Not of a temporary, whose end stops it.
  const recv_chan<clock::time_point>& chan() const& noexcept { return chan_; }
  void chan() const&& = delete;

  /// True if it was still to fire, or its value had not been received; false also for one that was moved from. After
  /// it no value arrives, and no call of the function begins, unless it is set again.
  bool stop() noexcept {
    return call_ != nullptr ? detail::timed_call_stop(call_)
                            : detail::timer_chan_stop(detail::chan_insight::core(chan_));
  }

  /// Stops it and sets it anew; returns what `stop` would have. No value of the former setting arrives any more. Throws
  /// std::logic_error if it was moved from.
  bool reset(detail::any_duration d) {
    return call_ != nullptr ? detail::timed_call_reset(call_, d)
                            : detail::timer_chan_reset(detail::chan_insight::core(chan_), d);
  }

 private:
  recv_chan<clock::time_point> chan_;
  detail::timed_call* call_ = nullptr;
};

/// ticker sends the time on its channel each time its period has passed: the time the tick was due.
///
/// One tick waits for a slow reader, the others are lost, and the next comes in step with the first: at start plus a
/// multiple of the period. The channel is never closed. Threads, runtime and moving as with timer.
///
/// ```cpp
/// weft::ticker every(100ms);
/// for (auto due : every.chan()) report(due);
/// ```
class ticker {
 public:
  /// A period of zero or less throws std::invalid_argument.
  explicit ticker(detail::any_duration period) : chan_(detail::chan_handle(detail::ticker_chan_make(period))) {}

  ticker(ticker&& other) noexcept : chan_(std::move(other.chan_)) {}
  ticker& operator=(ticker&& other) noexcept {
    ticker taken(std::move(other));
    std::swap(chan_, taken.chan_);
    return *this;
  }
  ~ticker() { stop(); }

  /// The channel. Not of a temporary, whose end stops it.
  const recv_chan<clock::time_point>& chan() const& noexcept { return chan_; }
  void chan() const&& = delete;

  /// After it no tick arrives, also none that was due before. Does not close the channel.
  void stop() noexcept { detail::timer_chan_stop(detail::chan_insight::core(chan_)); }

  /// Stops it and starts it anew: the next tick comes after `period`. Zero or less throws std::invalid_argument, a
  /// ticker that was moved from std::logic_error.
  void reset(detail::any_duration period) { detail::ticker_chan_reset(detail::chan_insight::core(chan_), period); }

 private:
  recv_chan<clock::time_point> chan_;
};

}  // namespace v0
}  // namespace weft
