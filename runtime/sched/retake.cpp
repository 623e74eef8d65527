// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/retake.hpp"

#include <algorithm>
#include <optional>

#include "runtime/base/os.hpp"
#include "runtime/sched/hand_off.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/pending_work.hpp"
#include "runtime/sched/start_m.hpp"
#include "runtime/sched/upcalls.hpp"

namespace weft::rt {

namespace {

constexpr nanoseconds_t microsecond = 1'000;
constexpr nanoseconds_t overdue_after = 20 * microsecond;
constexpr nanoseconds_t blocked_after = 50 * microsecond;
constexpr nanoseconds_t nothing = 2 * microsecond;        // of CPU time
constexpr nanoseconds_t long_wait = 1'000 * microsecond;  // for a CPU
constexpr nanoseconds_t long_turn = 1'000 * microsecond;  // of CPU time

handoff as_noted(retaker::reason why) noexcept {
  switch (why) {
    case retaker::reason::burning:
      return handoff::burned;
    case retaker::reason::waiting:
      return handoff::waited_for_a_cpu;
    case retaker::reason::blocked:
    case retaker::reason::resting:
      break;
  }
  return handoff::blocked;
}

}  // namespace

retaker::findings retaker::look(nanoseconds_t now, bool came_back) noexcept {
  now_ = now;
  came_back_ = came_back;
  count_ = 0;
  found_ = {};
  waits_elsewhere_.reset();
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) look_at(sched.all_ps[i].load(std::memory_order_acquire), notes_[i]);
  for (const timer_heap& heap : sched.foreign_timers)
    if (now_ - heap.next_when() >= overdue_after) found_.overdue = true;
  found_.taken = take_candidates();
  return found_;
}

void retaker::look_at(P* p, p_notes& notes) noexcept {
  const std::uint32_t picks = p->picks.load(std::memory_order_relaxed);
  M* m = p->m.load(std::memory_order_acquire);
  if (picks != notes.picks || m != notes.m) notes = {.m = m, .picks = picks, .since = now_};
  if (now_ - notes.since >= overdue_after && (!p->queue.empty() || p->timers.next_when() <= now_))
    found_.overdue = true;
  if (m == nullptr || !m->alive.load(std::memory_order_acquire)) return;
  const std::uint64_t section = m->section.look();
  const bool moved = section != m->seen_section;
  if (moved) {
    m->seen_section = section;
    m->seen_since = now_;
  }
  if (!work_waits(p)) {
    if (!moved && bracket<std_atomics>::outside(section) && now_ - m->seen_since >= slice)
      let_rest(p, m, section, notes);
    else
      notes.cpu = not_known;
  } else if (!bracket<std_atomics>::outside(section)) {
    if (now_ - notes.since >= slice) ask_for_p(p, m);
  } else if (m->blocking_now.load(std::memory_order_relaxed)) {
    if (!moved)
      add(p, m, section, m->seen_since, reason::blocked);
    else if (!came_back_)
      found_.come_back = true;
  } else {
    judge(p, m, section, moved, notes);
  }
}

// `cpu`: read before. A thread that was runnable and has used no CPU since still is: it takes some to fall asleep. The
// answer costs ten times as much as the clock, and where Ms wait for CPUs it would be asked for at each look. It is asked
// for again after a while, since there are systems whose clock moves by ticks.
std::optional<bool> retaker::is_asleep(const M& m, nanoseconds_t cpu, p_notes& notes) noexcept {
  if (cpu == notes.awake_at && now_ - notes.asked_at < long_wait) return false;
  const std::optional<bool> answer = os::is_asleep(m.tid.load(std::memory_order_relaxed));
  notes.asked_at = now_;
  if (answer != false) {
    notes.awake_at = not_known;
  } else if (cpu != notes.awake_at) {
    notes.awake_at = cpu;
    notes.awake_since = now_;
  }
  return answer;
}

