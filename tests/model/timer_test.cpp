// SPDX-License-Identifier: Apache-2.0
//
// The production channel of a timer (runtime/sync/timer_chan.hpp) under the model checker: fire, stop, reset and
// receive from different threads. Whatever the schedule, a setting ends in one way: its value is received, or one stop
// or reset says that it took it back; and after those nothing of it arrives.
#include "runtime/sync/timer_chan.hpp"

#include <gtest/gtest.h>

#include "runtime/sync/basic_chan.hpp"
#include "tests/model/wait_env.hpp"

namespace model {

// What is sent: the number of the setting, and which tick of it this is. A buffered one may be forgotten, as a time
// point may.
struct stamp {
  frame_var<int> setting{0};
  frame_var<int> tick{0};
};
inline void move_stamp(void* to, void* from) noexcept {
  static_cast<stamp*>(to)->setting = int{static_cast<stamp*>(from)->setting};
  static_cast<stamp*>(to)->tick = int{static_cast<stamp*>(from)->tick};
}
inline void no_end(void*) noexcept {}
inline constexpr weft::detail::element_ops stamp_ops{sizeof(stamp), alignof(stamp), move_stamp, no_end};

// A timer and its heap, with the locking of runtime/sched/timer_heap.cpp.
template <class Env>
struct alarm {
  bool start(std::uint64_t setting, rt::nanoseconds_t, rt::nanoseconds_t period) {
    heap.lock();
    mc::check(in_heap.load(order::relaxed) == 0, "a timer that runs is not started");
    token = setting;
    periodic = period != 0;
    in_heap.store(1, order::relaxed);
    heap.unlock();
    return true;
  }
  void stop() {
    if (in_heap.load(order::acquire) == 0) return;
    heap.lock();
    in_heap.store(0, order::relaxed);
    heap.unlock();
  }
  // Under the heap's lock what `fire` does, and then, without it, nothing: the caller delivers.
  struct fired_tick {
    std::uint64_t setting = 0;
    int tick = 0;
  };
  fired_tick fire() {
    heap.lock();
    fired_tick fired;
    if (in_heap.load(order::relaxed) != 0) {
      ticks = ticks + 1;
      fired = {token, ticks};
      if (!periodic) in_heap.store(0, order::release);
    }
    heap.unlock();
    return fired;
  }

  mc::mutex heap;
  typename Env::atomics::template atomic<std::uint8_t> in_heap{0};
  mc::var<std::uint64_t> token{0};
  mc::var<bool> periodic{false};
  mc::var<int> ticks{0};
};

template <class Env>
class timer_under_test : public rt::timer_chan<Env, rt::basic_chan<Env>, alarm<Env>> {
  using base = rt::timer_chan<Env, rt::basic_chan<Env>, alarm<Env>>;

 public:
  timer_under_test() : base(stamp_ops, 1, &room_) {}

  /// Sets it; true: the former setting was taken back.
  bool reset(int number, bool ticks = false) {
    const auto result = this->set(Env::a_deadline, ticks ? 1 : 0, false);
    mc::check(result.setting == static_cast<std::uint64_t>(number), "settings are numbered");
    return result.was_pending;
  }
  /// What the loop of an M does, once: fires it, if it runs, and delivers.
  [[gnu::noinline]] void run_due() {
    const auto fired = this->alarm_.fire();
    if (fired.setting == 0) return;
    stamp value;
    value.setting = static_cast<int>(fired.setting);
    value.tick = fired.tick;
    if (auto* const receiver = this->deliver(fired.setting, fired.tick, &value)) Env::wake(receiver);
  }
  /// 0: there is none.
  [[gnu::noinline]] int look() {
    stamp value;
    return this->try_receive(&value) == weft::chan_status::ok ? int{value.setting} : 0;
  }
  /// Which tick; 0: there is none.
  [[gnu::noinline]] int look_for_tick() {
    stamp value;
    return this->try_receive(&value) == weft::chan_status::ok ? int{value.tick} : 0;
  }
  [[gnu::noinline]] int wait() {
    stamp value;
    const auto how = this->receive(&value, {rt::wait_reason::chan_receive, false, rt::never});
    mc::check(how == rt::wait_outcome::ok, "nothing else ends it");
    return value.setting;
  }

