// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/stop_m.hpp"

#include <utility>

#include "runtime/sched/futex.hpp"
#include "runtime/sched/idle_p.hpp"
#include "runtime/sched/poll.hpp"

namespace weft::rt {

namespace {

constexpr nanoseconds_t idle_thread_timeout = 10'000'000'000;

// Takes a sleeper that nobody has woken off the list; false: somebody has, or all others have a pinned fiber.
bool leave_bed(M* m) noexcept {
  detail::spin_guard guard(sched.lock);
  if (sched.unpinned_threads() == 1) return false;
  if (!take_off(sched.idle_ms, m)) return false;
  --sched.idle_threads;
  ++sched.leaving_threads;
  m->leaves = true;
  return true;
}

}  // namespace

bool take_off(M*& list, M* m) noexcept WEFT_REQUIRES(sched.lock) {
  for (M** at = &list; *at != nullptr; at = &(*at)->idle_link) {
    if (*at != m) continue;
    *at = m->idle_link;
    return true;
  }
  return false;
}

// Under the lock: a sleeping M to give `p` to, taken off its place. The one in the poller only if there is no other: it
// would have to be broken out of a system call.
sleeper take_sleeper(P* p, bool searching) noexcept WEFT_REQUIRES(sched.lock) {
  sleeper found{sched.idle_ms, false};
  if (found.m != nullptr) {
    sched.idle_ms = found.m->idle_link;
    --sched.idle_threads;
  } else if (sched.polling_m != nullptr) {
    found = {std::exchange(sched.polling_m, nullptr), true};
  } else {
    return found;
  }
  found.m->next_p = p;
  found.m->searching = searching;
  return found;
}

// No other thread can be had: an M that waits for its pinned fiber helps out.
sleeper take_pinned_sleeper(P* p, bool searching) noexcept WEFT_REQUIRES(sched.lock) {
  M* m = sched.pinned_ms;
  if (m == nullptr) return {};
  sched.pinned_ms = m->idle_link;
  m->next_p = p;
  m->searching = searching;
  return {m, false};
}

void get_up(const sleeper& who) noexcept {
  if (who.polls) {
    wake_poller();
  } else {
    who.m->wake_word.store(1, std::memory_order_release);  // pairs with the acquire of those that sleep on it
    futex_wake(who.m->wake_word);
  }
}

bool forget_missed_wake() noexcept WEFT_REQUIRES(sched.lock) {
  if (!sched.missed_wake.load(std::memory_order_relaxed)) return false;
  sched.missed_wake.store(false, std::memory_order_relaxed);
  return true;
}

bool sleep_until_given_p(M* m) noexcept {
  bool missed = false;
  {
    detail::spin_guard guard(sched.lock);
    has_come(m);
    if (sched.ended.load(std::memory_order_relaxed)) return false;
    missed = forget_missed_wake();
    if (!missed) {
      m->next_p = nullptr;
      m->wake_word.store(0, std::memory_order_relaxed);
      m->idle_link = sched.idle_ms;
      sched.idle_ms = m;
      ++sched.idle_threads;
    }
  }
  if (missed) {
    search_again(m);
    return true;
  }
  const nanoseconds_t began = steady_now();
  const nanoseconds_t patience = m->is_caller ? never : idle_thread_timeout;
  while (m->wake_word.load(std::memory_order_acquire) == 0) {  // pairs with the release in get_up
    futex_wait(m->wake_word, 0, patience);
    if (patience != never && steady_now() - began >= patience && leave_bed(m)) return false;
  }
  if (m->next_p == nullptr) return false;  // woken for the end
  own(m, m->next_p);
  m->next_p = nullptr;
  note_busy();
  return true;
}

void end_machines() noexcept {
  {
    detail::spin_guard guard(sched.lock);
    sched.ended.store(true, std::memory_order_release);
    sched.idle_ms = nullptr;
    sched.idle_threads = 0;
    sched.pinned_ms = nullptr;
  }
  for (M* m = sched.all_ms.load(std::memory_order_acquire); m != nullptr; m = m->all_link) get_up({m, false});
  wake_poller();
}

}  // namespace weft::rt
