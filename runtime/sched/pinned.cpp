// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/pinned.hpp"

#include <utility>

#include "runtime/sched/find_work.hpp"
#include "runtime/sched/futex.hpp"
#include "runtime/sched/hand_off.hpp"
#include "runtime/sched/idle_p.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/pending_work.hpp"
#include "runtime/sched/poll.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/start_m.hpp"
#include "runtime/sched/stop_m.hpp"
#include "runtime/sched/timers.hpp"

namespace weft::rt {

// Both words are looked at by this M, and by whoever wakes or picks the fiber after it has parked.
bool pin(G* g) noexcept {
  if (g->pins++ != 0) return true;
  bool is_last = false;
  {
    const inside_runtime here;
    M* m = here.m();
    if (m->pinned_g != nullptr) {
      g->pins = 0;
      return false;
    }
    m->pinned_g = g;
    g->pinned = m;
    detail::spin_guard guard(sched.lock);
    ++sched.pinned_threads;
    is_last = sched.unpinned_threads() == 0;
  }
  // Now, and not when the fiber first waits: see `run_main`.
  if (is_last) start_machine(nullptr, false);
  return true;
}

void unpin(G* g) noexcept {
  if (--g->pins != 0) return;
  const inside_runtime here;
  forget_pins(here.m(), g);
}

void forget_pins(M* m, G* g) noexcept {
  g->pins = 0;
  g->pinned = nullptr;
  m->pinned_g = nullptr;
  detail::spin_guard guard(sched.lock);
  --sched.pinned_threads;
}

bool sleep_until_pinned_is_due(M* m) noexcept {
  {
    detail::spin_guard guard(sched.lock);
    if (sched.ended.load(std::memory_order_relaxed)) return false;
    if (m->due.load(std::memory_order_relaxed) != nullptr) return true;
    m->next_p = nullptr;
    m->wake_word.store(0, std::memory_order_relaxed);
    m->idle_link = sched.pinned_ms;
    sched.pinned_ms = m;
  }
  while (m->wake_word.load(std::memory_order_acquire) == 0) futex_wait(m->wake_word, 0);  // pairs with get_up
  if (m->next_p == nullptr) return true;
  own(m, m->next_p);
  m->next_p = nullptr;
  note_busy();
  return true;
}

void help_out(M* m, bool begins) noexcept {
  if (m->helps_out == begins) return;  // written by this thread alone
  detail::spin_guard guard(sched.lock);
  m->helps_out = begins;
}

G* take_due(M* m) noexcept {
  help_out(m, false);
  if (m->due.load(std::memory_order_relaxed) == nullptr) return nullptr;  // a hint: the M looks again before it sleeps
  P* const helped_with = m->p;
  G* g = nullptr;
  {
    detail::spin_guard guard(sched.lock);
    g = m->due.exchange(nullptr, std::memory_order_relaxed);
    if (P* p = std::exchange(m->due_p, nullptr)) own(m, p);
  }
  if (m->p == nullptr) {  // it came without one, and the M has lost its own: whoever picks it again brings one
    push_global(g);
    std_atomics::fence_seq_cst();
    wake_if_wanted();
    return nullptr;
  }
  if (m->p == helped_with) return g;
  note_busy();
  if (helped_with != nullptr) pass_on(helped_with);
  return g;
}

void give_to_pinned(M* m, G* g) noexcept {
  M* target = g->pinned;
  sleeper found{target, false};
  {
    detail::spin_guard guard(sched.lock);
    target->due.store(g, std::memory_order_relaxed);
    if (target->helps_out) return;  // for as long as that fiber runs: the P is not to wait there
    m->p->m.store(nullptr, std::memory_order_relaxed);
    target->due_p = std::exchange(m->p, nullptr);
    found.polls = sched.polling_m == target;
    if (found.polls)
      sched.polling_m = nullptr;
    else if (!take_off(sched.pinned_ms, target))
      return;  // it is up, in its loop, and looks before it sleeps
  }
  get_up(found);
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

// There is not one thread beside those with a pinned fiber, and none may be started or has been to be had for a while: one
// that is refused for a moment is no reason to let another fiber have this thread.
bool is_alone() noexcept {
  constexpr nanoseconds_t patience = 100'000'000;
  const nanoseconds_t since = sched.refused_since.load(std::memory_order_relaxed);
  const bool refused = since != 0 && steady_now() - since >= patience;
  detail::spin_guard guard(sched.lock);
  return sched.unpinned_threads() == 0 && (refused || sched.threads >= sched.max_threads);
}

// All other threads are held up, and no more are to be had now: what is ready for others goes to the global queue. If
// this M ran any of it, its pinned fiber would have to wait until that parks, which may be never. Another pinned fiber is
// for its own M, which gets the P with it: there may be nobody else who would pick it, since the P comes to those first
// that lie down last.
//
// The push is a submit of its own (idle.hpp, steps 1 and 2), though each fiber was submitted before: between the pick
// and the push it is in no queue. An M that has come back from what held it up, has found nothing and gives up its P
// may look at everything just then: it sees nothing, and sleeps. So may the one that the former submit has woken.
// Without a wake after the push the fibers would lie there beside an idle P for as long as the pinned fiber runs.
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
  const bool pushed = rest.head != nullptr;
  {
    detail::spin_guard guard(sched.lock);
    sched.global.push(rest);
    if (own == nullptr) own = sched.global.take_pinned_to(m);
    if (own == nullptr) own = sched.global.take_pinned_to(nullptr);
  }
  if (!pushed) return own;
  std_atomics::fence_seq_cst();  // pairs with give_up_p
  wake_if_wanted();
  return own;
}

// Its P is the monitor's to find an M for, and no other's with a pinned fiber: that could do no more, and would give it
// back. It sleeps where it hears of timers and sockets, if nobody else does.
bool sleep_beside_held_up_threads(M* m) noexcept {
  shelve_p(std::exchange(m->p, nullptr), false, false);
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

}  // namespace weft::rt
