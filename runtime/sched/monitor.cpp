// SPDX-License-Identifier: Apache-2.0
// The monitor: a thread without a P that takes Ps from Ms which do not use them (retake.hpp), and covers what the wake
// rules leave to a tick.
//
// Pace. A timed sleep costs 15 to 25 µs of CPU, whatever is looked at in between, so what counts is how often it gets
// up. It looks every 20 µs for a few rounds after it has taken a P, since those that block often do so together; then
// every 200 µs for a while (attention), since who has blocked or computed for long will again; and every 2 ms while all
// fibers park and pick as they should. Attention lasts for 20 ms, or for 150 where the last event was no longer ago
// than that: who blocks once in a while is noticed late, and does not cost more for it. If it finds an M off its CPU
// while work waits it comes back once after 60 µs, at any pace: that one may have blocked just now. `blocking(f)` gets
// its attention at once. It looks every 10 ms while no second fiber exists.
//
// An allowance bounds what attention may cost where it finds nothing: the looks that are not quick ones draw on it, by
// the CPU time they use, and it grows by one part in 50 of the time, and with each event. Once it is used up the
// monitor looks every 2 ms, and nobody calls for it.
//
// Where more threads compute than there are CPUs it is one of them, and the kernel lets it wait once it has had its share.
// So it asks for the shortest slice, leaves the starting of threads to others (start_m.hpp), and looks seldom, each 2 ms
// at the least, for as long as it is woken a millisecond late and nobody blocks.
//
// When every P is idle it naps, and sleeps if nothing was picked meanwhile: Ps that are idle for some microseconds at a
// time would pay for its getting up each time. `monitor_sleeps` (store, fence, look at the idle Ps) pairs with `own`
// (take P off the idle list, look at monitor_sleeps): a wake-up that is missed all the same would only delay the
// monitor until the next P is taken, so `own` needs no fence.
//
// A call (`call_monitor`, from signal handlers) must not be missed: its bit lies in the word that the monitor waits on,
// so a wait that begins later ends at once. `sleep_deeply` waits on another word, and looks at this one after its fence,
// which pairs with the one in `call_monitor`: it sees the bit, or its word is cleared after it was set.
#include "runtime/sched/monitor.hpp"

#include <algorithm>
#include <system_error>

#include <weft/detail/atomic.hpp>

#include "runtime/base/os.hpp"
#include "runtime/sched/futex.hpp"
#include "runtime/sched/g_pool.hpp"
#include "runtime/sched/hand_off.hpp"
#include "runtime/sched/idle_p.hpp"
#include "runtime/sched/looks.hpp"
#include "runtime/sched/pending_work.hpp"
#include "runtime/sched/poll.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/retake.hpp"
#include "runtime/sched/signal_mask.hpp"
#include "runtime/sched/stack_shortage.hpp"
#include "runtime/sched/start_m.hpp"
#include "runtime/sched/stop_m.hpp"
#include "runtime/sched/upcalls.hpp"