// A clock that moves between two readings is the cheaper answer. One that stands still may be that of a thread which
// waits for the monitor's CPU.
bool retaker::has_just_fallen_asleep(const M& m, nanoseconds_t cpu, p_notes& notes) noexcept {
  return os::cpu_time(m.cpu_clock) == cpu && is_asleep(m, cpu, notes).value_or(false);
}

// Without an answer (no descriptor is free, /proc is not mounted) a thread that has used no CPU for so long as a slice
// counts as asleep: one that waits for a CPU of somebody else's loses its P, too, which costs a thread.
bool retaker::has_slept(const M& m, nanoseconds_t cpu, p_notes& notes) noexcept {
  return is_asleep(m, cpu, notes).value_or(now_ - notes.sampled >= slice && cpu - notes.cpu <= nothing);
}

// Outside of the runtime, and something waits: blocked, burning, or neither for now.
void retaker::judge(P* p, M* m, std::uint64_t section, bool moved, p_notes& notes) noexcept {
  const nanoseconds_t cpu = os::cpu_time(m->cpu_clock);
  const nanoseconds_t elapsed = now_ - notes.sampled;
  if (notes.first_cpu == not_known) notes.first_cpu = cpu;
  if (notes.cpu == not_known) {
    notes.cpu = cpu;
    notes.sampled = now_;
    if (!came_back_ && has_just_fallen_asleep(*m, cpu, notes))
      found_.come_back = true;  // so that the next look can tell
    return;
  }
  if (elapsed < blocked_after) {
    if (!came_back_) found_.come_back = true;
    return;
  }
  const bool used_half = 2 * (cpu - notes.cpu) >= elapsed;
  if (!used_half && has_slept(*m, cpu, notes)) {
    add(p, m, section, notes.sampled, reason::blocked);
    return;
  }
  const bool computes = cpu - notes.cpu > nothing;  // however little of a CPU it is given
  const bool waits_for_a_cpu = cpu == notes.awake_at && now_ - notes.awake_since >= long_wait;
  if (now_ - notes.since >= slice && (computes || waits_for_a_cpu)) {
    const bool has_computed = computes || cpu - notes.first_cpu >= long_turn;
    if (moved)
      ask_for_p(p, m);
    else
      add(p, m, section, notes.since, has_computed ? reason::burning : reason::waiting);
    return;
  }
  if (!used_half && elapsed < slice)
    return;  // its CPU is somebody else's, or it computes just now and will sleep again
  if (used_half && !came_back_ && has_just_fallen_asleep(*m, cpu, notes)) found_.come_back = true;
  notes.cpu = cpu;
  notes.sampled = now_;
}

// Outside of the runtime for a slice, and nothing waits.
void retaker::let_rest(P* p, M* m, std::uint64_t section, p_notes& notes) noexcept {
  if (m->blocking_now.load(std::memory_order_relaxed)) {
    add(p, m, section, m->seen_since, reason::resting);
    return;
  }
  const nanoseconds_t elapsed = now_ - notes.sampled;
  if (notes.cpu != not_known && elapsed < slice) return;
  const nanoseconds_t cpu = os::cpu_time(m->cpu_clock);
  const nanoseconds_t used = cpu - notes.cpu;
  if (notes.cpu != not_known && used <= nothing && has_slept(*m, cpu, notes)) {
    add(p, m, section, notes.sampled, reason::resting);
    return;
  }
  notes.cpu = cpu;
  notes.sampled = now_;
}

bool retaker::work_waits(const P* p) noexcept {
  if (work_waits_in(p)) return true;
  if (!waits_elsewhere_) waits_elsewhere_ = work_waits_elsewhere();
  return *waits_elsewhere_;
}

void retaker::add(P* p, M* m, std::uint64_t section, nanoseconds_t since, reason why) noexcept {
  if (is_better_left(p, now_ - since)) {
    if (why != reason::resting) note_missed_wake();
    return;
  }
  // An M that changes its P while we look shows up at both; its retake_lock is to be taken once.
  for (unsigned i = 0; i < count_; ++i)
    if (candidates_[i].m == m) return;
  if (count_ < max_candidates) candidates_[count_++] = {p, m, section, since, why, false};
}

