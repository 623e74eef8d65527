// SPDX-License-Identifier: Apache-2.0
// The one word through which a parked fiber becomes ready again, and every transition of it.
//
//   {epoch:61, cancellable:1, state:2}      state: running -> open -> claimed -> running
//
// Invariants
//  1. `open -> claimed` is the only way from parked to ready, for a value, a close, a time-out, a cancellation and
//     readiness alike. Whoever wins that compare-and-swap, and nobody else, makes the fiber ready, exactly once.
//  2. Only the fiber itself opens the word (`arm`) and only it closes it again (`disarm`), so the epoch moves under its
//     hands alone.
//  3. A token names one wait: the epoch makes a late claim with the token of an earlier wait fail. 2^61 waits do not
//     wrap.
//
// Memory order: `claim` is acq_rel. Its release part publishes what the winner wrote into the waiter's slot... but the
// fiber does not read the word to learn that it won; it is resumed through the run queue, whose release/acquire carries
// it. Its acquire part pairs with the release in `arm`, so a canceller, which holds no queue lock, sees the fiber's
// state as of this wait, above all its `on_cpu` == true: that was stored, relaxed, before the fiber ran, and the wake
// that follows the claim must wait for the false that the switch away stores; a false from an earlier park would let
// the fiber run on two threads. `arm` before the look at the cancel flag pairs with the flag before
// `claim_if_cancellable`: see runtime/scope/cancel.hpp.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::rt {

template <class Atomics>
class wait_word {
 public:
  using token = std::uint64_t;

  constexpr wait_word() noexcept = default;

  /// Opens the word for a new wait and returns its token. The fiber itself; from here on it can be claimed.
  token arm(bool cancellable) noexcept {
    const token t =
        (word_.load(std::memory_order_relaxed) & ~flag_bits) + one_epoch + (cancellable ? cancellable_bit : 0) + open;
    word_.store(t, std::memory_order_release);
    return t;
  }

  /// Closes the word after the wait: a claim with this wait's token fails from here on. The fiber itself, after it was
  /// claimed, or after it has claimed itself.
  void disarm() noexcept { word_.store(word_.load(std::memory_order_relaxed) & ~flag_bits, std::memory_order_relaxed); }

  /// Wins the right, and the duty, to make the fiber ready. One locked instruction.
  bool claim(token t) noexcept {
    token expected = t;
    return word_.compare_exchange_strong(expected, (t & ~state_bits) | claimed, std::memory_order_acq_rel,
                                         std::memory_order_relaxed);
  }

  /// The canceller's claim: whatever wait is open now, if it is one that cancellation may end.
  bool claim_if_cancellable() noexcept { return claim_if_cancellable(look()); }
  /// The same, if it is still the one that was `seen`.
  bool claim_if_cancellable(token seen) noexcept {
    return (seen & state_bits) == open && (seen & cancellable_bit) != 0 && claim(seen);
  }

  /// For a waiter that sits in exactly one queue, has no timer and cannot be cancelled: the queue's lock already
  /// excludes every other claimant, so a plain store does.
  void claim_sole(token t) noexcept { word_.store((t & ~state_bits) | claimed, std::memory_order_release); }

  /// Changes with each wait and each claim. Acquire: as in `claim`.
  token look() const noexcept { return word_.load(std::memory_order_acquire); }
  static constexpr bool is_claimed(token t) noexcept { return (t & state_bits) == claimed; }

  bool is_open() const noexcept { return (word_.load(std::memory_order_relaxed) & state_bits) == open; }

 private:
  static constexpr token running = 0, open = 1, claimed = 2, state_bits = 3, cancellable_bit = 4, flag_bits = 7,
                         one_epoch = 8;
  typename Atomics::template atomic<token> word_{running};
};

}  // namespace weft::rt
