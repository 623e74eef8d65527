// SPDX-License-Identifier: Apache-2.0
// From a signal handler to channels and scopes, through a word of bits and the monitor.
//
//   handler       sets the signal's bit in `arrived` and calls the monitor: an atomic, two futex wakes. No descriptor is
//                 in the way that could be full, or that a forked child would share.
//   monitor       takes all bits, offers each signal to each channel that wants it, cancels the scopes that want it. It
//                 ends with the run; what comes without one stays in `arrived` until the next.
//   subscription  in a channel's block, or behind a signal_handle: what it wants. On a list, which owns nothing: the
//                 release of a channel's last handle takes it off (stop_source), as the destructor of a signal_handle
//                 does. Both take the lock for it, so the delivery may use, while it holds the lock, all that is listed;
//                 a handle of its own would keep a channel alive after the program has dropped it.
//   channel       its ring has a place for each signal that it wants, and holds each at most once: so it is never full,
//                 and a signal is in `arrived`, in the ring or with its reader, or merged with one that is.
//
// Rejected: a pipe and a thread (a storm fills the pipe, a child of fork writes into it, the thread is lost in a child
// and outlives everybody); a signalfd (every thread of the process would have to block the signals, those of libraries
// included); a descriptor in the poller (a forked child would have it, and a run without sockets would need a poller).
//
// Invariants, under the lock
//  1. `holders[n]` counts the subscriptions that want n and are awake; `needed` has the bit of n if that is not 0.
//  2. `installed` has the bits of the signals whose action is ours; `former[n]` is the one from before. It is all of
//     `needed`, and those of `opened`.
//  3. `opened`: signals that the caller of run() had blocked and that are unblocked in threads of the runtime, until
//     the end of run() (signal_mask.hpp). Their action stays ours as long, for they would meet the former one now,
//     though they were blocked. One that comes when nobody wants it any more is `kept`, and sent again when it is blocked.
//  4. What came while a subscription wanted it is the subscription's, and goes with it if it was not delivered.
//  5. Nobody is subscribed halfway: a list of numbers is checked as a whole before anything is changed.
//
// Fork. The lock is held across fork(), so the child finds the state whole. Its handler there puts the former actions
// back and puts the subscriptions to sleep: they count nowhere until begin_signals() of the child's own run wakes them.
// A child that came about otherwise (vfork, _Fork, clone) still has our handler: it sees by its pid that it serves
// another process, puts the former action back and sends the signal again.
//
// In the handler: atomics, getpid, sigaction, raise and futex, all async-signal-safe; errno is restored.
//
// Lock order: registry < a channel's lock; registry < the locks of a cancellation (cancel.hpp). Held across sigaction and
// fork, never across a park, and never while a signal is sent.
// Memory order: the handler's `arrived.fetch_or` releases, the delivery's exchange acquires. `former[n]` and `owner` are
// written before the system call that installs the handler.
#include "netpoll/signals.hpp"

#include <weft/detail/atomic.hpp>
#include <weft/scope.hpp>
#include <weft/signals.hpp>

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

#include "runtime/sched/fork.hpp"
#include "runtime/sched/m.hpp"
#include "runtime/sched/monitor.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/signal_mask.hpp"
#include "runtime/sync/channel.hpp"

namespace weft {
namespace rt {

namespace {

static_assert(NSIG <= 65, "a set of signals is a word");

class signal_channel;

struct subscription {
  std::uint64_t wanted = 0;
  bool asleep = false;  ///< inherited by a child that has not called run
  signal_channel* channel = nullptr;
  scope* cancelled = nullptr;
  subscription* next = nullptr;
  subscription* previous = nullptr;
};

template <class F>
void for_each_of(std::uint64_t set, F&& f) {
  for (; set != 0; set &= set - 1) f(std::countr_zero(set) + 1);
}

class signal_channel : public detail::chan_core {
 public:
  explicit signal_channel(std::uint64_t wanted) noexcept
      : chan_core(detail::element_ops_of<int>::value, static_cast<std::size_t>(std::popcount(wanted)), room_) {
    source.wanted = wanted;
    source.channel = this;
  }

