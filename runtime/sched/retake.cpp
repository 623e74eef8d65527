// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/retake.hpp"

#include "runtime/base/os.hpp"
#include "runtime/sched/hand_off.hpp"
#include "runtime/sched/membarrier.hpp"
#include "runtime/sched/pending_work.hpp"
#include "runtime/sched/start_m.hpp"
#include "runtime/sched/upcalls.hpp"

namespace weft::rt {

namespace {

constexpr nanoseconds_t microsecond = 1'000;
constexpr nanoseconds_t quickest = 20 * microsecond;
constexpr nanoseconds_t blocked_after = 50 * microsecond;
constexpr nanoseconds_t burning_after = 10'000 * microsecond;

}  // namespace

retaker::findings retaker::look(nanoseconds_t now, bool came_back) noexcept {
  now_ = now;
  came_back_ = came_back;
  count_ = 0;
  found_ = {};
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) look_at(sched.all_ps[i].load(std::memory_order_acquire), notes_[i]);
  found_.taken = take_candidates() != 0;
  return found_;
}

void retaker::look_at(P* p, p_notes& notes) noexcept {
  const std::uint32_t tick = p->monitor_tick.load(std::memory_order_relaxed);
  if (tick != notes.tick) {
    notes.tick = tick;
    notes.since = now_;
  }
  const bool stuck = now_ - notes.since >= quickest;
  if (stuck && (!p->queue.empty() || p->timers.next_when() <= now_)) found_.overdue = true;
  M* m = p->m.load(std::memory_order_acquire);
  if (m == nullptr || !m->alive.load(std::memory_order_acquire)) return;
  const std::uint64_t section = m->section.look();
  if (section != m->seen_section) {
    m->seen_section = section;
    m->seen_since = now_;
    m->seen_cpu = -1;
    if (bracket<std_atomics>::outside(section) && (!p->queue.empty() || sched.global_size() != 0)) {
      if (!came_back_) found_.come_back = true;
      m->seen_cpu = os::cpu_time(m->cpu_clock);  // so that the next look already knows whether it has moved
      m->blocked_since = now_;
    }
    if (now_ - notes.since >= burning_after && work_waits_for(p)) ask_for_p(m);
    return;
  }
  if (!bracket<std_atomics>::outside(section) || !work_waits_for(p)) return;
  const bool announced = m->blocking_now.load(std::memory_order_relaxed);
  if (!announced) {
    const nanoseconds_t silent = now_ - m->seen_since;
    const nanoseconds_t cpu = os::cpu_time(m->cpu_clock);
    const bool moved = m->seen_cpu < 0 || cpu > m->seen_cpu + 2 * microsecond;
    if (moved) {
      if (m->seen_cpu < 0 || silent < burning_after) {
        // Seen for the second time, and on its CPU for less than half of the time between: it has blocked by now.
        if (m->seen_cpu >= 0 && m->blocked_since == m->seen_since && 2 * (cpu - m->seen_cpu) < silent)
          found_.come_back = true;
        m->seen_cpu = cpu;
        m->blocked_since = now_;
        return;
      }
      m->seen_cpu = cpu;
      if (now_ - notes.since >= burning_after && !threads_are_out()) add(p, m, section, true);
      return;
    }
    if (now_ - m->blocked_since < blocked_after || !os::is_asleep(m->tid.load(std::memory_order_relaxed))) return;
  }
  if (!threads_are_out()) add(p, m, section, false);
}

void retaker::add(P* p, M* m, std::uint64_t section, bool burning) noexcept {
  // An M that changes its P while we look shows up at both; its retake_lock is to be taken once.
  for (unsigned i = 0; i < count_; ++i)
    if (candidates_[i].m == m) return;
  if (count_ < max_candidates) candidates_[count_++] = {p, m, section, burning};
}

// Then a P is left where it is: nobody could go on with it.
bool retaker::threads_are_out() const noexcept {
  int threads = 0;
  {
    detail::spin_guard guard(sched.lock);
    if (sched.idle_threads > 0 || sched.polling_m != nullptr || sched.pinned_ms != nullptr) return false;
    threads = sched.threads;
  }
  if (threads < sched.max_threads) return now_ < sched.no_thread_before.load(std::memory_order_relaxed);
  say_threads_are_short(threads, 0);
  return true;
}

void retaker::ask_for_p(M* m) noexcept {
  if (threads_are_out()) return;
  found_.come_back = true;  // for what it surrenders
  m->slice_over.store(true, std::memory_order_relaxed);
  detail::spin_guard guard(m->retake_lock);
  m->section.request();
}

unsigned retaker::take_candidates() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  if (count_ == 0) return 0;
  for (unsigned i = 0; i < count_; ++i) {
    candidates_[i].m->retake_lock.lock();
    candidates_[i].m->section.request();
  }
  fence_all_threads();
  unsigned taken = 0;
  for (unsigned i = 0; i < count_; ++i) {
    const candidate& c = candidates_[i];
    const bool take = c.m->section.unchanged(c.section) && c.m->p == c.p;
    if (take) {
      c.m->p = nullptr;
      c.p->m.store(nullptr, std::memory_order_relaxed);
      c.p->handoffs.add();
    } else {
      c.m->section.withdraw();
    }
    c.m->retake_lock.unlock();
    if (take) candidates_[taken++] = c;
  }
  for (unsigned i = 0; i < taken; ++i) {
    // Before the P is anybody's, while the fiber is still at it.
    note_handoff(*candidates_[i].m, candidates_[i].burning, now_ - candidates_[i].m->seen_since);
    pass_on(candidates_[i].p);
  }
  return taken;
}

}  // namespace weft::rt