 private:
  stamp room_;
};

}  // namespace model

namespace weft::rt {

// Mutants: copies of functions that do one thing wrong.
struct delivers_what_is_old : model::faithful {};
struct forgets_what_is_on_its_way : model::faithful {};
struct leaves_the_buffer : model::faithful {};
struct leaves_the_alarm : model::faithful {};
struct sends_ticks_in_any_order : model::faithful {};

template <class Rules>
using model_timer = timer_chan<model::env<Rules>, basic_chan<model::env<Rules>>, model::alarm<model::env<Rules>>>;

template <>
model::env<delivers_what_is_old>::fiber* model_timer<delivers_what_is_old>::deliver(std::uint64_t, nanoseconds_t,
                                                                                    void* value) noexcept {
  lock_.lock();
  pending_ = false;
  auto* const receiver = send_now(value).woken;
  lock_.unlock();
  return receiver;
}

template <>
model::env<sends_ticks_in_any_order>::fiber* model_timer<sends_ticks_in_any_order>::deliver(std::uint64_t setting,
                                                                                            nanoseconds_t,
                                                                                            void* value) noexcept {
  lock_.lock();
  auto* const receiver = setting == setting_ ? send_now(value).woken : nullptr;
  lock_.unlock();
  return receiver;
}

template <>
bool model_timer<forgets_what_is_on_its_way>::take_back() noexcept {
  const bool was_pending = alarm_.in_heap.load(model::order::relaxed) != 0 || count_ != 0;
  alarm_.stop();
  ++setting_;
  publish(count_, std::size_t{0});
  return was_pending;
}

template <>
bool model_timer<leaves_the_buffer>::take_back() noexcept {
  alarm_.stop();
  ++setting_;
  const bool was_pending = pending_ || count_ != 0;
  pending_ = false;
  return was_pending;
}

template <>
bool model_timer<leaves_the_alarm>::take_back() noexcept {
  ++setting_;
  const bool was_pending = pending_ || count_ != 0;
  pending_ = false;
  publish(count_, std::size_t{0});
  return was_pending;
}

}  // namespace weft::rt

namespace {

using mc::finds;
using mc::holds;
using model::env;
using model::timer_under_test;

// Stopped, fired and received at the same time.
template <class Env>
mc::result stop_fire_receive(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    timer_under_test<Env> t;
    mc::check(!t.reset(1), "there was nothing to take back");
    bool stopped = false;
    int got = 0, after_stop = 0;
    world.run({[&] { t.run_due(); },
               [&] {
                 stopped = t.stop();
                 after_stop = t.look();
               },
               [&] { got = t.look(); }});
    mc::check(after_stop == 0, "nothing arrives after stop");
    mc::check(stopped == (got == 0), "it was taken back, or received");
    t.run_due();
    mc::check(t.look() == 0 && !t.stop(), "and not twice");
  });
}

// Set anew while it fires and somebody waits.
template <class Env>
mc::result reset_fire_wait(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber receiver;
    timer_under_test<Env> t;
    t.reset(1);
    int got = 0;
    bool taken_back = false;
    world.add(receiver, [&] {
      got = t.wait();
      KEEP_FRAME();
    });
    world.run({[&] { t.run_due(); },
               [&] {
                 taken_back = t.reset(2);
                 t.run_due();
               }});
    mc::check(got == (taken_back ? 2 : 1), "the value is of the setting that was not taken back");
    mc::check(t.look() == (taken_back ? 0 : 2), "and the other is where it belongs");
  });
}