  /// Hands the signal to a receiver, or puts it into the ring if it is not there. Returns the receiver that was claimed
  /// for it, if there was one: it is the caller's to wake.
  G* offer(int number) noexcept {
    lock_.lock();
    G* const receiver = holds(number) ? nullptr : send_now(&number).woken;
    lock_.unlock();
    return receiver;
  }

  subscription source;

 private:
  bool holds(int number) noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      int there = 0;
      std::memcpy(&there, slot((head_ + i) % capacity_), sizeof there);
      if (there == number) return true;
    }
    return false;
  }

  alignas(int) std::byte room_[sizeof(int) * (NSIG - 1)];
};

struct registry {
  std::mutex mutex;
  subscription* all = nullptr;
  unsigned holders[NSIG] = {};
  std::uint64_t needed = 0;
  std::uint64_t installed = 0;
  std::uint64_t opened = 0;
  std::uint64_t kept = 0;
  bool serving = false;      ///< a runtime runs
  bool forker_is_m = false;  ///< from before a fork to after it
};

constinit registry the;
constinit struct sigaction former[NSIG] = {};
constinit detail::atomic<std::uint64_t> arrived{0};
constinit detail::atomic<pid_t> owner{0};                 // relaxed: see above
constinit detail::atomic<bool> monitor_must_open{false};  // relaxed: a hint to take the lock

void on_signal(int number) {
  const int interrupted_errno = errno;
  if (getpid() == owner.load(std::memory_order_relaxed)) {
    const std::uint64_t bit = signal_bit(number);
    // If it was there, the monitor has been called, or is about to be.
    if ((arrived.fetch_or(bit, std::memory_order_release) & bit) == 0) call_monitor();
  } else {
    sigaction(number, &former[number], nullptr);
    raise(number);  // pending until this handler returns
  }
  errno = interrupted_errno;
}

bool is_function(const struct sigaction& action, void (*handler)(int)) noexcept {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == handler;
}

// What follows is called under the lock, up to `unsubscribe`.

void install(int number) noexcept {
  struct sigaction& before = former[number];
  sigaction(number, nullptr, &before);
  // The program has put back what it had found while a channel was there.
  if (is_function(before, on_signal)) before = {};
  owner.store(getpid(), std::memory_order_relaxed);
  struct sigaction ours {};
  ours.sa_handler = on_signal;
  ours.sa_flags = SA_RESTART | SA_ONSTACK;  // fibers' stacks are small
  sigfillset(&ours.sa_mask);
  sigaction(number, &ours, nullptr);
  the.installed |= signal_bit(number);
}

/// Async-signal-safe. An action that is the program's by now is left alone.
void put_former_back(int number) noexcept {
  struct sigaction found {};
  if (sigaction(number, nullptr, &found) == 0 && is_function(found, on_signal))
    sigaction(number, &former[number], nullptr);
}

/// After its handler is installed: it may be pending.
void open_if_blocked(int number) noexcept {
  if (!the.serving || !open_signal(number)) return;
  the.opened |= signal_bit(number);
  monitor_must_open.store(true, std::memory_order_relaxed);
  call_monitor();
}

void hold(int number) noexcept {
  if (the.holders[number]++ != 0) return;
  const std::uint64_t bit = signal_bit(number);
  the.needed |= bit;
  if ((the.installed & bit) == 0) install(number);
  if ((the.kept & bit) != 0) {
    the.kept &= ~bit;
    arrived.fetch_or(bit, std::memory_order_relaxed);
    call_monitor();
  }
  open_if_blocked(number);
}

/// Puts the former actions back, for signals that nobody needs.
void uninstall(std::uint64_t set) noexcept {
  for_each_of(set, put_former_back);
  the.installed &= ~set;
  arrived.fetch_and(~set, std::memory_order_relaxed);
}

void link(subscription& s) noexcept {
  s.next = the.all;
  if (the.all != nullptr) the.all->previous = &s;
  the.all = &s;
}

void unlink(subscription& s) noexcept {
  (s.previous != nullptr ? s.previous->next : the.all) = s.next;
  if (s.next != nullptr) s.next->previous = s.previous;
}

void prepare_fork() noexcept {
  the.mutex.lock();
  the.forker_is_m = current_m() != nullptr;
}

void forked_in_parent() noexcept { the.mutex.unlock(); }

void forked_in_child() noexcept {
  if (the.forker_is_m) block_signals(the.opened);
  for_each_of(the.installed, put_former_back);
  arrived.store(0, std::memory_order_relaxed);  // the parent's
  monitor_must_open.store(false, std::memory_order_relaxed);
  the.needed = the.installed = the.opened = the.kept = 0;
  for (unsigned& count : the.holders) count = 0;
  the.serving = false;
  for (subscription* s = the.all; s != nullptr; s = s->next) s->asleep = true;
  the.mutex.unlock();
}

void subscribe(subscription& s) {
  static const int error = pthread_atfork(prepare_fork, forked_in_parent, forked_in_child);
  if (error != 0) throw std::bad_alloc();
  const std::lock_guard guard(the.mutex);
  link(s);
  for_each_of(s.wanted, hold);
}

void unsubscribe(subscription& s) noexcept {
  const std::lock_guard guard(the.mutex);
  unlink(s);
  if (s.asleep) return;
  std::uint64_t unneeded = 0;
  for_each_of(s.wanted, [&](int number) {
    if (--the.holders[number] == 0) unneeded |= signal_bit(number);
  });
  the.needed &= ~unneeded;
  uninstall(unneeded & ~the.opened);
}

// --- what may be wanted ---

struct refusal {
  std::string value;
  const char* why = nullptr;
};

const char* why_not(int number) noexcept {
  if (number == SIGKILL || number == SIGSTOP) return " cannot be caught";
  if (number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL)
    return " comes from a fault of the program, which cannot go on after it";
  struct sigaction found {};
  if (number < 1 || number >= NSIG) return " does not exist";
  return sigaction(number, nullptr, &found) == 0 ? nullptr : " is the C library's own";
}

/// Returns an empty set if there is a refusal. Throws std::logic_error in a child that can have no runtime.
std::uint64_t set_of(std::span<const int> wanted, refusal& no) {
  if (forked_away.load(std::memory_order_relaxed)) throw std::logic_error(forked_away_sentence);
  std::uint64_t set = 0;
  for (const int number : wanted) {
    if (const char* const why = why_not(number)) {
      no = {"signal " + std::to_string(number), why};
      return 0;
    }
    set |= signal_bit(number);
  }
  if (set == 0) no = {"the list", " is empty"};
  return set;
}

[[noreturn]] void throw_refused(const char* call, const refusal& no) {
  throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                          call + (": " + no.value) + no.why +
                              "; expected signals that another process may send, such as SIGINT or SIGTERM");
}

