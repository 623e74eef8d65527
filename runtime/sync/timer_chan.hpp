// SPDX-License-Identifier: Apache-2.0
// A channel that a timer feeds: behind after, timer and ticker.
//
// Problem: `stop` and `reset` promise that no value of the former setting arrives any more, whatever of it is on its
// way, and tell whether one was still to come. Go gets this from a sequence number, a send lock and a flag for the send
// in flight; here everything that must agree lies under the channel's own lock, and receivers need to know nothing of
// it.
//
//   timer fires, under the heap's lock      keeps the channel alive (try_retain), says for the M's loop:
//                                           deliver(setting)
//   deliver, under the channel's lock       is it still this setting, and newer than the last? hand the value to a
//                                           receiver, or buffer it, if there is room
//   stop, reset, under the channel's lock   take the timer off its heap; a new setting: what was fired is stale from
//                                           here on; drop what lies in the buffer
//
// Invariants
//  1. `setting_`, `pending_` and the alarm belong to the channel's lock. While the alarm is in a heap nobody writes to
//     it but `fire`.
//  2. A value is sent only by `deliver`, and only for the setting that fired it. A receiver gets it, or finds it in the
//     buffer, or stop and reset take it back: it is in one of these places, since all of them need the lock.
//  3. The buffer has room for one. A ticker whose last tick nobody took loses the next.
//  4. Ticks arrive in the order in which they were due: one whose `deliver` was overtaken by the next tick's, since its
//     M had lost its CPU between the two steps, is lost.
// Lock order: channel < heap. No lock-free step but the count of handles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "runtime/sched/timer_heap.hpp"
#include "runtime/wait/waiter.hpp"

namespace weft::rt {

/// `Base` is a basic_chan with room for one value. `Alarm` has `start(setting, when, period)`, which returns whether
/// the sleeper must hear of it, and `stop()`; both are called under the channel's lock.
template <class Env, class Base, class Alarm>
class timer_chan : public Base {
 public:
  using fiber = typename Env::fiber;

  using Base::Base;

  /// Returns true if a value was still to come, or had not been received.
  bool stop() noexcept {
    this->lock_.lock();
    const bool was_pending = take_back();
    this->lock_.unlock();
    return was_pending;
  }

  struct set_result {
    bool was_pending;  ///< as of `stop`
    bool announce;     ///< the sleeper must hear of the timer, now that no lock is held
    std::uint64_t setting;
  };

  /// Stops, and sets the timer again: a value at `when`, and then each `period`, if that is not 0. With `by_caller`
  /// the heap has no part in it: the caller delivers at once.
  set_result set(nanoseconds_t when, nanoseconds_t period, bool by_caller) noexcept {
    this->lock_.lock();
    set_result result{take_back(), false, setting_};
    pending_ = true;
    periodic_ = period != 0;
    if (!by_caller && when != never) result.announce = alarm_.start(setting_, when, period);
    this->lock_.unlock();
    return result;
  }

  /// Sends `*value`, which was due at `due`, if `setting` still holds and nothing newer was sent. The receiver that was
  /// claimed for it, if there was one: it is the caller's to wake.
  fiber* deliver(std::uint64_t setting, nanoseconds_t due, void* value) noexcept {
    this->lock_.lock();
    fiber* receiver = nullptr;
    if (setting == setting_ && due > newest_) {
      newest_ = due;
      if (!periodic_) pending_ = false;
      receiver = this->send_now(value).woken;
    }
    this->lock_.unlock();
    return receiver;
  }

 protected:
  Alarm alarm_;

 private:
  bool take_back() noexcept {
    alarm_.stop();
    ++setting_;
    newest_ = nothing_sent;
    const bool was_pending = pending_ || this->count_ != 0;
    pending_ = false;
    this->publish(this->count_, std::size_t{0});  // time points: there is nothing to destroy
    return was_pending;
  }

  static constexpr nanoseconds_t nothing_sent = std::numeric_limits<nanoseconds_t>::min();

  std::uint64_t setting_ = 0;
  nanoseconds_t newest_ = nothing_sent;  ///< when the last value of this setting was due
  bool pending_ = false;  ///< a value is to come: the timer runs, or has fired and `deliver` is on its way
  bool periodic_ = false;
};

}  // namespace weft::rt
