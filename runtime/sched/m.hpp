// SPDX-License-Identifier: Apache-2.0
// M: an OS thread of the runtime, and the bracket around everything it does with its P.
//
// The monitor may take the P from any M that is not inside the runtime: blocked in a system call nobody announced, or
// burning CPU. Entering and leaving are two plain stores to the M's sequence word (runtime/sched/bracket.hpp); the
// monitor sets a request, issues one membarrier for all candidates, and takes the P only if the word did not move and
// shows "outside".
//
// Invariants
//  1. `p` is written by the M itself while it is inside, or by the monitor under `retake_lock` while it is provably
//     outside. Whoever touches the P's own things stands between `enter` and `leave`.
//  2. The fiber that loses its P runs on undisturbed: only a call that really parks may migrate. `enter` never
//     switches.
//  3. An M's own loop is inside from start to end; an M without a P is no candidate.
// Lock order: retake_lock < scheduler lock.
#pragma once

#include <cstdint>

#include <weft/detail/atomic.hpp>
#include <weft/detail/spin_lock.hpp>

#include "runtime/base/os.hpp"
#include "runtime/fiber/sanitizer_context.hpp"
#include "runtime/fiber/stack.hpp"
#include "runtime/sched/bracket.hpp"
#include "runtime/sched/g.hpp"

namespace weft::rt {

struct P;

/// What the side that arrives runs first: see runtime/sched/context.hpp.
using commit_fn = void (*)(void* arg) noexcept;

struct alignas(128) M {
  explicit M(bool fences) noexcept : section(fences) {}

  bracket<std_atomics> section;

  alignas(64) P* p = nullptr;
  G* cur = nullptr;          ///< the fiber on this thread; null in the M's own loop
  eh_globals* eh = nullptr;  ///< this thread's exception state, cached: asking for it costs a call
  void** left_sp = nullptr;  ///< where `arrive` stores the context that was left
  G* left = nullptr;         ///< the fiber whose `on_cpu` it clears
  commit_fn hook = nullptr;
  void* hook_arg = nullptr;
  G* yielding = nullptr;  ///< whom the hook of `yield` puts back
  G* pinned_g = nullptr;  ///< the fiber pinned to this M, which then runs nothing else
  G* pending = nullptr;   ///< picked on a fiber's stack, but only the M's loop can start it
  /// The pinned fiber, from whoever has picked it; written under the scheduler's lock.
  detail::atomic<G*> due{nullptr};
  P* due_p = nullptr;      ///< what it is to run with; under the scheduler's lock
  bool helps_out = false;  ///< runs another fiber than the pinned one, for want of threads; under the scheduler's lock

  void* loop_sp = nullptr;  ///< the M's loop, while a fiber runs
  eh_globals loop_eh;
  sanitizer_context loop_view;
  std::uint64_t random = 0;
  int number = 0;
  bool searching = false;
  bool is_coming = false;    ///< counts among `coming_threads`; under the scheduler's lock
  bool is_caller = false;    ///< the thread that called `run`
  bool leaves = false;       ///< counts among `leaving_threads`; under the scheduler's lock
  unsigned in_blocking = 0;  ///< nesting of `blocking(f)`; read by the monitor through `blocking_now`
  detail::atomic<bool> blocking_now{false};
  // The monitor's wishes, granted at the next entry; a request stands in `section` then.
  detail::atomic<bool> slice_over{false};   ///< give the P to somebody else
  detail::atomic<bool> look_wanted{false};  ///< look around at the next pick (looks.hpp)

  alignas(64) detail::spin_lock retake_lock;
  detail::atomic<std::uint32_t> wake_word{0};  ///< futex: 1 means "get up"
  P* next_p = nullptr;                         ///< handed over by whoever wakes it, under the scheduler's lock
  M* idle_link = nullptr;                      ///< under the scheduler's lock
  detail::atomic<int> tid{0};
  os::cpu_clock cpu_clock{};  ///< of this thread; for the monitor
  os::thread thread{};
  /// The slice that the kernel gave the thread before it burned without a P; 0: it has its own. See retake.hpp.
  detail::atomic<nanoseconds_t> former_slice{0};
  // The monitor's notes about this M; nobody else touches them.
  std::uint64_t seen_section = 0;
  nanoseconds_t seen_since = 0;
  M* all_link = nullptr;  ///< every M ever made; they are reused, not freed
  detail::atomic<bool> alive{false};
};

/// The calling thread's M, or null on a plain thread. Opaque to the optimiser: a compiler that saw the thread_local
/// would keep its address across a switch to another thread. Hence assembly where we have it (what linkers know as
/// initial-exec, and shorten in a program), and elsewhere a call.
#if defined(WEFT_SIMULATED)
inline M* current_m() noexcept { return static_cast<M*>(sim::slot(sim::slot_of::machine)); }
#elif defined(__x86_64__)
[[gnu::always_inline]] inline M* current_m() noexcept {
  M* m;
  asm volatile("movq weft_v0_this_m@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(m) : : "memory");
  return m;
}
#else
[[gnu::noinline]] M* current_m() noexcept;
#endif
void set_current_m(M* m) noexcept;

/// The calling fiber, or null on a plain thread and in an M's own loop.
inline G* current_fiber() noexcept {
  const M* m = current_m();
  return m != nullptr ? m->cur : nullptr;
}

/// What happens at an entry to the P of an M whose slice is over.
enum class at_entry : std::uint8_t {
  keep_p,       ///< nothing: the fiber is about to give up the CPU, and its successor is picked from this P
  surrender_p,  ///< it is left to the monitor, or to the next M that looks for a P: for calls that may hold a lock
  hand_p_over,  ///< another M gets it at once, and is started if need be: for calls that hold no lock
};

[[gnu::noinline]] void enter_slow(M* m, at_entry how) noexcept;

/// Begins a stretch in which `m->p` may be used, if there is one. Never migrates. Null on a plain thread.
inline M* enter(at_entry how) noexcept {
  M* m = current_m();
  if (m != nullptr && m->section.enter()) [[unlikely]]
    enter_slow(m, how);
  return m;
}
/// The same for a fiber that knows its M and is about to give up the CPU.
inline void enter(M* m) noexcept {
  if (m->section.enter()) [[unlikely]]
    enter_slow(m, at_entry::keep_p);
}
inline void leave(M* m) noexcept { m->section.leave(); }

/// `enter` and `leave` for calls that never park.
class inside_runtime {
 public:
  explicit inside_runtime(at_entry how = at_entry::surrender_p) noexcept : m_(enter(how)) {}
  ~inside_runtime() {
    if (m_ != nullptr) leave(m_);
  }
  inside_runtime(const inside_runtime&) = delete;
  inside_runtime& operator=(const inside_runtime&) = delete;

  M* m() const noexcept { return m_; }
  P* p() const noexcept { return m_ != nullptr ? m_->p : nullptr; }

 private:
  M* m_;
};

}  // namespace weft::rt
