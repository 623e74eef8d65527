// SPDX-License-Identifier: Apache-2.0
//
// The production wait protocol under the model checker (runtime/wait/{wait_word,waiter,wait}.hpp): fibers that wait in
// a queue or alone, against wakers, a canceller and a timer. Whatever comes first: a waiter is made ready once, with
// what was meant for it; a signal goes to one who takes it, or stays; nobody sleeps for ever, and nobody touches a
// frame that is gone.
//
// Each step that wait-protocol knows a wrong variant of has that variant here as a mutant, and the checker must notice.
#include "tests/model/wait_env.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <new>
#include <type_traits>

namespace {

using mc::finds;
using mc::holds;
using mc::order;
using model::barrier;
using model::env;
using weft::rt::wait_outcome;
using weft::rt::wait_request;
using weft::rt::wait_result;

}  // namespace

// --- mutants of wait.hpp: copies that do one thing wrong
// ---------------------------------------------------------------------------------------------------------------------

namespace weft::rt {

struct claims_without_asking : model::faithful {};
struct arms_in_the_hook : model::faithful {};
struct peeks : model::faithful {};
struct commits_without_a_lock : model::faithful {};

// The claim is a plain store, although a canceller is about.
template <>
bool waiter<model::env<claims_without_asking>>::claim() noexcept {
  fiber* const owner = g;
  owner->wait.claim_sole(wait_token);
  return true;
}

template <>
wait_outcome wait_in_queue<model::env<arms_in_the_hook>>(mc::mutex& lock, detail::wait_list& list,
                                                         waiter<model::env<arms_in_the_hook>>& w,
                                                         const wait_request& how) noexcept {
  using env = model::env<arms_in_the_hook>;
  struct late {
    mc::mutex* lock;
    waiter<env>* w;
    bool cancellable;
  } commit{&lock, &w, how.cancellable};
  env::fiber* const g = env::current();
  w.g = g;
  wait_queue<env> queue(list);
  queue.push_back(&w);
  if (env::cancel_pending(g)) {
    queue.remove(&w);
    lock.unlock();
    return wait_outcome::cancelled;
  }
  env::park(
      how.why,
      [](void* arg) noexcept {
        const late c = *static_cast<late*>(arg);
        env::fiber* const owner = c.w->g;
        c.w->wait_token = owner->wait.arm(c.cancellable);
        c.lock->unlock();
      },
      &commit);
  g->wait.disarm();
  if (w.result != wait_result::none) return wait_outcome::ok;
  lock.lock();
  if (w.linked) queue.remove(&w);
  lock.unlock();
  return outcome_of(g->cause);
}

template <>
wait_outcome wait_in_queue<model::env<peeks>>(mc::mutex& lock, detail::wait_list& list, waiter<model::env<peeks>>& w,
                                              const wait_request& how) noexcept {
  using env = model::env<peeks>;
  env::fiber* const g = env::current();
  w.g = g;
  const auto token = g->wait.arm(how.cancellable);
  w.wait_token = token;
  wait_queue<env> queue(list);
  queue.push_back(&w);
  wait_commit<env, lock_ref<mc::mutex>> commit{{&lock}};
  if (env::cancel_pending(g) && g->wait.claim(token)) {
    queue.remove(&w);
    lock.unlock();
    g->wait.disarm();
    return wait_outcome::cancelled;
  }
  env::park(how.why, commit.run, &commit);
  g->wait.disarm();
  if (w.result != wait_result::none) return wait_outcome::ok;
  if (w.linked) {
    lock.lock();
    if (w.linked) queue.remove(&w);
    lock.unlock();
  }
  return outcome_of(g->cause);
}

// A commit on a frame that no lock protects while the hook is still to come.
template <>
wait_outcome wait_alone<model::env<commits_without_a_lock>>(const wait_request& how) noexcept {
  using env = model::env<commits_without_a_lock>;
  struct no_lock {
    void unlock(int) {}
  };
  env::fiber* const g = env::current();
  const auto token = g->wait.arm(how.cancellable);
  wait_commit<env, no_lock> commit{};
  env::deadline_timer timer;
  if (timer.start(g, token, how.deadline)) commit.announce = how.deadline;
  if (env::cancel_pending(g) && g->wait.claim(token)) {
    timer.stop();
    g->wait.disarm();
    return wait_outcome::cancelled;
  }
  env::park(how.why, commit.run, &commit);
  g->wait.disarm();
  timer.stop();
  return outcome_of(g->cause);
}

}  // namespace weft::rt

