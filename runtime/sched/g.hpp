// SPDX-License-Identifier: Apache-2.0
// G: a fiber, as the scheduler sees it.
//
//   line 1   what a park, a wake and a switch touch
//   line 2   what start and end touch: id, closure, who hears of the end
//   line 3   scope, name, since: read by dumps, written rarely
//   line 4   room for a small closure, so that a spawn allocates nothing
//
// Invariants
//  1. Gs are type-stable: a G's memory is never unmapped and never another type's, so a late claim, a dump and a
//     canceller may read a G that has ended. `id` tells them whether it is still the fiber they meant (0: none).
//  2. A G is in at most one list through `link`: a run queue, the global queue, a free list or a batch on its way
//     there. Only the winner of its wait word (or its creator, or the hook that runs after a yield) puts it into one.
//  3. `on_cpu` is true from before the jump onto its stack until after its context is saved again. The jump away
//     publishes the context with the release store in `arrive` (runtime/sched/context.hpp), which pairs with the
//     acquire in `wake`.
//  4. A G has a stack from its first run until its end; before that it costs its 256 bytes and its closure.
#pragma once

#include <cstddef>
#include <cstdint>

#include <weft/detail/atomic.hpp>
#include <weft/detail/spin_lock.hpp>

#include "runtime/base/atomics.hpp"
#include "runtime/sched/reason.hpp"
#include "runtime/sched/timer_heap.hpp"
#include "runtime/sched/wait_word.hpp"

namespace weft {
inline namespace v0 {
namespace detail {
class completion;
class nursery;
struct cancel_frame;
}  // namespace detail
}  // namespace v0
}  // namespace weft

namespace weft::rt {

struct M;
struct stack;

/// libstdc++'s per-thread exception state (Itanium C++ ABI, 2.2.2), carried along by each fiber.
struct eh_globals {
  void* caught = nullptr;
  unsigned uncaught = 0;
};

/// In `G::pins`: pinned for good by options::pin_main.
inline constexpr std::uint32_t pin_base = 1u << 31;

/// What kind of G it is; decides where `wake` puts it.
enum class g_kind : std::uint8_t {
  fiber,
  thread,  ///< the stand-in of a plain thread: woken through its futex word, never in a run queue
};

struct alignas(64) G {
  static constexpr std::size_t inline_closure_size = 64;
  static constexpr std::size_t name_size = 32;

  // line 1
  wait_word<std_atomics> wait;
  detail::atomic<bool> on_cpu{false};
  g_kind kind = g_kind::fiber;
  wait_cause cause = wait_cause::woken;     ///< written by the winner before the wake, read by the fiber after it
  bool parked_without_p = false;            ///< resumed ahead of others, it may hold what they wait for
  detail::atomic<std::uint32_t> cancel{0};  ///< not 0: some frame of `frames` is cancelled and not shielded
  G* link = nullptr;
  void* sp = nullptr;  ///< the saved context while it is off its stack
  eh_globals eh;
  stack* stk = nullptr;
  detail::atomic<nanoseconds_t> since{0};  ///< when it parked, on the scheduler's coarse clock

  // line 2
  alignas(64) detail::atomic<std::uint64_t> id{0};
  void (*entry)(void* closure) = nullptr;  ///< runs and destroys the closure
  void* closure = nullptr;
  detail::completion* ended = nullptr;  ///< who joins it
  detail::nursery* home = nullptr;      ///< the scope it is a child of
  M* pinned = nullptr;                  ///< the only M that may run it
  const void* spawn_site = nullptr;
  detail::atomic<wait_reason> reason{wait_reason::none};
  /// The fiber as a whole is cancelled. Written under `scope_lock`, or before it starts.
  detail::atomic<bool> base_cancelled{false};
  std::uint16_t slab_index = 0;  ///< its place in its chunk, for good
  std::uint32_t stack_size = 0;  ///< asked for, in KiB; 0: the default

  // line 3
  alignas(64) detail::spin_lock scope_lock;  ///< guards `frames` and what hangs on them; orders cancel against the end
  std::uint32_t pins = 0;                    ///< thread_pins that live; see `pin_base`
  detail::cancel_frame* frames = nullptr;    ///< innermost first
  G* sibling_next = nullptr;                 ///< in the nursery's member list, under its lock
  G* sibling_prev = nullptr;
  union {
    char name[name_size];
    struct {
      detail::atomic<std::uint32_t> futex;        ///< 1: woken
      nanoseconds_t deadline;                     ///< of its wait: a plain thread is its own timer
      std::uint64_t token;                        ///< which wait the deadline ends
      detail::atomic<std::uint32_t> plain_waits;  ///< as noted at the entry of its wait (sched/thread_g.hpp)
    } thread;                                     ///< of a plain thread's stand-in
  };

  // line 4
  alignas(64) std::byte inline_closure[inline_closure_size];

  G() noexcept : name{} {}

  /// Dumps follow `stk` while the fiber runs and is bound and ends: `bind` releases what load_stack() acquires, the
  /// stack's descriptor. The owner reads it plainly.
  void bind(stack* s) noexcept { atomic_ref<stack*>(stk).store(s, std::memory_order_release); }
  [[nodiscard]] const stack* load_stack() const noexcept {
    return atomic_ref<stack*>(const_cast<stack*&>(stk)).load(std::memory_order_acquire);
  }
};

static_assert(sizeof(G) == 256, "a spawned fiber that has not run costs this much");

}  // namespace weft::rt
