// SPDX-License-Identifier: Apache-2.0
// Signals of the process as values on a channel, or as the cancellation of a scope.
//
// From the call on, and for as long as the channel or the handle lives, the signals do not have their former action:
// not their default one, no handler, and they are not ignored (as a program that `nohup` has started ignores SIGHUP).
// When the last channel or handle that wants a signal is gone, the action that was there before is back. What has come
// while there was one is the channel's, and goes with it.
//
// Runtime. A channel may be made at any time, in a runtime or before it; values arrive while a runtime runs. A signal
// that comes before `run`, or after it while the channel is still held, is kept, and arrives in the next `run`: a second
// Ctrl-C does not end such a program. To have the former action after `run`, let the channel go with it.
//
// Blocked signals. One that was blocked when `run` was called reaches the channel all the same: it is unblocked in
// threads of the runtime, until the end of `run`. If its last channel goes before that, its former action is back then,
// and what came in between is pending, as it would be had there been no channel. One that is sent to a single thread
// (`pthread_kill`) which blocks it stays there.
//
// Fork. In a child the former actions are back, and what is sent to it reaches nobody else. A channel that the child has
// inherited sleeps until the child calls `run` itself, and then receives what is sent to the child: so
// `signals(); daemon(0, 0); run(…)` works. A child of a process that was in `run` can have no runtime; there the calls
// throw std::logic_error, as `run` does.
#pragma once

#include <csignal>
#include <initializer_list>
#include <span>
#include <system_error>
#include <utility>

#include <weft/chan.hpp>
#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {

class scope;

/// signals gives a channel on which these signals arrive when they are sent to the process. Every channel that asked for
/// a signal gets it. A channel holds at most one of each that its reader has not taken yet: repeats are merged, but a
/// storm of one signal never takes the place of another.
///
/// Any thread or fiber; never waits. Throws std::system_error, std::errc::invalid_argument for an empty list, for a
/// number that is no signal or one of the C library's own (32, 33), and for the signals that cannot be caught (SIGKILL,
/// SIGSTOP) or come from a fault of the program (SIGSEGV, SIGBUS, SIGFPE, SIGILL); then nothing has changed, for the
/// others in the list as well. The form with `error` reports that there, and returns a nil channel.
///
/// ```cpp
/// weft::signals({SIGINT, SIGTERM}).recv();
/// listener.close();
/// ```
[[nodiscard]] WEFT_EXPORT recv_chan<int> signals(std::span<const int> wanted);
[[nodiscard]] WEFT_EXPORT recv_chan<int> signals(std::span<const int> wanted, std::error_code& error);
[[nodiscard]] inline recv_chan<int> signals(std::initializer_list<int> wanted) {
  return signals(std::span<const int>(wanted.begin(), wanted.size()));
}
[[nodiscard]] inline recv_chan<int> signals(std::initializer_list<int> wanted, std::error_code& error) {
  return signals(std::span<const int>(wanted.begin(), wanted.size()), error);
}

namespace detail {
class signal_canceller;
}  // namespace detail

/// signal_handle is what `cancel_on` gives: while it lives, the signals cancel the scope. It can be moved; an empty one
/// does nothing. Its destructor waits for nothing but a cancellation that a signal has just begun.
class [[nodiscard]] signal_handle {
 public:
  constexpr signal_handle() noexcept = default;
  /// Adopts it.
  explicit signal_handle(detail::signal_canceller* adopted) noexcept : canceller_(adopted) {}
  signal_handle(signal_handle&& other) noexcept : canceller_(std::exchange(other.canceller_, nullptr)) {}
  signal_handle& operator=(signal_handle other) noexcept {
    std::swap(canceller_, other.canceller_);
    return *this;
  }
  ~signal_handle() {
    if (canceller_ != nullptr) drop(canceller_);
  }
  /// Whether it is not empty.
  explicit operator bool() const noexcept { return canceller_ != nullptr; }

 private:
  WEFT_EXPORT static void drop(detail::signal_canceller* canceller) noexcept;

  detail::signal_canceller* canceller_ = nullptr;
};

/// cancel_on has these signals cancel `cancelled`, as its `cancel()` does, for as long as the handle lives, which must
/// not be longer than the scope does. It starts no fiber, so the scope's `join` does not wait for it. Throws, or
/// reports, as `signals` does. Any thread or fiber; never waits.
///
/// ```cpp
/// weft::scope s;
/// const auto until = weft::cancel_on({SIGINT, SIGTERM}, s);
/// s.go(serve);
/// s.join();  // returns, or throws, when `serve` has ended, by itself or by a signal
/// ```
WEFT_EXPORT signal_handle cancel_on(std::span<const int> wanted, scope& cancelled);
WEFT_EXPORT signal_handle cancel_on(std::span<const int> wanted, scope& cancelled, std::error_code& error);
inline signal_handle cancel_on(std::initializer_list<int> wanted, scope& cancelled) {
  return cancel_on(std::span<const int>(wanted.begin(), wanted.size()), cancelled);
}
inline signal_handle cancel_on(std::initializer_list<int> wanted, scope& cancelled, std::error_code& error) {
  return cancel_on(std::span<const int>(wanted.begin(), wanted.size()), cancelled, error);
}

}  // namespace v0
}  // namespace weft