// --- what is tested
// ---------------------------------------------------------------------------------------------------------------------

namespace {

constexpr weft::rt::wait_reason why = weft::rt::wait_reason::semaphore;

// A semaphore without a count to begin with: the smallest object that parks.
template <class Env>
class gate {
 public:
  wait_outcome wait(const wait_request& how) {
    lock_.lock();
    if (signals_ > 0) {
      --signals_;
      lock_.unlock();
      return wait_outcome::ok;
    }
    weft::rt::waiter<Env> w;
    return weft::rt::wait_in_queue<Env>(lock_, waiters_, w, how);
  }
  void signal() {
    lock_.lock();
    weft::rt::waiter<Env>* const w = weft::rt::wait_queue<Env>(waiters_).pop_claimed();
    if (w == nullptr) {
      ++signals_;
      lock_.unlock();
      return;
    }
    w->result = wait_result::ok;
    typename Env::fiber* const g = w->g;
    lock_.unlock();
    Env::wake(g);
  }
  int signals() const { return signals_; }
  bool empty() const { return waiters_.head == nullptr && waiters_.tail == nullptr; }

 private:
  typename Env::lock lock_;
  int signals_ = 0;
  weft::detail::wait_list waiters_;
};

template <class Env>
[[gnu::noinline]] wait_outcome wait_at(gate<Env>& g, const wait_request& how) {
  return g.wait(how);
}
template <class Env>
[[gnu::noinline]] wait_outcome wait_alone(const wait_request& how) {
  return weft::rt::wait_alone<Env>(how);
}

struct wanted {
  bool cancelled = false;  // somebody cancels the fiber
  bool timed = false;
  int waiters = 1;
  int signals = 1;
};

// Waiters and signals, a canceller that cancels the first of them, a timer for each.
template <class Env>
mc::result queue(const wanted& it, mc::options how = {}) {
  return mc::explore(how, [it] {
    using fiber = typename Env::fiber;
    typename Env::world world;
    gate<Env> g;
    fiber fibers[2];
    wait_outcome outcomes[2];
    for (int i = 0; i < it.waiters; ++i) {
      world.add(fibers[i], [&, i] {
        outcomes[i] = wait_at<Env>(g, {why, it.cancelled, it.timed ? Env::a_deadline : weft::rt::never});
        KEEP_FRAME();
      });
    }
    const auto signaller = [&] {
      for (int i = 0; i < it.signals; ++i) g.signal();
    };
    const auto canceller = [&] { Env::cancel({&fibers[0]}); };
    const auto timers = [&] { world.fire_timers(); };
    if (it.cancelled && it.timed)
      world.run({signaller, canceller, timers});
    else if (it.cancelled)
      world.run({signaller, canceller});
    else if (it.timed)
      world.run({signaller, timers});
    else
      world.run({signaller});
    int served = 0;
    for (int i = 0; i < it.waiters; ++i) {
      served += outcomes[i] == wait_outcome::ok ? 1 : 0;
      mc::check(outcomes[i] != wait_outcome::cancelled || (it.cancelled && i == 0), "only who was cancelled hears it");
      mc::check(outcomes[i] != wait_outcome::timed_out || it.timed, "only who has a deadline times out");
    }
    mc::check(served + g.signals() == it.signals, "a signal is neither lost nor doubled");
    mc::check(g.empty(), "nobody is left in the queue");
  });
}

// Two waits in a row: what ends the first must not end the second.
template <class Env>
mc::result twice(mc::options how = {}) {
  return mc::explore(how, [] {
    typename Env::world world;
    gate<Env> g;
    typename Env::fiber f;
    int served = 0;
    world.add(f, [&] {
      for (int i = 0; i < 2; ++i) {
        const wait_outcome one = wait_at<Env>(g, {why, i == 0, weft::rt::never});
        KEEP_FRAME();
        if (one == wait_outcome::ok) ++served;
        mc::check(one == wait_outcome::ok || (one == wait_outcome::cancelled && i == 0),
                  "the second wait cannot be cancelled");
      }
    });
    world.run({[&] {
                 g.signal();
                 g.signal();
               },
               [&] { Env::cancel({&f}); }});
    mc::check(served + g.signals() == 2, "a signal is neither lost nor doubled");
  });
}

template <class Env>
mc::result alone(mc::options how = {}) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber f;
    world.add(f, [&] {
      const wait_outcome one = wait_alone<Env>({why, true, Env::a_deadline});
      KEEP_FRAME();
      mc::check(one == wait_outcome::timed_out || one == wait_outcome::cancelled, "nobody else can end it");
    });
    world.run({[&] { Env::cancel({&f}); }, [&] { world.fire_timers(); }});
  });
}