// While threads are out nobody could go on with it. But what waits in it, and its timers, are for those that have a P. Not
// after each short call, whose fiber will give way by itself (scope/blocking.cpp).
bool retaker::is_better_left(const P* p, nanoseconds_t lasts) const noexcept {
  if (lasts >= long_turn && (has_what_others_want(p) || p->timers.next_when() <= now_)) return false;
  return threads_are_out();
}

// What waits elsewhere waits for a thread now.
void retaker::note_missed_wake() noexcept {
  detail::spin_guard guard(sched.lock);
  sched.missed_wake.store(true, std::memory_order_relaxed);
}

bool retaker::threads_are_out() const noexcept {
  int threads = 0;
  {
    detail::spin_guard guard(sched.lock);
    if (sched.idle_threads > 0 || sched.coming_threads.load(std::memory_order_relaxed) > 0) return false;
    if (sched.polling_m != nullptr || sched.pinned_ms != nullptr) return false;
    threads = sched.threads;
  }
  if (threads < sched.max_threads) return now_ < sched.no_thread_before.load(std::memory_order_relaxed);
  say_threads_are_short(threads, 0);
  return true;
}

void retaker::ask_for_p(const P* p, M* m) noexcept {
  if (is_better_left(p, slice)) return note_missed_wake();
  if (!m->slice_over.exchange(true, std::memory_order_relaxed)) found_.come_back = true;  // for what it surrenders
  detail::spin_guard guard(m->retake_lock);
  m->section.request();
}

bool retaker::take_candidates() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  if (count_ == 0) return false;
  for (unsigned i = 0; i < count_; ++i) {
    candidates_[i].m->retake_lock.lock();
    candidates_[i].m->section.request();
  }
  fence_all_threads();
  unsigned taken = 0;
  for (unsigned i = 0; i < count_; ++i) {
    candidate& c = candidates_[i];
    const bool take = c.m->section.unchanged(c.section) && c.m->p == c.p;
    if (take) {
      c.m->p = nullptr;
      c.p->m.store(nullptr, std::memory_order_relaxed);
      c.p->handoffs.add();
      c.long_slice = (c.why == reason::burning || c.why == reason::waiting) && !c.m->is_caller;
    } else if (!c.m->slice_over.load(std::memory_order_relaxed) && !c.m->look_wanted.load(std::memory_order_relaxed)) {
      c.m->section.withdraw();
    }
    c.m->retake_lock.unlock();
    if (take) candidates_[taken++] = c;
  }
  const auto rests = [](const candidate& c) { return c.why == reason::resting; };
  const auto to_hand_on = taken - std::count_if(candidates_, candidates_ + taken, rests);
  if (to_hand_on != 0) want_threads(static_cast<int>(to_hand_on));
  bool somebody_comes = false;
  for (unsigned i = 0; i < taken; ++i) {
    const candidate& c = candidates_[i];
    // Before the P is anybody's, while the fiber is still at it.
    note_handoff(*c.m, as_noted(c.why), now_ - c.since);
    if (c.long_slice) make_slice_long(*c.m);
    if (c.why == reason::blocked) found_.blocked = true;
    if (c.why == reason::resting) {
      lay_aside(c.p, somebody_comes);
    } else {
      pass_on(c.p);
    }
  }
  return to_hand_on != 0;
}

void make_slice_long(M& m) noexcept {
  constexpr nanoseconds_t longest = 100'000 * microsecond;  // that the kernel allows
  if (m.former_slice.load(std::memory_order_relaxed) != 0) return;
  const nanoseconds_t former = os::set_slice(m.tid.load(std::memory_order_relaxed), longest);
  if (former > 0 && former < longest) m.former_slice.store(former, std::memory_order_relaxed);
}

void take_own_slice_back(M* m) noexcept {
  const nanoseconds_t former = m->former_slice.load(std::memory_order_relaxed);
  if (former == 0) return;
  m->former_slice.store(0, std::memory_order_relaxed);
  os::set_slice(m->tid.load(std::memory_order_relaxed), former);
}

}  // namespace weft::rt
