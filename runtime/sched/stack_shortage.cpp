// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/stack_shortage.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "runtime/sched/hand_off.hpp"
#include "runtime/sched/idle_p.hpp"
#include "runtime/sched/run_fiber.hpp"

namespace weft::rt {

namespace {

constexpr nanoseconds_t ask_again_after = 10'000'000;
constexpr int most_in_a_look = 256;

std::size_t class_of(const G& g) noexcept { return stack_class(std::size_t{g.stack_size} * 1024); }

// Stacks of the default size come from the arenas of all Ps: one may have slots where another cannot grow. Notes in
// `shard` which had one.
bool bind_from_any(stack_cache& cache, unsigned& shard, std::size_t index, G* g) noexcept {
  const int known = index == stack_class(0) ? sched.known_procs.load(std::memory_order_acquire) : 1;
  for (int i = 0; i < known; ++i) {
    if (bind_fiber(cache, shard, g)) return true;
    shard = (shard + 1) % static_cast<unsigned>(known);
  }
  return false;
}

// Into a buffer and out in one write: there is no memory to be had.
void say_stacks_are_short(std::size_t size, int error) noexcept {
  if (sched.stack_shortage_was_said.exchange(true, std::memory_order_relaxed)) return;
  char text[320];
  char room[96];
  const int length =
      error == EAGAIN
          ? std::snprintf(text, sizeof text,
                          "weft: no more than %zu fiber stacks can be guarded here: fibers that have not begun wait "
                          "until others have ended; raise vm.max_map_count, or let fewer fibers live at a time\n",
                          guard_limit())
          : std::snprintf(
                text, sizeof text,
                "weft: no memory for a fiber's stack of %zu bytes (%s): fibers that have not begun wait until "
                "others have ended; raise the limit (ulimit -v, ulimit -d), or set options::stack_size\n",
                size, strerror_r(error, room, sizeof room));
  if (length > 0 && write(STDERR_FILENO, text, std::min(static_cast<std::size_t>(length), sizeof text - 1)) < 0) return;
}

void note_waiting(std::size_t index) noexcept WEFT_REQUIRES(sched.lock) {
  const std::uint32_t before = sched.sizes_without_stack.load(std::memory_order_relaxed);
  const std::uint32_t bit = std::uint32_t{1} << index;
  const bool waits = sched.without_stack[index].head != nullptr;
  sched.sizes_without_stack.store(waits ? before | bit : before & ~bit, std::memory_order_relaxed);
}

// The monitor alone takes from the lists.
G* first_of(std::size_t index) noexcept {
  detail::spin_guard guard(sched.lock);
  return sched.without_stack[index].head;
}

void wait_for_stack(std::size_t index, G* g) noexcept {
  {
    detail::spin_guard guard(sched.lock);
    const bool is_first = !stacks_are_short(index);
    sched.without_stack[index].push_back(g);
    note_waiting(index);
    for (P* p = is_first ? sched.idle_ps : nullptr; p != nullptr; p = p->idle_link) p->stacks.drain();
  }
  note_busy();  // the monitor sees the list, or we see it asleep
}

}  // namespace

bool give_stack_or_wait(M* m, G* g) noexcept {
  if (g->stk != nullptr) return true;
  const std::size_t index = class_of(*g);
  if (!stacks_are_short(index)) {
    auto shard = static_cast<unsigned>(m->p->number);
    if (bind_from_any(m->p->stacks, shard, index, g)) return true;
    say_stacks_are_short(stack_class_size(index), errno);
  }
  wait_for_stack(index, g);
  return false;
}

bool stack_giver::look(nanoseconds_t now) noexcept {
  if (!stacks_are_short()) return false;
  g_list ready;
  for (std::size_t index = 0; index < stack_classes; ++index)
    if (stacks_are_short(index)) serve(index, now, ready);
  if (ready.head == nullptr) return false;
  {
    detail::spin_guard guard(sched.lock);
    sched.global.push(ready);
  }
  std_atomics::fence_seq_cst();
  wake_if_wanted();
  return true;
}

void stack_giver::serve(std::size_t index, nanoseconds_t now, g_list& ready) noexcept {
  for (int i = 0; i < most_in_a_look; ++i) {
    G* g = first_of(index);
    if (g == nullptr || !give(index, *g, now)) break;
    detail::spin_guard guard(sched.lock);
    sched.without_stack[index].pop_front();
    note_waiting(index);
    ready.push_back(g);
  }
  cache_.drain();
}

bool stack_giver::give(std::size_t index, G& g, nanoseconds_t now) noexcept {
  const bool at_hand = cache_.size() != 0 || pooled_stacks(index) != 0;
  if (!at_hand && now < not_before_[index]) return false;
  if (bind_from_any(cache_, shard_, index, &g)) return true;
  not_before_[index] = now + ask_again_after;
  return false;
}

}  // namespace weft::rt