using plain = env<model::faithful>;
struct by_fences : model::faithful {
  static constexpr barrier between_flag_and_claim = barrier::fence;
  static constexpr bool parker_fences = true;
};

TEST(wait, a_signal_wakes) { EXPECT_TRUE(holds(queue<plain>({}, {.name = "signal", .bound = -1}))); }
TEST(wait, two_wait) { EXPECT_TRUE(holds(queue<plain>({.waiters = 2, .signals = 2}, {.name = "two waiters"}))); }
TEST(wait, signal_or_cancel) { EXPECT_TRUE(holds(queue<plain>({.cancelled = true}, {.name = "signal, cancel"}))); }
TEST(wait, cancel) {
  EXPECT_TRUE(holds(queue<plain>({.cancelled = true, .signals = 0}, {.name = "cancel", .bound = 4})));
}
TEST(wait, cancel_by_fences) {
  EXPECT_TRUE(
      holds(queue<env<by_fences>>({.cancelled = true, .signals = 0}, {.name = "cancel, by fences", .bound = 4})));
}
TEST(wait, signal_or_cancel_by_fences) {
  EXPECT_TRUE(holds(queue<env<by_fences>>({.cancelled = true}, {.name = "signal, cancel, by fences"})));
}
TEST(wait, signal_or_deadline) { EXPECT_TRUE(holds(queue<plain>({.timed = true}, {.name = "signal, deadline"}))); }
TEST(wait, signal_cancel_or_deadline) {
  EXPECT_TRUE(holds(queue<plain>({.cancelled = true, .timed = true}, {.name = "signal, cancel, deadline"})));
}
TEST(wait, two_wait_and_one_is_cancelled) {
  EXPECT_TRUE(holds(queue<plain>({.cancelled = true, .waiters = 2, .signals = 2}, {.name = "two waiters, cancel"})));
}
TEST(wait, twice) { EXPECT_TRUE(holds(twice<plain>({.name = "wait twice"}))); }
TEST(wait, alone) { EXPECT_TRUE(holds(alone<plain>({.name = "wait alone"}))); }

TEST(wait, a_claim_names_one_wait) {
  EXPECT_TRUE(holds(mc::explore({.name = "tokens"}, [] {
    weft::rt::wait_word<mc::mc_atomics> word;
    mc::check(!word.is_open() && !word.claim_if_cancellable(), "nobody waits at first");
    const auto first = word.arm(true);
    mc::check(word.is_open(), "armed");
    word.disarm();
    mc::check(!word.is_open() && !word.claim(first) && !word.claim_if_cancellable(),
              "a wait that is over cannot be claimed");
    const auto second = word.arm(false);
    mc::check(!word.claim(first) && !word.claim_if_cancellable(), "nor the next one in its name, nor against its will");
    mc::check(word.claim(second) && !word.claim(second) && !word.is_open(), "a wait is claimed once");
    mc::spawn([] {});
    mc::join();
  })));
}

