// SPDX-License-Identifier: Apache-2.0
// Meeting again and again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include <weft/detail/export.hpp>
#include <weft/detail/spin_lock.hpp>
#include <weft/detail/wait_list.hpp>
#include <weft/scope.hpp>

namespace weft {
inline namespace v0 {

namespace detail {

/// The barrier without its completion function.
class WEFT_EXPORT barrier_core {
 public:
  constexpr explicit barrier_core(std::ptrdiff_t expected)
      : expected_(expected >= 0 ? expected : refuse("barrier", expected)), left_(expected) {}
  barrier_core(const barrier_core&) = delete;
  barrier_core& operator=(const barrier_core&) = delete;

  struct arrival {
    std::uint64_t phase;
    bool last;  ///< it is the caller's to `complete` the phase
  };
  arrival arrive(std::ptrdiff_t n, bool drop);
  /// Ends the phase: lets everybody go.
  void complete() noexcept;
  /// Arrives, and waits in the same step. Cancellable. True: the caller was the last, and has not waited.
  bool arrive_and_wait();
  /// Waits until `phase` has ended. Cancellable.
  void wait(std::uint64_t phase);

 private:
  [[noreturn]] static std::ptrdiff_t refuse(const char* what, std::ptrdiff_t n);
  bool take(std::ptrdiff_t n) WEFT_REQUIRES(lock_);
  spin_lock lock_;
  std::uint64_t phase_ WEFT_GUARDED_BY(lock_) = 0;
  std::ptrdiff_t expected_ WEFT_GUARDED_BY(lock_);  ///< in the next phase
  std::ptrdiff_t left_ WEFT_GUARDED_BY(lock_);      ///< in this one
  wait_list waiters_ WEFT_GUARDED_BY(lock_);
};

struct no_completion {
  void operator()() noexcept {}
};

}  // namespace detail

/// barrier lets its waiters go each time as many have arrived as are expected. As std::barrier, with cancellable waits.
///
/// The last to arrive runs the completion function, before anybody is let go; it must not throw, may wait, and is
/// shielded from cancellation. What happened before an arrival happens before it, and what it did before the return of
/// a wait. A negative number, or one of zero arrivals, throws std::invalid_argument, more arrivals than are expected
/// std::logic_error, and nothing is changed. Any fiber or plain thread.
///
/// A wait that is cancelled leaves its arrival behind: the others are not held up in this phase. In the next one they
/// wait for the one who left, unless he calls `arrive_and_drop` (which never waits) on his way.
template <class CompletionFunction = detail::no_completion>
class barrier {
  static_assert(std::is_nothrow_invocable_v<CompletionFunction&>,
                "the completion function of a weft::barrier is noexcept");

 public:
  /// Says which phase an arrival belongs to.
  class arrival_token {
   public:
    arrival_token(arrival_token&&) noexcept = default;
    arrival_token& operator=(arrival_token&&) noexcept = default;
    ~arrival_token() = default;

   private:
    friend barrier;
    explicit arrival_token(std::uint64_t phase) noexcept : phase_(phase) {}
    std::uint64_t phase_;
  };

  /// Throws std::invalid_argument for expected < 0.
  constexpr explicit barrier(std::ptrdiff_t expected, CompletionFunction completion = CompletionFunction())
      : core_(expected), completion_(std::move(completion)) {}
  barrier(const barrier&) = delete;
  barrier& operator=(const barrier&) = delete;

  static constexpr std::ptrdiff_t max() noexcept { return std::numeric_limits<std::ptrdiff_t>::max(); }

  /// Arrives `n` times. Does not wait for others, never throws `cancelled`.
  [[nodiscard]] arrival_token arrive(std::ptrdiff_t n = 1) { return arrival_token(do_arrive(n, false)); }
  /// Waits until the phase of `arrival` has ended. Cancellable.
  void wait(arrival_token&& arrival) const { core_.wait(arrival.phase_); }
  /// Arrives, and waits until the phase has ended. Cancellable: at its entry it throws before it has arrived; if it is
  /// cancelled while it waits, it has arrived.
  void arrive_and_wait() {
    if (core_.arrive_and_wait()) complete();
  }
  /// Arrives in this phase, and is not expected in the next ones. Does not wait for others, never throws `cancelled`.
  void arrive_and_drop() { do_arrive(1, true); }

 private:
  std::uint64_t do_arrive(std::ptrdiff_t n, bool drop) {
    const detail::barrier_core::arrival mine = core_.arrive(n, drop);
    if (mine.last) complete();
    return mine.phase;
  }
  void complete() noexcept {
    if constexpr (!std::is_same_v<CompletionFunction, detail::no_completion>) shield([this] { completion_(); });
    core_.complete();
  }

  mutable detail::barrier_core core_;
  [[no_unique_address]] CompletionFunction completion_;
};

}  // namespace v0
}  // namespace weft
