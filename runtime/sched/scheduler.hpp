// SPDX-License-Identifier: Apache-2.0
// The scheduler's state, and how its parts go together.
//
// A fiber that parks picks its successor from its own P and jumps to it (park.cpp). Everything else — due timers, the
// global queue, polling, stealing, idling — happens on the M's own stack, entered when there is nothing local
// (find_work.cpp). Who makes a fiber ready puts it into its own P's queue and wakes a sleeping M only if a P is idle
// and nobody searches (ready.cpp, by the rules of idle.hpp). A monitor thread takes Ps from Ms that block or burn
// (monitor.cpp).
//
// Lock order: object's lock < M::retake_lock < scheduler::lock < {slab lock, stack pools}. Timer heaps: see
// sched/timer_heap.hpp. No lock is held across malloc, mmap, clone, futex or another system call
// but membarrier (retake.cpp, cancel_scope::cancel).
//
// The state is constant-initialised and never destroyed: statics of the program may use channels and mutexes before
// run() and after.
#pragma once

#include <cstdint>
#include <optional>

#include <weft/detail/atomic.hpp>
#include <weft/detail/spin_lock.hpp>

#include "runtime/base/limits.hpp"
#include "runtime/base/os.hpp"
#include "runtime/sched/g.hpp"
#include "runtime/sched/global_queue.hpp"
#include "runtime/sched/idle.hpp"
#include "runtime/sched/m.hpp"
#include "runtime/sched/p.hpp"
#include "runtime/sched/poller.hpp"
#include "runtime/sched/timer_watch.hpp"

namespace weft::rt {

struct scheduler {
  // --- Ps and Ms: written seldom, read by all

  idle_state<std_atomics> idle;

  alignas(64) detail::atomic<int> procs{0};  ///< Ps in use; 0: no runtime runs
  detail::atomic<int> known_procs{0};        ///< Ps ever made; searchers look at all of them
  /// A bit for each fiber, by `waker_bit`: after its last wakes it computed on, see ready.cpp. Relaxed: a hint.
  detail::atomic<std::uint64_t> computing_wakers{0};
  detail::atomic<P*> all_ps[max_width]{};
  detail::atomic<M*> all_ms{nullptr};
  detail::atomic<poller*> net{nullptr};         ///< null until the first descriptor
  detail::atomic<nanoseconds_t> coarse_now{0};  ///< the clock as somebody last read it
  detail::atomic<int> in_service{0};            ///< Ps that are held or idle, not retired; written under the lock

  // --- the options of this run

  bool migrate_on_wake = false;  ///< debug builds: every woken fiber goes to the global queue
  int max_threads = 10000;

  // --- the end of run()

  detail::atomic<bool> closing{false};               ///< main has returned: fibers are being cancelled and awaited
  detail::atomic<bool> ended{false};                 ///< the runtime is done: Ms return from their loop
  detail::atomic<int> foreign_wakers{0};             ///< plain threads that are just making fibers runnable
  detail::atomic<std::uint32_t> threads_changed{0};  ///< futex: a thread has ended

  /// So many threads are to be started for what the monitor hands on next, by Ms with a P: see start_m.hpp. Relaxed: a hint.
  detail::atomic<int> threads_wanted{0};

  // --- a shortage of threads

  detail::atomic<bool> shortage_was_said{false};      ///< in this run; relaxed: it only says who came first
  detail::atomic<nanoseconds_t> no_thread_before{0};  ///< the system refused one: when to ask again; relaxed: a hint
  detail::atomic<nanoseconds_t> refused_since{0};  ///< 0: the last thread that was asked for was had; relaxed: a hint
  /// A wake or a hand-off found no M and no thread to be had. The M that lies down next looks again instead, and the
  /// monitor stays up and tries again; who begins a `blocking` yields, so that fibers which never wait do not keep all
  /// threads. Written under the lock.
  detail::atomic<bool> missed_wake{false};

  // --- a shortage of stacks (stack_shortage.hpp)

