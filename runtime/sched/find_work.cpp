// SPDX-License-Identifier: Apache-2.0
// An M's own loop: find a fiber to run, in Go's order, or go to sleep without losing a wake-up.
//
//   due timers of the own P · one pick in 61: the global queue first, then the poller · by turns with what follows, an
//   urgent fiber · the own queue · a batch from the global queue · the poller, without blocking · steal half of a random
//   victim's ring, in the last round also timers and runnext · give up the P, look at everything again, sleep: in the
//   poller if nobody is there, with the next timer as time-out, else on a futex.
//
// The numbers in the comments are the steps of idle.hpp. An M stands inside its bracket here from start to end; it
// holds no lock when it runs timers' callbacks, polls, or makes fibers ready.
#include "runtime/sched/find_work.hpp"

#include <sched.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "runtime/sched/futex.hpp"
#include "runtime/sched/machine.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/random.hpp"
#include "runtime/sched/run_fiber.hpp"

namespace weft::inline v0::rt {

constexpr std::uint32_t max_batch = 128;

G* take_global(P* p, bool only_one) noexcept {
  if (sched.global_size() == 0) return nullptr;
  detail::spin_guard guard(sched.lock);
  const std::uint32_t size = sched.global_size();
  if (size == 0) return nullptr;
  const auto procs = static_cast<std::uint32_t>(sched.procs.load(std::memory_order_relaxed));
  const std::uint32_t room = run_queue<G>::capacity - std::min(p->queue.size(), run_queue<G>::capacity);
  std::uint32_t n = only_one ? 1 : std::min({size, size / procs + 1, max_batch, room + 1});
  G* first = sched.global.pop();
  while (--n > 0) {
    [[maybe_unused]] const bool fits = p->queue.put(sched.global.pop());
    assert(fits && "thieves only take");
  }
  return first;
}

namespace {

constexpr int steal_rounds = 3;
constexpr int vain_rounds = 3;  ///< looks at a runnext that cannot be had, before the monitor's tick is trusted

nanoseconds_t read_clock(P* p) noexcept {
  p->now = steady_now();
  sched.coarse_now.store(p->now, std::memory_order_relaxed);
  return p->now;
}

void run_timers(M* m, timer_heap& heap) noexcept {
  if (heap.next_when() == never) return;
  const nanoseconds_t now = read_clock(m->p);
  for (bool more = true; more;) {
    fired_timers fired;
    more = heap.run_due(now, fired);
    finish_expired(fired);
    fired.run_deferred();
    ready_from_loop(m, {fired.ready_head, fired.ready_tail, fired.ready});
  }
}

void run_all_timers(M* m) noexcept {
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) {
    timer_heap& heap = sched.all_ps[i].load(std::memory_order_acquire)->timers;
    if (heap.next_when() <= m->p->now || heap.next_when() <= read_clock(m->p)) run_timers(m, heap);
  }
}

// Timers of Ps beyond the width have no holder who would look at them.
void run_retired_timers(M* m) noexcept {
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = sched.procs.load(std::memory_order_relaxed); i < known; ++i)
    run_timers(m, sched.all_ps[i].load(std::memory_order_acquire)->timers);
}

void add(pending_timers& all, const timer_heap& heap) noexcept {
  all.earliest = std::min(all.earliest, heap.next_when());
  all.count += heap.size();
}

pending_timers look_at_timers() noexcept {
  pending_timers all;
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) add(all, sched.all_ps[i].load(std::memory_order_acquire)->timers);
  return all;
}

// Found while searching (7): the last searcher sees to it that another searches, if there is anything left to find.
void stop_search(M* m) noexcept {
  if (!m->searching) return;
  m->searching = false;
  if (sched.idle.end_search_found() && work_anywhere()) wake_if_wanted();
}

G* poll_now(M* m) noexcept {
  poller* net = sched.net.load(std::memory_order_acquire);
  if (net == nullptr || !net->has_waiters()) return nullptr;
  g_list ready;
  net->poll(0, ready);
  if (ready.head == nullptr) return nullptr;
  ready_from_loop(m, ready);
  return pick_own(m->p);
}