// Two who set it: each setting is taken back by one of them, or there at the end.
template <class Env>
mc::result two_resets(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    timer_under_test<Env> t;
    t.reset(1);
    int taken_back = 0, got = 0;
    bool first = false, second = false;
    world.run({[&] { first = t.stop(); }, [&] { second = t.set(Env::a_deadline, 0, false).was_pending; },
               [&] { t.run_due(); }});
    taken_back = (first ? 1 : 0) + (second ? 1 : 0);
    t.run_due();
    if (t.look() != 0) ++got;
    mc::check(taken_back + got == 2, "two settings, two ends");
  });
}

// Ticks, one of which waits, until somebody stops them.
template <class Env>
mc::result ticks(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    timer_under_test<Env> t;
    t.reset(1, true);
    int seen = 0, after_stop = 0;
    world.run({[&] {
                 t.run_due();
                 t.run_due();
               },
               [&] { seen += t.look(); },
               [&] {
                 t.stop();
                 after_stop = t.look();
               }});
    mc::check(after_stop == 0, "no tick after stop");
    mc::check(seen <= 1, "one look sees one tick at most");
    t.run_due();
    mc::check(t.look() == 0, "and it stays stopped");
  });
}

// Two Ms fire a tick each, and may lose their CPU before they deliver it.
template <class Env>
mc::result ticks_of_two(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    timer_under_test<Env> t;
    t.reset(1, true);
    int seen[3] = {0, 0, 0};
    world.run({[&] { t.run_due(); }, [&] { t.run_due(); },
               [&] {
                 seen[0] = t.look_for_tick();
                 seen[1] = t.look_for_tick();
               }});
    seen[2] = t.look_for_tick();
    int last = 0;
    for (const int tick : seen) {
      mc::check(tick == 0 || tick > last, "ticks come in the order in which they were due");
      if (tick != 0) last = tick;
    }
    mc::check(last != 0, "some tick comes");
  });
}

using plain = env<model::faithful>;

TEST(timer, stopped_or_received) { EXPECT_TRUE(holds(stop_fire_receive<plain>({.name = "stop, fire, receive"}))); }
TEST(timer, set_anew_while_it_fires) { EXPECT_TRUE(holds(reset_fire_wait<plain>({.name = "reset, fire, wait"}))); }
TEST(timer, two_who_set_it) { EXPECT_TRUE(holds(two_resets<plain>({.name = "stop, reset, fire"}))); }
TEST(timer, ticks_end_with_stop) { EXPECT_TRUE(holds(ticks<plain>({.name = "ticks, look, stop"}))); }

TEST(timer, ticks_come_in_order) { EXPECT_TRUE(holds(ticks_of_two<plain>({.name = "ticks of two Ms"}))); }

TEST(timer_mutant, what_is_old_is_delivered) {
  EXPECT_TRUE(finds(stop_fire_receive<env<weft::rt::delivers_what_is_old>>({.name = "old value delivered"})));
  EXPECT_TRUE(finds(reset_fire_wait<env<weft::rt::delivers_what_is_old>>({.name = "old value delivered"})));
}
TEST(timer_mutant, what_is_on_its_way_is_forgotten) {
  EXPECT_TRUE(finds(stop_fire_receive<env<weft::rt::forgets_what_is_on_its_way>>({.name = "in flight forgotten"})));
}
TEST(timer_mutant, the_buffer_stays) {
  EXPECT_TRUE(finds(stop_fire_receive<env<weft::rt::leaves_the_buffer>>({.name = "buffer left"})));
}
TEST(timer_mutant, ticks_are_sent_in_any_order) {
  EXPECT_TRUE(finds(ticks_of_two<env<weft::rt::sends_ticks_in_any_order>>({.name = "ticks in any order"})));
}
TEST(timer_mutant, the_alarm_stays) {
  EXPECT_TRUE(finds(two_resets<env<weft::rt::leaves_the_alarm>>({.name = "alarm left"})));
}

}  // namespace
