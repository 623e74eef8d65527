// SPDX-License-Identifier: Apache-2.0
// The scheduler: its state, and what the rest of the runtime asks of it.
//
// A fiber that parks picks its successor from its own P and jumps to it (park.cpp). Everything else — due timers, the
// global queue, polling, stealing, idling — happens on the M's own stack, entered when there is nothing local
// (find_work.cpp). Who makes a fiber ready puts it into its own P's queue and wakes a sleeping M only if a P is idle
// and nobody searches (ready.cpp, by the rules of idle.hpp). A monitor thread takes Ps from Ms that block or burn
// (monitor.cpp).
//
// Lock order: object's lock < M::lost_lock < scheduler::lock < {slab lock, stack pools}. Timer heaps: see
// wait/timer.hpp. No lock is held across malloc, mmap, clone, futex or another system call.
//
// The state is constant-initialised and never destroyed: statics of the program may use channels and mutexes before
// run() and after.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

#include <weft/detail/spin_lock.hpp>

#include "runtime/sched/g.hpp"
#include "runtime/sched/global_queue.hpp"
#include "runtime/sched/idle.hpp"
#include "runtime/sched/m.hpp"
#include "runtime/sched/p.hpp"
#include "runtime/sched/poller.hpp"
#include "runtime/sched/thread_g.hpp"
#include "runtime/sched/timer_watch.hpp"

namespace weft::inline v0::rt {

struct scheduler {
  static constexpr int max_procs = 1024;

  idle_state<std_atomics> idle;

  alignas(64) std::atomic<int> procs{0};  ///< Ps in use; 0: no runtime runs
  std::atomic<int> known_procs{0};        ///< Ps ever made; searchers look at all of them
  std::atomic<P*> all_ps[max_procs]{};
  std::atomic<M*> all_ms{nullptr};
  std::atomic<poller*> net{nullptr};         ///< null until the first descriptor
  std::atomic<nanoseconds_t> coarse_now{0};  ///< the clock as somebody last read it
  std::atomic<int> foreign_wakers{0};        ///< plain threads that are just making fibers runnable
  std::atomic<int> in_service{0};            ///< Ps that are held or idle, not retired; written under the lock
  std::atomic<bool> ended{false};            ///< the runtime is done: Ms return from their loop
  std::atomic<bool> closing{false};          ///< main has returned: fibers are being cancelled and awaited
  bool migrate_on_wake = false;              ///< debug builds: every woken fiber goes to the global queue
  bool main_is_pinned = false;               ///< in this run: then the last thread beside main's does not end
  int max_threads = 10000;
  std::atomic<bool> shortage_was_said{false};      ///< of threads, in this run; relaxed: it only says who came first
  std::atomic<nanoseconds_t> no_thread_before{0};  ///< the system refused one: when to ask again; relaxed: a hint
  std::atomic<nanoseconds_t> refused_since{0};     ///< 0: the last thread that was asked for was had; relaxed: a hint
  /// A wake found no M and no thread to be had. Whoever lies down next looks again instead, and the monitor stays up and
  /// tries again. Written under the lock.
  std::atomic<bool> missed_wake{false};
  std::size_t fiber_limit = 0;  ///< spawn fails beyond it; 0: none

  alignas(64) detail::spin_lock lock;
  global_queue global WEFT_GUARDED_BY(lock);
  P* idle_ps WEFT_GUARDED_BY(lock) = nullptr;
  P* surrendered_ps WEFT_GUARDED_BY(lock) = nullptr;  ///< linked by `idle_link`, but not idle: see `at_entry`
  M* idle_ms WEFT_GUARDED_BY(lock) = nullptr;
  M* pinned_ms WEFT_GUARDED_BY(lock) = nullptr;  ///< asleep until their pinned fiber is due
  M* spare_ms WEFT_GUARDED_BY(lock) = nullptr;   ///< whose thread has ended; reused
  M* polling_m WEFT_GUARDED_BY(lock) = nullptr;  ///< the one that sleeps in the poller
  int threads WEFT_GUARDED_BY(lock) = 0;         ///< Ms with a thread
  int idle_threads WEFT_GUARDED_BY(lock) = 0;
  /// The thread that ended last. Each joins the one before it, and the end of run() the last: so when run() returns they
  /// are all gone, with what the program and its libraries keep for each thread.
  std::optional<pthread_t> last_ended WEFT_GUARDED_BY(lock);
  std::atomic<bool> some_are_surrendered{false};    ///< written under the lock; relaxed: a hint for the monitor
  bool poller_taken WEFT_GUARDED_BY(lock) = false;  ///< somebody sleeps in the poller, or is just coming out of it
  std::atomic<std::uint32_t> threads_changed{0};    ///< futex of the end of run()
  timer_watch<std_atomics> timers;                  ///< till when it sleeps

  /// The size of the global queue as a hint, without the lock; who relies on a zero reads it after idle_state's fence.
  std::uint32_t global_size() const noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS { return global.size(); }
  bool global_has_urgent() const noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS { return global.has_urgent(); }

  // When no descriptor has been opened yet the sleeper sleeps here.
  alignas(64) std::atomic<std::uint32_t> sleeper_word{0};

  // The monitor's bed: 1 while it sleeps because every P is idle.
  alignas(64) std::atomic<std::uint32_t> monitor_sleeps{0};
  /// It looks seldom, as nobody has blocked for long: who announces that he will asks for its attention. Relaxed: a hint.
  std::atomic<bool> monitor_is_slow{false};

