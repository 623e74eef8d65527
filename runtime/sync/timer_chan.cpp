// SPDX-License-Identifier: Apache-2.0
// The channels of timers and tickers in the library: timer_chan (runtime/sync/timer_chan.hpp) on the scheduler's heaps.
//
// Memory: the timer lies in the channel's block. The heap does not own it: the call that drops the last handle takes
// the timer off its heap first. A timer that fires at that moment finds no handle left and does nothing; one that has
// fired before holds a handle until its value is delivered.
#include "runtime/sync/timer_chan.hpp"

#include <weft/time.hpp>

#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>

#include "runtime/sched/admission.hpp"
#include "runtime/sched/poll.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/timers.hpp"
#include "runtime/sync/channel.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

using namespace rt;

namespace {

class timer_chan_core;

struct chan_alarm : rt::timer {
  bool start(std::uint64_t setting, nanoseconds_t at, nanoseconds_t each) noexcept {
    when = at;
    token = setting;
    period = each;
    return start_timer(*this);
  }
  void stop() noexcept { timer_heap::stop(*this); }

  timer_chan_core* owner = nullptr;
  nanoseconds_t period = 0;
};

class timer_chan_core : public timer_chan<env, chan_core, chan_alarm> {
 public:
  timer_chan_core() noexcept : timer_chan(element_ops_of<clock::time_point>::value, 1, &room_) {
    stop_source = [](chan_core& self) noexcept { static_cast<timer_chan_core&>(self).alarm_.stop(); };
    shows_as_unbuffered = true;
    alarm_.owner = this;
    alarm_.fire = fire;
  }

  /// As timer_chan::set, with everything that it leaves to its caller.
  bool start(nanoseconds_t d, nanoseconds_t period) noexcept {
    const nanoseconds_t now = steady_now();
    const nanoseconds_t when = d > 0 ? saturating_add(now, d) : now;
    const set_result result = set(when, period, d <= 0);
    if (result.announce) wake_sleeper_before(when);
    if (d <= 0)
      if (G* receiver = send_due(result.setting, when)) wake(receiver);
    return result.was_pending;
  }

 private:
  G* send_due(std::uint64_t setting, nanoseconds_t due) noexcept {
    clock::time_point value{std::chrono::nanoseconds(due)};
    return deliver(setting, due, &value);
  }

  // Under the heap's lock.
  static void fire(rt::timer& t, fired_timers& fired) noexcept {
    auto& alarm = static_cast<chan_alarm&>(t);
    if (!alarm.owner->try_retain()) return;
    const nanoseconds_t due = alarm.when;
    if (alarm.period != 0) {
      const nanoseconds_t missed = (fired.now - due) / alarm.period;
      nanoseconds_t ahead = 0;
      alarm.when = __builtin_mul_overflow(alarm.period, missed + 1, &ahead) ? never : saturating_add(due, ahead);
    }
    fired.defer({send, alarm.owner, alarm.token, due});
  }

  static void send(const fired_timers::action& action, fired_timers& fired) noexcept {
    auto* const c = static_cast<timer_chan_core*>(action.object);
    if (G* receiver = c->send_due(action.token, action.due)) fired.add_ready(receiver);
    chan_release(c);
  }

  alignas(clock::time_point) std::byte room_[sizeof(clock::time_point)];
};

timer_chan_core* make() {
  constexpr std::size_t grain = alignof(timer_chan_core);
  void* const block = std::aligned_alloc(grain, (sizeof(timer_chan_core) + grain - 1) / grain * grain);
  if (block == nullptr) throw std::bad_alloc();
  return ::new (block) timer_chan_core;  // trivially destroyed but for what chan_release destroys
}

timer_chan_core* timer_behind(chan_core* c, const char* what) {
  if (c == nullptr) throw std::logic_error(std::string("weft: reset of a ") + what + " that was moved from");
  return static_cast<timer_chan_core*>(c);
}

void check_period(any_duration period) {
  if (period.ns() > 0) return;
  throw std::invalid_argument("weft::ticker: a period of " + std::to_string(period.ns()) + " ns; expected more than 0");
}

}  // namespace

chan_core* timer_chan_make(any_duration d, const char* what) {
  const admission inside(what);
  timer_chan_core* const c = make();
  c->start(d.ns(), 0);
  return c;
}

chan_core* ticker_chan_make(any_duration period) {
  check_period(period);
  const admission inside("ticker");
  timer_chan_core* const c = make();
  c->start(period.ns(), period.ns());
  return c;
}

bool timer_chan_stop(chan_core* c) noexcept { return c != nullptr && static_cast<timer_chan_core*>(c)->stop(); }

bool timer_chan_reset(chan_core* c, any_duration d) {
  timer_chan_core* const timer = timer_behind(c, "timer");
  const admission inside("timer::reset");
  return timer->start(d.ns(), 0);
}

void ticker_chan_reset(chan_core* c, any_duration period) {
  check_period(period);
  timer_chan_core* const timer = timer_behind(c, "ticker");
  const admission inside("ticker::reset");
  timer->start(period.ns(), period.ns());
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