  detail::atomic<bool> stack_shortage_was_said{false};   ///< in this run; relaxed: it only says who came first
  detail::atomic<std::uint32_t> sizes_without_stack{0};  ///< a bit for each list below; written under the lock
  g_list without_stack[stack_classes] WEFT_GUARDED_BY(lock);

  // --- under the lock: the global queue, and the lists of who is idle

  alignas(64) detail::spin_lock lock;
  global_queue global WEFT_GUARDED_BY(lock);
  P* idle_ps WEFT_GUARDED_BY(lock) = nullptr;
  P* surrendered_ps WEFT_GUARDED_BY(lock) = nullptr;  ///< linked by `idle_link`, but not idle: see `at_entry`
  M* idle_ms WEFT_GUARDED_BY(lock) = nullptr;
  M* pinned_ms WEFT_GUARDED_BY(lock) = nullptr;   ///< asleep until their pinned fiber is due
  M* spare_ms WEFT_GUARDED_BY(lock) = nullptr;    ///< their threads have ended; reused
  M* polling_m WEFT_GUARDED_BY(lock) = nullptr;   ///< the one that sleeps in the poller
  int threads WEFT_GUARDED_BY(lock) = 0;          ///< Ms with a thread that a thread was started for
  int pinned_threads WEFT_GUARDED_BY(lock) = 0;   ///< Ms with a pinned fiber, the caller's among them
  int leaving_threads WEFT_GUARDED_BY(lock) = 0;  ///< have been idle for long, and are about to end
  int idle_threads WEFT_GUARDED_BY(lock) = 0;
  detail::atomic<int> coming_threads{
      0};  ///< started without a P, and neither idle yet nor given one; written under the lock
  /// The thread that ended last. Each joins the one before it, and the end of run() the last: so when run() returns
  /// they are all gone, with what the program and its libraries keep for each thread.
  std::optional<os::thread> last_ended WEFT_GUARDED_BY(lock);
  detail::atomic<bool> some_are_surrendered{false};  ///< written under the lock; relaxed: a hint for the monitor
  bool poller_taken WEFT_GUARDED_BY(lock) = false;   ///< an M sleeps in the poller, or is just coming out of it

  /// How many Ms, the caller's among them, are there for whatever comes. The last of them does not end.
  int unpinned_threads() const noexcept WEFT_REQUIRES(lock) { return threads + 1 - pinned_threads - leaving_threads; }

  /// The size of the global queue as a hint, without the lock; a caller that relies on a zero reads it after
  /// idle_state's fence.
  std::uint32_t global_size() const noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS { return global.size(); }
  std::uint32_t normal_in_global() const noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS { return global.normal_size(); }
  std::uint32_t urgent_in_global() const noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS { return global.urgent_size(); }
  std::uint32_t due_in_global() const noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS { return global.due_size(); }

  // --- timers

  /// Those that were started without a P, spread over a few heaps. Not over the Ps' own: who has no P may lose its CPU for
  /// long while it holds a heap's lock, and the holder of the P would wait for it at every sleep.
  static constexpr std::size_t foreign_heaps = 4;
  timer_heap foreign_timers[foreign_heaps];
  timer_watch<std_atomics> timers;                            ///< until when it sleeps
  alignas(64) detail::atomic<std::uint32_t> sleeper_word{0};  ///< where it sleeps until the first descriptor is opened

  // --- the monitor

  alignas(64) detail::atomic<std::uint32_t> monitor_sleeps{0};  ///< futex: 1 while it sleeps because every P is idle
  /// It looks seldom, as nobody has blocked for long: who announces a blocking call asks for its attention. Relaxed: a
  /// hint.
  detail::atomic<bool> monitor_is_slow{false};

  // --- counts that belong to no P: starts and ends by plain threads and by Ms without a P

  detail::atomic<std::int64_t> foreign_started{0}, foreign_ended{0}, foreign_gone{0};
  detail::atomic<std::uint64_t> id_blocks{0};
};

extern scheduler sched;

}  // namespace weft::rt
