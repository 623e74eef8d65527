// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/hand_off.hpp"

#include "runtime/sched/idle_p.hpp"
#include "runtime/sched/looks.hpp"
#include "runtime/sched/pending_work.hpp"
#include "runtime/sched/poll.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/start_m.hpp"
#include "runtime/sched/stop_m.hpp"

namespace weft::rt {

static bool give_to(sleeper (*take)(P*, bool) noexcept, P* p, bool searching) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  sched.lock.lock();
  const sleeper found = take(p, searching);
  sched.lock.unlock();
  if (found.m == nullptr) return false;
  get_up(found);
  return true;
}

void wake_one() noexcept {
  P* p = nullptr;
  {
    detail::spin_guard guard(sched.lock);
    p = take_idle_p();
    if (p == nullptr) {
      sched.idle.wake_failed();
      return;
    }
  }
  if (!give_to(take_sleeper, p, true) && !start_machine(p, true)) shelve_p(p, true);
}

// What lies in its queue goes to everybody: thieves would find it there, but an M with a pinned fiber steals from nobody,
// and it may be the only one that is up.
void shelve_p(P* p, bool searching, bool also_to_pinned) noexcept {
  const g_list rest = take_all(p);
  sleeper found;
  {
    detail::spin_guard guard(sched.lock);
    sched.global.push(rest);
    // An M may have lain down since the caller looked: it has not seen the work, and would not see the flag either.
    found = take_sleeper(p, searching);
    if (found.m == nullptr && also_to_pinned) found = take_pinned_sleeper(p, searching);
    if (found.m == nullptr) {
      look_at_each_pick(p);  // whoever has it next: till then nobody sees its timers
      put_idle_p(p, searching);
      sched.missed_wake.store(true, std::memory_order_relaxed);
    }
  }
  if (found.m != nullptr) {
    get_up(found);
  } else {
    nudge_sleeper();
    note_busy();  // the monitor tries again
  }
}

// Where every P is idle somebody sleeps in the poller, or the monitor is up: who starts a timer or waits for a socket then
// wakes nobody else. So without a sleeper there this P is for one, whether there is anything to wait for or not. The
// look after it is step 9 of idle.hpp: what was published before the P was idle woke nobody.
void lay_aside(P* p, bool& somebody_comes) noexcept {
  bool aside = false;
  {
    detail::spin_guard guard(sched.lock);
    aside = (sched.poller_taken || somebody_comes) && p->queue.empty();
    if (aside) put_idle_p(p, false);
  }
  if (!aside) {
    somebody_comes = true;
    return pass_on(p);
  }
  nudge_sleeper();
  if (work_anywhere()) wake_if_wanted();
}

bool hand_off_to_unpinned(P* p) noexcept {
  p->m.store(nullptr, std::memory_order_relaxed);  // else the monitor sees it at the giver until the taker is up
  return give_to(take_sleeper, p, false) || start_machine(p, false);
}

bool hand_off(P* p) noexcept { return hand_off_to_unpinned(p) || give_to(take_pinned_sleeper, p, false); }

void pass_on(P* p) noexcept {
  if (hand_off(p)) return;
  shelve_p(p, false);
  if (work_anywhere()) wake_if_wanted();
}

}  // namespace weft::rt
