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

std::size_t stack_size_of(const G& g) noexcept { return std::size_t{g.stack_size} * 1024; }

// Into a buffer and out in one write: there is no memory to be had.
void say_stacks_are_short(std::size_t size, int error) noexcept {
  if (sched.stack_shortage_was_said.exchange(true, std::memory_order_relaxed)) return;
  char text[320];
  char room[96];
  const std::size_t bytes = size != 0 ? size : default_stack_size.load(std::memory_order_relaxed);
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
                bytes, strerror_r(error, room, sizeof room));
  if (length > 0 && write(STDERR_FILENO, text, std::min(static_cast<std::size_t>(length), sizeof text - 1)) < 0) return;
}

void publish_number() noexcept WEFT_REQUIRES(sched.lock) {
  sched.number_without_stack.store(sched.without_stack.size, std::memory_order_relaxed);
}

// The monitor alone takes from the list.
G* first() noexcept {
  detail::spin_guard guard(sched.lock);
  return sched.without_stack.head;
}

void wait_for_stack(G* g) noexcept {
  {
    detail::spin_guard guard(sched.lock);
    sched.without_stack.push_back(g);
    publish_number();
    for (P* p = sched.idle_ps; p != nullptr; p = p->idle_link) p->stacks.drain();
  }
  note_busy();  // the monitor sees the list, or we see it asleep
}

}  // namespace

bool give_stack_or_wait(M* m, G* g) noexcept {
  if (g->stk != nullptr) return true;
  if (!stacks_are_short()) {
    if (bind_fiber(m->p->stacks, static_cast<unsigned>(m->p->number), g)) return true;
    say_stacks_are_short(stack_size_of(*g), errno);
  }
  wait_for_stack(g);
  return false;
}

bool stack_giver::look(nanoseconds_t now) noexcept {
  if (!stacks_are_short()) return false;
  g_list ready;
  for (int i = 0; i < most_in_a_look; ++i) {
    G* g = first();
    if (g == nullptr) break;
    const bool has_one = give(*g, now);
    if (!has_one && g->stack_size == 0) break;
    detail::spin_guard guard(sched.lock);
    sched.without_stack.pop_front();
    if (has_one)
      ready.push_back(g);
    else
      sched.without_stack.push_back(g);  // behind the others, whose stacks may be smaller
  }
  cache_.drain();
  const bool some = ready.head != nullptr;
  {
    detail::spin_guard guard(sched.lock);
    publish_number();
    sched.global.push(ready);
  }
  if (!some) return false;
  std_atomics::fence_seq_cst();
  wake_if_wanted();
  return true;
}

bool stack_giver::give(G& g, nanoseconds_t now) noexcept {
  const bool at_hand = cache_.size() != 0 || pooled_stacks(stack_size_of(g)) != 0;
  if (!at_hand && now < not_before_) return false;
  if (bind_fiber(cache_, 0, &g)) return true;
  not_before_ = now + ask_again_after;
  return false;
}

}  // namespace weft::rt