namespace weft::rt {

namespace {

constexpr nanoseconds_t microsecond = 1'000;
constexpr nanoseconds_t millisecond = 1'000'000;
constexpr nanoseconds_t quickest = 20 * microsecond;
constexpr nanoseconds_t attentive = 200 * microsecond;
constexpr nanoseconds_t slowest_busy = 2 * millisecond;
constexpr nanoseconds_t slowest_alone = 10 * millisecond;
constexpr nanoseconds_t nap = 500 * microsecond;
constexpr nanoseconds_t attention_span = 20 * millisecond;
constexpr nanoseconds_t attention_span_of_the_frequent = 150 * millisecond;
constexpr nanoseconds_t one_event = 5 * millisecond;  ///< what happens within that is one
constexpr nanoseconds_t largest_allowance = 20 * millisecond;
constexpr nanoseconds_t allowed_part = 50;
constexpr nanoseconds_t allowed_for_an_event = 8 * millisecond;
constexpr nanoseconds_t most_for_a_look = 50 * microsecond;  ///< the rest went into other duties
constexpr nanoseconds_t shortest_slice = 100 * microsecond;  ///< that the kernel grants
constexpr nanoseconds_t share_span = 50 * millisecond;
constexpr int quick_rounds = 8;
constexpr nanoseconds_t back_after = 60 * microsecond;
constexpr nanoseconds_t tidy_every = 500 * millisecond;
constexpr nanoseconds_t poll_after = 10 * millisecond;

os::thread thread;
detail::atomic<bool> running{false};
constexpr std::uint32_t stop_bit = 1, call_bit = 2;
detail::atomic<std::uint32_t> stop_word{0};
detail::atomic<bool> attention_wanted{false};  // relaxed: a hint, which the next look finds

class monitor {
 public:
  void run() noexcept {
    block_foreign_signals();
    os::name_thread("weft-monitor");
    os::sleep_exactly_from_now_on();
    os::set_slice(os::this_thread_id(), shortest_slice);  // of two that wait, who asks for less goes first
    clock_ = os::this_thread_cpu_clock();
    now_ = allowed_at_ = steady_now();
    drawn_at_ = os::cpu_time(clock_);
    attend();
    for (;;) {
      const std::uint32_t word = stop_word.load(std::memory_order_acquire);
      if ((word & stop_bit) != 0) break;
      const bool called = (word & call_bit) != 0;
      if (called) stop_word.fetch_and(~call_bit, std::memory_order_acquire);
      if (!called && may_rest()) {
        if (const std::uint32_t picks = all_picks(); picks != picks_at_nap_) {
          picks_at_nap_ = picks;
          futex_wait(stop_word, 0, attends() ? nap : slowest_busy);
          now_ = steady_now();
          if (attention_wanted.exchange(false, std::memory_order_relaxed)) attend();
          continue;
        }
        sleep_deeply();
        delay_ = attentive;
        least_delay_ = 0;
        continue;
      }
      const nanoseconds_t began = steady_now();
      const nanoseconds_t delay = comes_back_ ? back_after : std::max(delay_, least_delay());
      if (!called) futex_wait(stop_word, 0, delay);
      now_ = steady_now();
      if (!called) mind_share(now_ - began - delay);
      if (delay_ > attentive && attention_wanted.exchange(false, std::memory_order_relaxed)) attend();
      sched.coarse_now.store(now_, std::memory_order_relaxed);
      look();
      monitor_tick(now_);
    }
  }

 private:
  static bool all_idle() noexcept {
    return sched.idle.idle_ps() >= static_cast<unsigned>(sched.in_service.load(std::memory_order_relaxed));
  }

  static bool may_rest() noexcept {
    return all_idle() && !sched.missed_wake.load(std::memory_order_relaxed) && !stacks_are_short() &&
           !monitor_wants_ticks();
  }

  static std::uint32_t all_picks() noexcept {
    std::uint32_t sum = 0;
    const int known = sched.known_procs.load(std::memory_order_acquire);
    for (int i = 0; i < known; ++i)
      sum += sched.all_ps[i].load(std::memory_order_acquire)->picks.load(std::memory_order_relaxed);
    return sum;
  }

  static void sleep_deeply() noexcept {
    sched.monitor_sleeps.store(1, std::memory_order_relaxed);
    std_atomics::fence_seq_cst();
    // Stacks are given back once they have been idle for two looks; after that nothing is left to get up for.
    nanoseconds_t tidy_at = steady_now() + tidy_every;
    for (int nothing_left = 0; sched.monitor_sleeps.load(std::memory_order_relaxed) == 1;) {
      if (!may_rest() || stop_word.load(std::memory_order_acquire) != 0) break;
      const nanoseconds_t now = steady_now();
      if (now >= tidy_at) {
        nothing_left = monitor_tidies_up() ? 0 : nothing_left + 1;
        tidy_at = nothing_left < 2 ? now + tidy_every : never;
      }
      futex_wait(sched.monitor_sleeps, 1, std::min(tidy_at != never ? tidy_at - now : never, monitor_may_sleep(now)));
    }
    sched.monitor_sleeps.store(0, std::memory_order_relaxed);
  }