recv_chan<int> make_channel(std::uint64_t wanted) {
  constexpr std::size_t grain = alignof(signal_channel);
  void* const block = std::aligned_alloc(grain, (sizeof(signal_channel) + grain - 1) / grain * grain);
  if (block == nullptr) throw std::bad_alloc();
  auto* const made = ::new (block) signal_channel(wanted);  // trivially destroyed but for what chan_release destroys
  recv_chan<int> channel{detail::chan_handle(made)};
  subscribe(made->source);
  made->stop_source = [](detail::chan_core& self) noexcept { unsubscribe(static_cast<signal_channel&>(self).source); };
  return channel;
}

/// Runs `make`; what it throws for want of memory becomes an error.
template <class F>
auto reported(std::span<const int> wanted, std::error_code& error, F&& make) -> decltype(make(std::uint64_t{})) {
  error.clear();
  try {
    refusal no;
    if (const std::uint64_t set = set_of(wanted, no)) return make(set);
    error = std::make_error_code(std::errc::invalid_argument);
  } catch (const std::bad_alloc&) {
    error = std::make_error_code(std::errc::not_enough_memory);
  }
  return {};
}

template <class F>
auto thrown(const char* call, std::span<const int> wanted, F&& make) {
  refusal no;
  const std::uint64_t set = set_of(wanted, no);
  if (set == 0) throw_refused(call, no);
  return make(set);
}

}  // namespace

