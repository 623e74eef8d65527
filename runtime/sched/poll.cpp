// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/poll.hpp"

#include <algorithm>

#include "runtime/sched/futex.hpp"
#include "runtime/sched/idle_p.hpp"
#include "runtime/sched/looks.hpp"
#include "runtime/sched/pending_work.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/timers.hpp"

namespace weft::rt {

bool poll_into_queue(M* m) noexcept {
  poller* net = sched.net.load(std::memory_order_acquire);
  if (net == nullptr || !net->has_waiters()) return false;
  g_list ready;
  net->poll(0, ready);
  if (ready.head == nullptr) return false;
  ready_from_loop(m, ready, queue_is_slow(*m->p));
  return true;
}

bool poller_is_wanted() noexcept {
  if (sched.timers.somebody_sleeps()) return false;
  const poller* net = sched.net.load(std::memory_order_acquire);
  return (net != nullptr && net->has_waiters()) || look_at_timers().earliest != never;
}

// Returns false if another M sleeps in the poller, or is just coming out of it.
bool take_poller(M* m) noexcept WEFT_REQUIRES(sched.lock) {
  if (sched.poller_taken || sched.ended.load(std::memory_order_relaxed)) return false;
  sched.poller_taken = true;
  m->next_p = nullptr;
  sched.polling_m = m;
  return true;
}

// Steps 9 and 10 for one M: the only one that sleeps in the poller at a time.
void sleep_in_poller(M* m) noexcept {
  sched.timers.lie_down();
  const nanoseconds_t until = sched.timers.sleep_until(look_at_timers());
  nanoseconds_t timeout = never;
  if (until != never) timeout = std::max<nanoseconds_t>(0, until - steady_now());
  g_list ready;
  if (poller* net = sched.net.load(std::memory_order_acquire)) {
    net->poll(timeout, ready);
    // Acquire: pairs with wake_poller.
  } else if (timeout != 0 && sched.sleeper_word.exchange(0, std::memory_order_acquire) == 0) {
    futex_wait(sched.sleeper_word, 0, timeout);
    sched.sleeper_word.store(0, std::memory_order_relaxed);
  }
  const nanoseconds_t now = until != never ? steady_now() : 0;
  const bool due = now >= until;
  sched.timers.get_up();
  {
    detail::spin_guard guard(sched.lock);
    sched.polling_m = nullptr;
    sched.poller_taken = false;
    if (m->next_p == nullptr && (ready.head != nullptr || due || anything_to_do(true))) {
      if (P* p = take_idle_p()) m->next_p = p;
    }
  }
  if (m->next_p != nullptr) {
    own(m, m->next_p);
    m->next_p = nullptr;
    note_busy();
    ready_from_loop(m, ready);
    run_all_timers(m);
    if (due) sched.timers.has_served(now);  // only now: until they have run nothing may be put off on their account
    return;
  }
  ready_from_loop(m, ready);
}

void wake_poller() noexcept {
  if (poller* net = sched.net.load(std::memory_order_acquire)) {
    net->wake();
    return;
  }
  sched.sleeper_word.store(1, std::memory_order_release);  // pairs with the exchange in sleep_in_poller
  futex_wake(sched.sleeper_word);
}

void install_poller(poller& net) noexcept {
  sched.net.store(&net, std::memory_order_release);
  sched.sleeper_word.store(1, std::memory_order_release);
  futex_wake(sched.sleeper_word);  // whoever sleeps in the old place comes back and sleeps in the new one
  // And who was about to sleep, and goes to the new place now, may have been woken in the old one: it looks once more.
  net.wake();
}

void nudge_sleeper() noexcept {
  if (sched.timers.somebody_sleeps() && sched.timers.sleeps_past(sched.timers.get_up_for(look_at_timers())))
    wake_poller();
}

void wake_sleeper_before(nanoseconds_t when) noexcept {
  if (sched.timers.sleeps_past(when)) wake_poller();
}

}  // namespace weft::rt