  bool attends() const noexcept {
    return now_ - last_event_ < (frequent_ ? attention_span_of_the_frequent : attention_span);
  }
  void attend() noexcept {
    if (now_ - counted_at_ >= one_event) {
      frequent_ = now_ - counted_at_ < attention_span_of_the_frequent;
      counted_at_ = now_;
      allowance_ = std::min(allowance_ + allowed_for_an_event, largest_allowance);
    }
    last_event_ = now_;
    if (allowance_ >= 0) delay_ = std::min(delay_, attentive);
    sched.monitor_is_slow.store(false, std::memory_order_relaxed);
  }

  // `late`: how long it waited for a CPU. Where many compute the kernel lets it wait once it has had its share, and
  // longer than it would have slept: then it looks less often, and is there when a slice ends. Not beside those that
  // block: each holds a P until it looks.
  void mind_share(nanoseconds_t late) noexcept {
    if (late >= millisecond)
      least_delay_ = std::clamp(2 * least_delay_, attentive, slowest_busy);
    else if (least_delay_ != 0 && now_ - share_minded_at_ >= share_span)
      least_delay_ = least_delay_ <= attentive ? 0 : least_delay_ / 2;
    else
      return;
    share_minded_at_ = now_;
  }
  nanoseconds_t least_delay() const noexcept { return now_ - last_blocked_ < attention_span ? 0 : least_delay_; }

  void look() noexcept {
    pacer_.look(now_);
    const retaker::findings found = retaker_.look(now_, comes_back_);
    if (found.blocked) last_blocked_ = now_;
    const bool handed_on = hand_on_surrendered();
    const bool gave_stacks = stack_giver_.look(now_);
    make_up_for_wakes(found.overdue);
    poll_for_the_busy();
    pace(found.taken || handed_on, found.come_back || (gave_stacks && allowance_ >= 0));
    draw();
  }

  void draw() noexcept {
    const nanoseconds_t cpu = os::cpu_time(clock_);
    if (quiet_rounds_ >= quick_rounds) allowance_ -= std::min(cpu - drawn_at_, most_for_a_look);
    allowance_ = std::clamp(allowance_ + (now_ - allowed_at_) / allowed_part, -largest_allowance, largest_allowance);
    drawn_at_ = cpu;
    allowed_at_ = now_;
  }

  static bool hand_on_surrendered() noexcept {
    bool some = false;
    while (sched.some_are_surrendered.load(std::memory_order_relaxed)) {
      P* p = nullptr;
      M* burner = nullptr;
      {
        detail::spin_guard guard(sched.lock);
        p = take_surrendered_p();
        if (p != nullptr) burner = p->surrendered_by;
      }
      if (p == nullptr) break;
      if (burner != nullptr) make_slice_long(*burner);
      want_threads(1);
      pass_on(p);
      some = true;
    }
    return some;
  }

  // Beside an idle P: what the wake rules leave to a tick, and the wakes for which no thread was to be had. If there is
  // still none, the next mark is set by this wake. Where nobody sleeps in the poller one is wanted for that alone:
  // no wake rule sees to it if what there is to hear was opened while no M slept (poll.hpp). Beside no idle P the mark
  // goes once threads are to be had again.
  void make_up_for_wakes(bool overdue) noexcept {
    if (sched.idle.idle_ps() == 0) {
      if (!sched.missed_wake.load(std::memory_order_relaxed) || retaker_.threads_are_out()) return;
      detail::spin_guard guard(sched.lock);
      if (sched.idle_ps == nullptr) forget_missed_wake();  // who shelves a P does so with the mark, under this lock
      return;
    }
    if (overdue)
      attend();
    else if (!sched.missed_wake.load(std::memory_order_relaxed) && !poller_is_wanted())
      return;
    bool nobody_polls = false;
    {
      detail::spin_guard guard(sched.lock);
      forget_missed_wake();
      nobody_polls = !sched.poller_taken;
    }
    std_atomics::fence_seq_cst();
    if (overdue || nobody_polls || work_anywhere()) wake_if_wanted();
  }