// Step 6. The fiber that put something into runnext mostly parks within 50 ns and would switch straight to it.
G* steal_next(P* victim) noexcept {
  G* seen = victim->queue.peek_next();
  if (seen == nullptr) return nullptr;
  for (int i = 0; i < 200; ++i) std_atomics::pause();
  M* holder = victim->m.load(std::memory_order_acquire);
  if (holder != nullptr && !bracket<std_atomics>::outside(holder->section.look())) return nullptr;
  return victim->queue.steal_next(seen) ? seen : nullptr;
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

// Ahead of the own queue, but by turns with it: a stream of them must not starve what waits there.
G* take_urgent(P* p) noexcept {
  if (p->urgent_went_last || !sched.global_has_urgent()) {
    p->urgent_went_last = false;
    return nullptr;
  }
  p->urgent_went_last = true;
  detail::spin_guard guard(sched.lock);
  return sched.global.pop_urgent();
}

G* look(M* m) noexcept {
  P* p = m->p;
  run_timers(m, p->timers);
  if (p->tick % P::global_tick == 0) {
    // Counted, or a P that goes from M to M with fibers that block would look here first each time, and at nothing else.
    p->monitor_tick.store(++p->tick, std::memory_order_relaxed);
    run_retired_timers(m);
    G* g = take_global(p, true);
    if (g == nullptr) g = poll_now(m);
    if (g == nullptr) g = pick_own(p);
    if (g != nullptr) {
      if (sched.idle.left_over_wants_wake(p->queue)) wake_one();
      return g;
    }
  }
  if (G* g = take_urgent(p)) return g;
  if (G* g = pick_own(p)) return g;
  if (G* g = take_global(p, false)) return g;
  if (G* g = poll_now(m)) return g;
  return steal(m);
}

// What is overdue while a fiber waits for its turn in a queue that this M cannot take from counts only `with_runnext`.
bool anything_to_do(bool with_runnext) noexcept {
  if (sched.global_size() != 0) return true;
  const int known = sched.known_procs.load(std::memory_order_acquire);
  pending_timers timers;
  for (int i = 0; i < known; ++i) {
    P* p = sched.all_ps[i].load(std::memory_order_acquire);
    if (with_runnext ? !p->queue.empty() : p->queue.size() > (p->queue.peek_next() != nullptr ? 1u : 0u)) return true;
    add(timers, p->timers);
  }
  return timers.earliest != never && sched.timers.get_up_for(timers) <= steady_now();
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
  } else if (timeout != 0 &&
             sched.sleeper_word.exchange(0, std::memory_order_acquire) == 0) {  // pairs with wake_poller
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

void take_any_p(M* m) noexcept {
  {
    detail::spin_guard guard(sched.lock);
    P* p = take_surrendered_p();
    if (p == nullptr) p = take_idle_p();
    if (p != nullptr) own(m, p);
  }
  if (m->p != nullptr) note_busy();
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
    take_any_p(m);
    if (m->p != nullptr) {
      sched.idle.begin_search();
      m->searching = true;
      return true;
    }
  }
  bool poll = false;
  {
    detail::spin_guard guard(sched.lock);
    if (forget_missed_wake() || m->due.load(std::memory_order_relaxed) != nullptr) return true;
    poll = take_poller(m);
  }
  if (poll) {
    sleep_in_poller(m);
    return true;
  }
  nudge_sleeper();  // it may have fallen asleep before our P's timers were started
  return m->locked != nullptr ? sleep_until_pinned_is_due(m) : sleep_until_given_p(m);
}

// A P beyond the width: its fibers go to everybody, its timers stay where they are, for whoever searches.
void retire_p(M* m) noexcept {
  P* p = m->p;
  g_list rest;
  while (G* g = pick_own(p)) rest.push_back(g);
  p->stacks.drain();
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

// An M with a pinned fiber runs nothing else, unless not one other thread can be had: while the fiber waits, its P is
// somebody else's. False: there is nobody to take it, and this M has it still.
bool lend_p(M* m) noexcept {
  stop_search(m);
  P* p = m->p;
  m->p = nullptr;
  bool wanted = anything_to_do(true);
  if (!wanted) {
    detail::spin_guard guard(sched.lock);
    wanted = !sched.poller_taken;  // by whoever is to sleep there
    if (!wanted) put_idle_p(p, false);
  }
  if (wanted) {
    if (hand_off_to_unpinned(p)) return true;
    own(m, p);
    return false;
  }
  nudge_sleeper();
  if (work_anywhere()) wake_if_wanted();
  return true;
}

// There is not one thread beside this one, and none has been to be had for a while: one that is refused for a moment is
// no reason to let another fiber have this thread.
bool is_alone() noexcept {
  constexpr nanoseconds_t patience = 100'000'000;
  const nanoseconds_t since = sched.refused_since.load(std::memory_order_relaxed);
  if (since == 0 || steady_now() - since < patience) return false;
  detail::spin_guard guard(sched.lock);
  return sched.threads == 0;
}

// All other threads are held up, and no more are to be had now: what is ready for others goes to the global queue. If this M ran any of it, its pinned fiber would have to wait until that parks, which may be never.
G* take_pinned(M* m) noexcept {
  P* const p = m->p;
  run_all_timers(m);
  g_list rest;
  if (poller* net = sched.net.load(std::memory_order_acquire)) {
    g_list ready;
    net->poll(0, ready);
    ready_from_loop(m, ready);
  }
  G* own = nullptr;
  while (G* g = pick_own(p)) {
    if (g->pinned == m)
      own = g;
    else
      rest.push_back(g);
  }
  detail::spin_guard guard(sched.lock);
  sched.global.push(rest);
  return own != nullptr ? own : sched.global.take_pinned_to(m);
}

// Its P is the monitor's to find an M for. It sleeps where it hears of timers and sockets, if nobody else does.
bool sleep_beside_held_up_threads(M* m) noexcept {
  shelve_p(std::exchange(m->p, nullptr), false);
  bool poll = false;
  {
    detail::spin_guard guard(sched.lock);
    if (m->due.load(std::memory_order_relaxed) != nullptr) return true;
    poll = take_poller(m);
  }
  if (!poll) return sleep_until_pinned_is_due(m);
  sleep_in_poller(m);
  return true;
}

G* find_work(M* m) noexcept {
  int vain = 0;
  for (;;) {
    if (sched.ended.load(std::memory_order_acquire)) return nullptr;
    if (m->locked != nullptr) {
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
    if (m->p->number >= sched.procs.load(std::memory_order_relaxed)) {
      retire_p(m);
      continue;
    }
    if (G* g = look(m)) {
      stop_search(m);
      if (m->locked != nullptr) help_out(m, g->pinned != m);
      return g;
    }
    if (!idle(m, vain)) return nullptr;
  }
}

}  // namespace

bool work_anywhere() noexcept { return anything_to_do(true); }

bool work_waits_for(const P* p) noexcept {
  if (!p->queue.empty() || sched.global_size() != 0) return true;
  if (sched.idle.idle_ps() != 0) return false;
  const poller* net = sched.net.load(std::memory_order_acquire);
  if (net != nullptr && net->has_waiters()) return true;
  return look_at_timers().earliest != never;
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
    if (!bind_fiber(m, g)) {
      push_global(g);  // nothing is lost: it is tried again when others have ended
      sched_yield();
      continue;
    }
    run_from_loop(m, g);
  }
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
}

void nudge_sleeper() noexcept {
  if (sched.timers.somebody_sleeps() && sched.timers.sleeps_past(sched.timers.get_up_for(look_at_timers())))
    wake_poller();
}

bool start_timer(timer& t) noexcept {
  inside_runtime here;
  if (P* p = here.p()) {
    p->timers.start(t);
    return false;
  }
  // Spread over the heaps by the timer's address: any heap is looked at by everybody who idles or searches.
  const auto procs = static_cast<std::size_t>(sched.procs.load(std::memory_order_relaxed));
  const std::size_t at = procs != 0 ? (reinterpret_cast<std::uintptr_t>(&t) >> 6) % procs : 0;
  sched.all_ps[at].load(std::memory_order_acquire)->timers.start(t);
  return true;
}

void restart_timer_in_loop(timer& t) noexcept { current_m()->p->timers.start(t); }

void wake_sleeper_before(nanoseconds_t when) noexcept {
  if (sched.timers.sleeps_past(when)) wake_poller();
}

}  // namespace weft::inline v0::rt
