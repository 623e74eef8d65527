// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/looks.hpp"

#include <algorithm>

namespace weft::rt {

namespace {

constexpr nanoseconds_t apart = 100'000;
constexpr nanoseconds_t measured_over = 200'000;
constexpr nanoseconds_t patience = 200'000;
constexpr nanoseconds_t remembered = 20'000'000;  // of long turns

}  // namespace

void look_pacer::look(nanoseconds_t now) noexcept {
  const int known = sched.known_procs.load(std::memory_order_acquire);
  for (int i = 0; i < known; ++i) {
    P& p = *sched.all_ps[i].load(std::memory_order_acquire);
    measure(p, notes_[i], now);
    ask(p, notes_[i], now);
  }
}

// What has lasted for longer was no turn: the P was idle.
void look_pacer::note_turn(P& p, p_notes& notes, nanoseconds_t now, nanoseconds_t turn) noexcept {
  if (turn > remembered) turn = 0;
  if (turn < notes.turn && now < notes.turn_until) return;
  notes.turn = turn;
  notes.turn_until = now + remembered;
  p.turn_ns.store(static_cast<std::uint32_t>(turn), std::memory_order_relaxed);
}

void look_pacer::measure(P& p, p_notes& notes, nanoseconds_t now) noexcept {
  const nanoseconds_t elapsed = now - notes.since;
  if (elapsed < measured_over) return;
  const std::uint32_t picks = p.picks.load(std::memory_order_relaxed);
  const std::uint32_t times_idle = p.times_idle.load(std::memory_order_relaxed);
  const bool was_idle = times_idle != notes.times_idle;
  std::uint32_t every = P::rarest_look;
  if (!was_idle) {
    const nanoseconds_t fit = std::int64_t{picks - notes.picks} * apart / elapsed;
    every = static_cast<std::uint32_t>(std::clamp<nanoseconds_t>(fit, 1, P::rarest_look));
  }
  if (p.look_every.load(std::memory_order_relaxed) != every) p.look_every.store(every, std::memory_order_relaxed);
  const std::uint32_t turns = picks - notes.picks;
  if (turns == 0 && !was_idle) {  // a turn that is not over is measured on
    if (p.m.load(std::memory_order_relaxed) != nullptr)
      note_turn(p, notes, now, elapsed);
    else
      notes.since = now;  // it is idle, and that is nobody's turn
    return;
  }
  note_turn(p, notes, now, was_idle ? 0 : elapsed / std::int64_t{turns});
  notes.picks = picks;
  notes.times_idle = times_idle;
  notes.since = now;
}

void look_pacer::ask(P& p, p_notes& notes, nanoseconds_t now) noexcept {
  const std::uint32_t looks = p.looks.load(std::memory_order_relaxed);
  if (looks != notes.looks) {
    notes.looks = looks;
    notes.looked = now;
  }
  if (now - notes.looked < patience) return;
  M* m = p.m.load(std::memory_order_acquire);
  if (m == nullptr) return;
  m->look_wanted.store(true, std::memory_order_relaxed);  // published by the request
  detail::spin_guard guard(m->retake_lock);
  m->section.request();
}

}  // namespace weft::rt