// --- what the world checks by itself
// ---------------------------------------------------------------------------------------------------------------------

TEST(wait_env, a_dead_frame_is_not_read) {
  EXPECT_TRUE(finds(mc::explore({.name = "dead frame"},
                                [] {
                                  using variable = model::frame_var<int>;
                                  alignas(variable) static std::byte frame[sizeof(variable)];
                                  auto* v = ::new (frame) variable(1);
                                  mc::check(*v == 1, "it holds what it was made with");
                                  v->~variable();
                                  asm volatile("" : "+r"(v) : : "memory");  // the compiler knows that it is dead
                                  [[maybe_unused]] const int dead = *v;
                                }),
                    "read while it lives"));
}

TEST(wait_env, a_fiber_is_made_ready_once) {
  EXPECT_TRUE(finds(mc::explore({.name = "woken twice"},
                                [] {
                                  plain::world world;
                                  plain::fiber f;
                                  world.add(f, [] { plain::park(why, nullptr, nullptr); });
                                  world.run({[&] {
                                    plain::wake(&f);
                                    plain::wake(&f);
                                  }});
                                }),
                    "made ready once"));
}

// --- many random schedules, without a bound
// ---------------------------------------------------------------------------------------------------------------------

TEST(wait_random, signal_cancel_or_deadline) {
  EXPECT_TRUE(holds(queue<plain>({.cancelled = true, .timed = true, .waiters = 2, .signals = 2},
                                 {.name = "two waiters, cancel, deadlines", .bound = -1, .random = 300'000})));
}
TEST(wait_random, twice) {
  EXPECT_TRUE(holds(twice<plain>({.name = "wait twice", .bound = -1, .random = 200'000, .seed = 2})));
}

// --- mutants
// ---------------------------------------------------------------------------------------------------------------------

struct no_look : model::faithful {
  static constexpr bool looks_at_the_flag = false;
};
struct no_barrier : model::faithful {
  static constexpr barrier between_flag_and_claim = barrier::none;
};
struct canceller_fences_alone : model::faithful {
  static constexpr barrier between_flag_and_claim = barrier::fence;
};
struct parker_fences_alone : no_barrier {
  static constexpr bool parker_fences = true;
};
struct published_before_saved : model::faithful {
  static constexpr bool waits_until_off_cpu = false;
};
struct off_cpu_before_saved : model::faithful {
  static constexpr bool saves_before_off_cpu = false;
};

struct on_cpu_cleared_relaxed : mc::faithful {
  template <class T>
  static constexpr order store(order o) {
    return std::is_same_v<T, bool> ? order::relaxed : o;
  }
};
struct on_cpu_read_relaxed : mc::faithful {
  template <class T>
  static constexpr order load(order o) {
    return std::is_same_v<T, bool> ? order::relaxed : o;
  }
};
struct armed_relaxed : mc::faithful {
  template <class T>
  static constexpr order store(order o) {
    return std::is_same_v<T, std::uint64_t> ? order::relaxed : o;
  }
};
// Only the canceller depends on it: those who claim under a lock know what the fiber did before it took this lock.
struct claimed_without_acquire : mc::faithful {
  template <class T>
  static constexpr order load(order o) {
    return std::is_same_v<T, std::uint64_t> ? order::relaxed : o;
  }
  template <class T>
  static constexpr order compare_exchange(order) {
    return order::release;
  }
};
struct claimed_in_two_steps : mc::faithful {
  template <class T>
  static constexpr bool compare_exchange_is_atomic = false;
};

// Of the model's timer, which does as runtime/sched/timer_heap.cpp: the last touch of the timer, and the look of its
// owner.
struct timer_let_go_relaxed : mc::faithful {
  template <class T>
  static constexpr order store(order o) {
    return std::is_same_v<T, std::uint8_t> ? order::relaxed : o;
  }
};
struct timer_looked_at_relaxed : mc::faithful {
  template <class T>
  static constexpr order load(order o) {
    return std::is_same_v<T, std::uint8_t> ? order::relaxed : o;
  }
};

template <class Mutant>
struct orders : model::faithful {
  using atomics = mc::mutated_atomics<Mutant>;
};

constexpr wanted cancelled{.cancelled = true};
constexpr wanted only_cancelled{.cancelled = true, .signals = 0};
constexpr const char* sleeps_for_ever = "lost wake-up";

TEST(wait_mutant, claim_without_asking) {
  EXPECT_TRUE(finds(queue<env<weft::rt::claims_without_asking>>(cancelled, {.name = "no claim"})));
}
TEST(wait_mutant, claim_in_two_steps) {
  EXPECT_TRUE(finds(queue<env<orders<claimed_in_two_steps>>>(cancelled, {.name = "claim in two steps"})));
}
TEST(wait_mutant, published_before_it_is_saved) {
  EXPECT_TRUE(finds(queue<env<published_before_saved>>(cancelled, {.name = "no on_cpu"})));
}
TEST(wait_mutant, off_cpu_before_it_is_saved) {
  EXPECT_TRUE(finds(queue<env<off_cpu_before_saved>>(cancelled, {.name = "off CPU before it is saved"})));
}
TEST(wait_mutant, no_look_at_the_flag) {
  EXPECT_TRUE(finds(queue<env<no_look>>(only_cancelled, {.name = "no look at the flag"}), sleeps_for_ever));
}
TEST(wait_mutant, armed_in_the_hook) {
  EXPECT_TRUE(
      finds(queue<env<weft::rt::arms_in_the_hook>>(only_cancelled, {.name = "armed in the hook"}), sleeps_for_ever));
}
TEST(wait_mutant, no_lock_on_resume) {
  EXPECT_TRUE(finds(queue<env<weft::rt::peeks>>(cancelled, {.name = "no lock on resume"})));
}
TEST(wait_mutant, commit_without_a_lock) {
  EXPECT_TRUE(finds(alone<env<weft::rt::commits_without_a_lock>>({.name = "a commit without a lock"})));
}
TEST(wait_mutant, no_barrier) {
  EXPECT_TRUE(finds(queue<env<no_barrier>>(only_cancelled, {.name = "no barrier"}), sleeps_for_ever));
}
TEST(wait_mutant, canceller_fences_alone) {
  EXPECT_TRUE(
      finds(queue<env<canceller_fences_alone>>(only_cancelled, {.name = "canceller fences alone"}), sleeps_for_ever));
}
TEST(wait_mutant, parker_fences_alone) {
  EXPECT_TRUE(finds(queue<env<parker_fences_alone>>(only_cancelled, {.name = "parker fences alone"}), sleeps_for_ever));
}
TEST(wait_mutant, on_cpu_cleared_relaxed) {
  EXPECT_TRUE(
      finds(queue<env<orders<on_cpu_cleared_relaxed>>>(cancelled, {.name = "on_cpu cleared relaxed"}), "data race"));
}
TEST(wait_mutant, on_cpu_read_relaxed) {
  EXPECT_TRUE(finds(queue<env<orders<on_cpu_read_relaxed>>>(cancelled, {.name = "on_cpu read relaxed"}), "data race"));
}
TEST(wait_mutant, armed_relaxed) {
  EXPECT_TRUE(finds(queue<env<orders<armed_relaxed>>>(cancelled, {.name = "armed relaxed"})));
}
TEST(wait_mutant, claimed_without_acquire) {
  EXPECT_TRUE(finds(queue<env<orders<claimed_without_acquire>>>(cancelled, {.name = "claimed without acquire"})));
}

TEST(wait_mutant, timer_let_go_relaxed) {
  EXPECT_TRUE(finds(alone<env<orders<timer_let_go_relaxed>>>({.name = "timer let go, relaxed"})));
}
TEST(wait_mutant, timer_looked_at_relaxed) {
  EXPECT_TRUE(finds(alone<env<orders<timer_looked_at_relaxed>>>({.name = "timer looked at, relaxed"})));
}

}  // namespace
