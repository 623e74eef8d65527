// SPDX-License-Identifier: Apache-2.0
// An M's own loop: find a fiber to run, in Go's order, or go to sleep without losing a wake-up.
//
//   due timers of the own P · for half of the time at most, an urgent fiber · where it is time to look around (looks.hpp),
//   the global queue and the poller, each whatever is in the other · the own queue · a batch from the global queue · the
//   poller, without blocking, and the timers of nobody's P · steal half of a random victim's ring, in the last round also
//   timers and runnext · give up the P, look at everything again, sleep: in the poller if nobody is there (poll.cpp), with
//   the next timer as time-out, else on a futex (stop_m.cpp).
//
// The numbers in the comments are the steps of idle.hpp. An M stands inside its bracket here from start to end; it
// holds no lock when it runs timers' callbacks, polls, or makes fibers ready.
#include "runtime/sched/find_work.hpp"

#include <algorithm>
#include <cassert>

#include "runtime/sched/hand_off.hpp"
#include "runtime/sched/idle_p.hpp"
#include "runtime/sched/looks.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/pending_work.hpp"
#include "runtime/sched/pinned.hpp"
#include "runtime/sched/poll.hpp"
#include "runtime/sched/random.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/retake.hpp"
#include "runtime/sched/run_fiber.hpp"
#include "runtime/sched/stack_shortage.hpp"
#include "runtime/sched/start_m.hpp"
#include "runtime/sched/stop_m.hpp"
#include "runtime/sched/timers.hpp"