  void pace(bool something_happened, bool come_back) noexcept {
    if (something_happened) {
      attend();
      quiet_rounds_ = 0;
      delay_ = quickest;
    } else if (quiet_rounds_ >= quick_rounds || ++quiet_rounds_ >= quick_rounds) {
      const bool may_attend = attends() && allowance_ >= 0;
      const nanoseconds_t slowest = present_fibers() <= 1 ? slowest_alone : may_attend ? attentive : slowest_busy;
      delay_ = std::min(delay_ * 2, slowest);
    }
    comes_back_ = come_back && delay_ > back_after;
    // Stored before it sleeps on: who announces a blocking call in between wakes nobody, and waits for this look's end.
    const bool slow = std::max(delay_, least_delay()) > attentive && allowance_ >= 0;
    if (slow != sched.monitor_is_slow.load(std::memory_order_relaxed))
      sched.monitor_is_slow.store(slow, std::memory_order_relaxed);
  }

  // While every P is busy nobody sleeps in the poller, and a P whose fibers run long looks there seldom.
  void poll_for_the_busy() noexcept {
    poller* net = sched.net.load(std::memory_order_acquire);
    if (net == nullptr || !net->has_waiters() || sched.timers.somebody_sleeps()) return;
    if (now_ - last_poll_ < poll_after) return;
    last_poll_ = now_;
    g_list ready;
    net->poll(0, ready);
    if (ready.head != nullptr) wake_all(ready);
  }

  nanoseconds_t now_ = 0;
  nanoseconds_t delay_ = attentive;
  nanoseconds_t last_poll_ = 0;
  nanoseconds_t last_event_ = 0;
  nanoseconds_t counted_at_ = 0;  // the last event that was not part of the one before
  int quiet_rounds_ = 0;
  bool comes_back_ = false;  // the last look has found an M that may have blocked just now: the next one comes sooner
  bool frequent_ = false;    // the last event came soon after the one before
  os::cpu_clock clock_{};
  nanoseconds_t last_blocked_ = 0;
  nanoseconds_t least_delay_ = 0;  // 0: it has its share of the CPUs
  nanoseconds_t share_minded_at_ = 0;
  nanoseconds_t allowance_ = 0;
  nanoseconds_t allowed_at_ = 0;
  nanoseconds_t drawn_at_ = 0;
  std::uint32_t picks_at_nap_ = 0;
  look_pacer pacer_;
  retaker retaker_;
  stack_giver stack_giver_;
};

}  // namespace

void ask_for_attention() noexcept {
  sched.monitor_is_slow.store(false, std::memory_order_relaxed);  // others need not ask
  attention_wanted.store(true, std::memory_order_relaxed);
  futex_wake(stop_word);  // a wake-up that is missed costs one long look
}

void wake_monitor() noexcept {
  sched.monitor_sleeps.store(0, std::memory_order_relaxed);
  futex_wake(sched.monitor_sleeps);
}

void call_monitor() noexcept {
  stop_word.fetch_or(call_bit, std::memory_order_release);
  std_atomics::fence_seq_cst();
  futex_wake(stop_word);
  wake_monitor();
}

void start_monitor() {
  stop_word.store(0, std::memory_order_relaxed);
  const int error = os::start_thread(
      thread,
      [](void*) -> void* {
        static monitor the_monitor;
        the_monitor.run();
        return nullptr;
      },
      nullptr);
  if (error != 0) throw std::system_error(error, std::generic_category(), "weft: cannot start the monitor thread");
  running.store(true, std::memory_order_relaxed);
}

void stop_monitor() noexcept {
  if (!running.exchange(false, std::memory_order_relaxed)) return;
  stop_word.fetch_or(stop_bit, std::memory_order_release);
  // Pairs with the fence in sleep_deeply: it sees the word, or what it has stored before is overwritten by wake_monitor.
  std_atomics::fence_seq_cst();
  futex_wake(stop_word);
  wake_monitor();
  os::join_thread(thread);
}

}  // namespace weft::rt