  // What does not belong to a P: starts and ends by plain threads and by Ms without a P.
  std::atomic<std::int64_t> foreign_started{0}, foreign_ended{0}, foreign_gone{0};
  std::atomic<std::uint64_t> id_blocks{0};
};

extern scheduler sched;

// --- ready.cpp: making fibers runnable
// ---------------------------------------------------------------------------------------

/// The winner of a claim makes the fiber ready. No lock held. Waits until the fiber is off its stack; wakes a plain
/// thread's futex where the fiber stands for one. Any thread, but not an M's own loop (there: `ready_from_loop`).
void wake(G* g) noexcept;
/// The same for a linked batch; one decision about waking Ms for all.
void wake_all(g_list batch) noexcept;
/// A new fiber's first appearance. As `wake`, and counts as work for others at once.
void submit_new(G* g) noexcept;
/// From an M's own loop, inside its bracket.
void ready_from_loop(M* m, g_list batch) noexcept;
/// Puts a fiber behind all others of its P; for the hook of `yield`. There is room: `yield` has seen to it.
void push_global(G* g) noexcept;
void make_room(P* p) noexcept;
void wait_until_off_cpu(G* g) noexcept;

// --- park.cpp
// ----------------------------------------------------------------------------------------------------------------

/// Gives up the CPU until somebody claims the fiber and wakes it. The caller has armed the wait word (or the hook makes
/// the fiber findable); `commit(arg)` runs once the fiber is off its stack. On a plain thread: commits and sleeps on a
/// futex.
void park(wait_reason why, commit_fn commit, void* arg) noexcept;
void yield_now() noexcept;

/// The calling fiber; on a plain thread its stand-in, which is made on first use and never freed.
inline G* current_g() noexcept {
  const M* m = current_m();
  return m != nullptr && m->cur != nullptr && m->in_blocking == 0 ? m->cur : thread_g();
}
/// The calling fiber, or null on a plain thread and in an M's own loop.
inline G* current_fiber() noexcept {
  const M* m = current_m();
  return m != nullptr ? m->cur : nullptr;
}

// --- find_work.cpp, machine.cpp
// ----------------------------------------------------------------------------------------------

void schedule_loop(M* m) noexcept;
/// Takes one more M out of bed, or makes one; the caller counts as a searcher (idle.hpp, step 3).
void wake_one() noexcept;
/// Puts a P that nobody could be found for, or that is not needed, on the idle list; its timers get somebody's
/// attention.
void shelve_p(P* p, bool searching) noexcept;
/// After a full fence behind published work: steps 2 and 3.
inline void wake_if_wanted() noexcept {
  if (sched.idle.submit_wants_wake()) wake_one();
}
/// For whoever started a timer without holding a P: the sleeper must not sleep past it.
void wake_sleeper_before(nanoseconds_t when) noexcept;
/// Starts an M with `p`, or without one (null) for later; false: no thread is to be had.
bool start_machine(P* p, bool searching) noexcept;
/// Gives `p`, with what lies in its queue, to a sleeping or a new M, in need to one that waits for its pinned fiber; false
/// if there is none to be had.
bool hand_off(P* p) noexcept;
/// Starts `t` in the own P's heap. True: the caller has no P, so it went to another's, and whoever sleeps in the poller
/// must hear of it
/// (`wake_sleeper_before`) once no lock is held.
bool start_timer(timer& t) noexcept;
/// For a deferred action of a timer, which stands in an M's loop.
void restart_timer_in_loop(timer& t) noexcept;
bool work_anywhere() noexcept;
/// Whether somebody would run if the M that holds `p` gave it away. Sockets and timers count if nobody else would see
/// them: no P is idle.
bool work_waits_for(const P* p) noexcept;
void install_poller(poller& net) noexcept;
P* make_p(int number);

// --- spawn.cpp
// ---------------------------------------------------------------------------------------------------------------

/// A G with a new id and nothing else; throws std::bad_alloc, std::system_error at a limit.
G* allocate_g();
/// The same in an M's loop, for a deferred action of a timer.
G* allocate_g_in_loop();
void free_g(M* m, G* g) noexcept;
void copy_name(G* g, std::string_view name) noexcept;  ///< (runtime/run/start.cpp)
/// A fiber that others may hear of (a joiner, its scope) counts as ended from here on, before they do.
void count_end() noexcept;
std::int64_t live_fibers() noexcept;     ///< started and not ended
std::int64_t present_fibers() noexcept;  ///< started and not gone: those whose end still has something to do count, too

// --- run_fiber.cpp
// -----------------------------------------------------------------------------------------------------------

/// What the upper floors do when a fiber's body has ended: tell its joiner, its scope.
/// Defined with them (runtime/scope/body.cpp); clears the G's id where a canceller may still hold it.
void run_body(G* g);
/// While the runtime closes: a fiber is gone and no longer counted. Inside the bracket. Defined with the end of run().
void fiber_gone(M* m) noexcept;

// --- monitor.cpp
// -------------------------------------------------------------------------------------------------------------

void start_monitor();
void stop_monitor() noexcept;
void wake_monitor() noexcept;
/// It looks more often for a while, from now on. One system call; for when `monitor_is_slow` says so.
void ask_for_attention() noexcept;

}  // namespace weft::inline v0::rt