void begin_signals() noexcept {
  const std::lock_guard guard(the.mutex);
  the.serving = true;
  for_each_of(the.needed, open_if_blocked);
  for (subscription* s = the.all; s != nullptr; s = s->next) {
    if (!s->asleep) continue;
    s->asleep = false;
    for_each_of(s->wanted, hold);
  }
}

void end_signals() noexcept {
  std::uint64_t kept = 0;
  {
    const std::lock_guard guard(the.mutex);
    if (!the.serving) return;
    the.serving = false;
    monitor_must_open.store(false, std::memory_order_relaxed);
    const std::uint64_t unneeded = the.opened & ~the.needed;
    kept = (the.kept | arrived.load(std::memory_order_relaxed)) & unneeded;
    uninstall(unneeded);
    the.opened = the.kept = 0;
  }
  for_each_of(kept, [](int number) { kill(getpid(), number); });
}

bool signals_are_due() noexcept {
  return arrived.load(std::memory_order_relaxed) != 0 || monitor_must_open.load(std::memory_order_relaxed);
}

void deliver_signals() noexcept {
  if (!signals_are_due()) return;
  g_list woken;
  {
    const std::lock_guard guard(the.mutex);
    if (monitor_must_open.exchange(false, std::memory_order_relaxed)) unblock_signals(the.opened);
    const std::uint64_t came = arrived.exchange(0, std::memory_order_acquire);
    the.kept |= came & the.opened & ~the.needed;
    for (subscription* s = the.all; s != nullptr; s = s->next) {
      const std::uint64_t wanted = s->asleep ? 0 : s->wanted & came;
      if (wanted == 0) continue;
      if (s->cancelled != nullptr) {
        s->cancelled->cancel();
        continue;
      }
      for_each_of(wanted, [&](int number) {
        if (G* const receiver = s->channel->offer(number)) woken.push_back(receiver);
      });
    }
  }
  wake_all(woken);
}

bool signals_are_awaited() noexcept {
  const std::lock_guard guard(the.mutex);
  return the.all != nullptr;
}

void take_handler_away(int number, void (*handler)(int)) noexcept {
  const std::lock_guard guard(the.mutex);
  struct sigaction found {};
  if (sigaction(number, nullptr, &found) == 0 && is_function(found, handler)) {
    struct sigaction fresh {};
    fresh.sa_handler = SIG_DFL;
    sigaction(number, &fresh, nullptr);
  } else if ((the.installed & signal_bit(number)) != 0 && is_function(former[number], handler)) {
    former[number] = {};
  }
}

}  // namespace rt

inline namespace v0 {

namespace detail {

class signal_canceller : public rt::subscription {};

}  // namespace detail

recv_chan<int> signals(std::span<const int> wanted) { return rt::thrown("weft::signals", wanted, rt::make_channel); }

recv_chan<int> signals(std::span<const int> wanted, std::error_code& error) {
  return rt::reported(wanted, error, rt::make_channel);
}

static signal_handle make_canceller(std::uint64_t wanted, scope& cancelled) {
  auto made = std::make_unique<detail::signal_canceller>();
  made->wanted = wanted;
  made->cancelled = &cancelled;
  rt::subscribe(*made);
  return signal_handle(made.release());
}

signal_handle cancel_on(std::span<const int> wanted, scope& cancelled) {
  return rt::thrown("weft::cancel_on", wanted, [&](std::uint64_t set) { return make_canceller(set, cancelled); });
}

signal_handle cancel_on(std::span<const int> wanted, scope& cancelled, std::error_code& error) {
  return rt::reported(wanted, error, [&](std::uint64_t set) { return make_canceller(set, cancelled); });
}

void signal_handle::drop(detail::signal_canceller* canceller) noexcept {
  rt::unsubscribe(*canceller);
  delete canceller;
}

}  // namespace v0
}  // namespace weft