namespace weft::rt {

constexpr std::uint32_t max_batch = 128;

G* take_global(P* p, bool only_one) noexcept {
  if (sched.normal_in_global() == 0) return nullptr;
  detail::spin_guard guard(sched.lock);
  const std::uint32_t size = sched.normal_in_global();
  if (size == 0) return nullptr;
  const auto procs = static_cast<std::uint32_t>(sched.procs.load(std::memory_order_relaxed));
  const std::uint32_t room = run_queue<G>::capacity - std::min(p->queue.size(), run_queue<G>::capacity);
  std::uint32_t n = only_one ? 1 : std::min({size, size / procs + 1, max_batch, room + 1});
  G* first = sched.global.pop_normal();
  while (--n > 0) {
    [[maybe_unused]] const bool fits = p->queue.put(sched.global.pop_normal());
    assert(fits && "thieves only take");
  }
  return first;
}

namespace {

/// So long fibers out of `runnext` go on before the ring has its turn.
constexpr nanoseconds_t chain = 1'000'000;
/// What passes between two looks where turns are long: not so rare looks as these are in time for its end.
constexpr nanoseconds_t long_turns = 100'000;
constexpr int steal_rounds = 3;
constexpr int vain_rounds = 3;  ///< looks at a runnext that cannot be had, before the monitor's tick is trusted

// Step 6. The fiber that put something into runnext mostly parks within 50 ns and would switch straight to it. One that
// computes on instead will do so again: its next wake tells somebody (ready.cpp).
G* steal_next(P* victim) noexcept {
  G* seen = victim->queue.peek_next();
  if (seen == nullptr) return nullptr;
  const std::uint32_t picks = victim->picks.load(std::memory_order_relaxed);
  for (int i = 0; i < 200; ++i) std_atomics::pause();
  M* holder = victim->m.load(std::memory_order_acquire);
  if (holder != nullptr && !bracket<std_atomics>::outside(holder->section.look())) return nullptr;
  if (!victim->queue.steal_next(seen)) return nullptr;
  if (victim->picks.load(std::memory_order_relaxed) == picks)
    computes_on(victim->next_waker.load(std::memory_order_relaxed));
  return seen;
}

G* take_urgent_now(P* p) noexcept {
  if (sched.urgent_in_global() == 0) return nullptr;
  G* g = nullptr;
  bool due = p->due_owed >= 0;
  {
    detail::spin_guard guard(sched.lock);
    g = sched.global.pop_urgent(due);
  }
  if (g == nullptr) return nullptr;
  p->due_runs = due;
  if (p->share_counted == 0) p->share_counted = read_clock(p);
  p->urgent_runs = true;
  look_at_next_pick(p);
  return g;
}

// Two that hand things to and fro share a slice, and the slice ends, however long or short their turns are: then the ring
// is owed a turn, and what is in `runnext` goes there until it has had it. `before`: of the last visit to the loop.
void end_chain(P* p, nanoseconds_t before) noexcept {
  if (p->queue.has_left(p->queue.end())) {
    p->chain_since = 0;
    return;
  }
  if (p->queue.peek_next() == nullptr) {
    if (p->chain_since != ring_is_owed) p->chain_since = 0;
    return;
  }
  const nanoseconds_t now = read_clock(p);
  if (p->chain_since == 0) {
    p->chain_since = now;
    return;
  }
  if (now - p->chain_since < chain) {
    if (now - before >= long_turns) look_at_each_pick(p);
    return;
  }
  p->chain_since = ring_is_owed;
  make_room(p);
  if (G* next = p->queue.get_next()) p->queue.put(next);
  look_at_each_pick(p);  // the turns of those that come now may be longer
}

G* steal(M* m) noexcept {
  P* p = m->p;
  const int known = sched.known_procs.load(std::memory_order_acquire);
  if (known == 1) return nullptr;
  if (!m->searching) {
    if (!sched.idle.may_search(static_cast<unsigned>(sched.procs.load(std::memory_order_relaxed)))) return nullptr;
    sched.idle.begin_search();
    m->searching = true;
  }
  for (int round = 0; round < steal_rounds; ++round) {
    const bool last = round == steal_rounds - 1;
    const auto start = static_cast<int>(next_random(m->random) % static_cast<unsigned>(known));
    for (int i = 0; i < known; ++i) {
      P* victim = sched.all_ps[(start + i) % known].load(std::memory_order_acquire);
      if (victim == p) continue;
      if (last) {
        run_timers(m, victim->timers);
        if (G* g = pick_own(p)) return g;
      }
      G* g = p->queue.steal_from(victim->queue);
      if (g == nullptr && last) g = steal_next(victim);
      if (g != nullptr) {
        p->steals.add();
        return g;
      }
    }
  }
  return nullptr;
}

// An urgent fiber goes ahead of the own queue, but while both wait either has half of the time: the class runs as long as
// the others just have, and they as long as it has, a slice at the most. A turn ends where its P is next looked at from
// here. Counted in fibers it would starve the others: one that blocks again at once holds its P idle until the monitor has
// seen that. And a hundred that are due, of some microseconds each, would each wait for one of their long turns. For the
// same reason those that are due and those that came back without a P share the class's time in the same way.
G* take_urgent(P* p) noexcept {
  if (!p->urgent_runs && p->urgent_owed >= 0 && sched.urgent_in_global() == 0) {
    p->share_counted = 0;
    p->urgent_owed = 0;
    p->due_owed = 0;
    return nullptr;
  }
  const nanoseconds_t now = read_clock(p);
  if (p->share_counted != 0) {
    const nanoseconds_t had = now - p->share_counted;
    p->urgent_owed = std::clamp(p->urgent_owed + (p->urgent_runs ? -had : had), -slice, slice);
    if (p->urgent_runs) p->due_owed = std::clamp(p->due_owed + (p->due_runs ? -had : had), -slice, slice);
  }
  p->share_counted = now;
  p->urgent_runs = false;
  return p->urgent_owed < 0 ? nullptr : take_urgent_now(p);
}

// A fiber whose timer has fired alone has waited for its time, not for its turn, so it goes ahead of the queue. By turns
// with it: many that sleep and compute must not starve what waits there. What is due at the queue's turn is due at the
// next pick, too: behind all of the queue a ticker would lose its step.
G* take_due_timer(M* m) noexcept {
  P* p = m->p;
  if (p->timer_went_last && !p->queue.empty()) {
    p->timer_went_last = false;
    if (p->timers.next_when() <= read_clock(p)) look_at_each_pick(p);
    return nullptr;
  }
  G* g = run_timers(m, p->timers, !p->timer_went_last);
  p->timer_went_last = g != nullptr;
  return g;
}

G* look(M* m) noexcept {
  P* p = m->p;
  const nanoseconds_t before = p->now;  // when the clock was last read here
  if (G* g = take_due_timer(m)) return g;
  if (G* g = take_urgent(p)) {
    if (p->now - p->polled >= long_turns) {  // one after the other they may have a slice
      p->polled = p->now;
      poll_into_queue(m);
    }
    return g;
  }
  if (is_time_to_look(p, p->picks.load(std::memory_order_relaxed))) {
    begin_look(p);
    if (cached_stacks_are_short()) p->stacks.drain();
    if (sched.missed_wake.load(std::memory_order_relaxed) && sched.idle.idle_ps() != 0)
      run_all_timers(m);  // nobody was to be had for these
    else
      run_ownerless_timers(m, false);
    end_chain(p, before);
    // By turns with the own queue where each pick is a look, or the ring is owed a turn.
    const bool own_is_due = p->global_went_last && (p->distance == 1 || p->chain_since == ring_is_owed);
    G* g = own_is_due ? nullptr : take_global(p, true);
    p->global_went_last = g != nullptr;
    // Also with a fiber from the global queue in hand: while that queue never runs empty, nobody else looks there.
    p->polled = p->now;
    poll_into_queue(m);
    if (g == nullptr) g = pick_own(p);
    if (g != nullptr) {
      if (sched.idle.left_over_wants_wake(p->queue)) wake_one();
      return g;
    }
  }
  if (G* g = pick_own(p)) return g;
  if (G* g = take_global(p, false)) return g;
  if (G* g = take_urgent_now(p)) return g;  // of the others there is none here
  poll_into_queue(m);
  run_ownerless_timers(m, true);
  if (G* g = pick_own(p)) return g;
  return steal(m);
}

// Steps 8 to 10. Returns with a P or without; false: the thread shall end.
bool idle(M* m, int& vain) noexcept {
  {
    detail::spin_guard guard(sched.lock);
    if (sched.global_size() != 0) return true;
    P* p = m->p;
    m->p = nullptr;
    put_idle_p(p, m->searching);
    m->searching = false;
  }
  if (anything_to_do(vain < vain_rounds)) {
    ++vain;
    if (search_again(m)) return true;
  }
  bool missed = false;
  bool poll = false;
  {
    detail::spin_guard guard(sched.lock);
    if (m->due.load(std::memory_order_relaxed) != nullptr) return true;
    missed = forget_missed_wake();
    poll = !missed && take_poller(m);
  }
  if (missed) {
    search_again(m);
    return true;
  }
  if (poll) {
    sleep_in_poller(m);
    return true;
  }
  nudge_sleeper();  // it may have fallen asleep before our P's timers were started
  return m->pinned_g != nullptr ? sleep_until_pinned_is_due(m) : sleep_until_given_p(m);
}

// A P beyond the width: its fibers go to everybody, its timers stay where they are, for whoever searches.
void retire_p(M* m) noexcept {
  P* p = m->p;
  const g_list rest = take_all(p);
  {
    detail::spin_guard guard(sched.lock);
    m->p = nullptr;
    sched.global.push(rest);
    put_idle_p(p, m->searching);
    m->searching = false;
  }
  nudge_sleeper();
  std_atomics::fence_seq_cst();
  wake_if_wanted();
}

G* find_work(M* m) noexcept {
  int vain = 0;
  for (;;) {
    take_own_slice_back(m);
    if (sched.ended.load(std::memory_order_acquire)) return nullptr;
    if (m->pinned_g != nullptr) {
      if (G* g = take_due(m)) {
        stop_search(m);
        return g;
      }
      // Without a P, too, there may be what nobody was told of: the pinned fiber itself, which a yield has put into the
      // global queue from its hook; or nobody sleeps in the poller.
      if (m->p == nullptr) take_any_p(m);
      if (m->p == nullptr || lend_p(m)) {
        if (!sleep_until_pinned_is_due(m)) return nullptr;
        continue;
      }
      if (!is_alone()) {
        if (G* g = take_pinned(m)) return g;
        if (!sleep_beside_held_up_threads(m)) return nullptr;
        continue;
      }
    } else if (m->p == nullptr) {
      take_any_p(m);
      if (m->p == nullptr && !sleep_until_given_p(m)) return nullptr;
      continue;
    }
    if (!m->searching) start_wanted_thread();  // whoever counts as searching is to look first: nobody else is woken
    if (m->p->number >= sched.procs.load(std::memory_order_relaxed)) {
      retire_p(m);
      continue;
    }
    if (G* g = look(m)) {
      count_in_loop(m->p);
      stop_search(m);
      if (m->pinned_g != nullptr) help_out(m, g->pinned != m);
      return g;
    }
    if (!idle(m, vain)) return nullptr;
  }
}

}  // namespace

// Found while searching (7): the last searcher sees to it that another searches, if there is anything left to find, or
// nobody sleeps in the poller: it may itself have been there until it was woken. Whoever is woken for that alone stays
// there, and the next search finds the place taken.
void stop_search(M* m) noexcept {
  if (!m->searching) return;
  m->searching = false;
  if (sched.idle.end_search_found() && (work_anywhere() || poller_is_wanted())) wake_if_wanted();
}

void schedule_loop(M* m) noexcept {
  for (;;) {
    G* g = m->pending;
    m->pending = nullptr;
    if (g == nullptr) g = find_work(m);
    if (g == nullptr) {
      if (m->searching) sched.idle.wake_failed();  // the count is not this M's to keep beyond the end
      m->searching = false;
      return;
    }
    if (g->pinned != nullptr && g->pinned != m) {
      give_to_pinned(m, g);
      continue;
    }
    if (!give_stack_or_wait(m, g)) continue;
    run_from_loop(m, g);
  }
}

}  // namespace weft::rt
