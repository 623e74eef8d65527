// SPDX-License-Identifier: Apache-2.0
//
// The production mutex, shared_mutex, condition_variable and semaphore (runtime/sync/basic_*.hpp) over the production
// wait protocol under the model checker. Whatever the schedule: one at a time is inside, or readers together; permits
// are neither lost nor doubled; a notification goes to one who takes it; who leaves holds nobody up; nobody sleeps for
// ever, and nobody touches a frame that is gone.
#include "tests/model/wait_env.hpp"

#include <gtest/gtest.h>

#include "runtime/sync/basic_condition.hpp"
#include "runtime/sync/basic_mutex.hpp"
#include "runtime/sync/basic_semaphore.hpp"
#include "runtime/sync/basic_shared_mutex.hpp"

namespace model {

// What these ask for beside the wait itself. Whether a waiter has starved is any unlock's guess.
template <class Rules>
struct sync_env : env<Rules> {
  static weft::rt::nanoseconds_t now() {
    if constexpr (requires { Rules::starves; }) return 1;
    return mc::any_of(2) == 0 ? 1 : 2'000'002;
  }
  static bool may_spin() { return false; }
};

}  // namespace model

namespace weft::rt {

// Mutants: copies of functions that do one thing wrong.
struct claims_without_asking : model::faithful {};
struct gives_before_it_claims : model::faithful {};
struct leaves_the_others_waiting : model::faithful {};
struct lets_the_small_ones_pass : model::faithful {};
struct notifies_whoever_is_first : model::faithful {};
struct unlocks_before_it_is_linked : model::faithful {};
struct throws_though_notified : model::faithful {};
struct keeps_woken : model::faithful {};
struct forgets_the_readers : model::faithful {};
struct readers_pass_writers : model::faithful {};

template <>
bool waiter<model::sync_env<claims_without_asking>>::claim() noexcept {
  fiber* const owner = g;
  owner->wait.claim_sole(wait_token);
  return true;
}

// Permits are taken for a waiter, whether he can still be had or not.
template <>
model::sync_env<gives_before_it_claims>::batch
basic_semaphore<model::sync_env<gives_before_it_claims>>::grant() noexcept {
  model::sync_env<gives_before_it_claims>::batch woken;
  wait_queue<model::sync_env<gives_before_it_claims>> queue(waiters_);
  while (node* first = queue.front()) {
    const auto wanted = static_cast<std::ptrdiff_t>(std::size_t{first->amount});
    if (free_ < wanted) break;
    queue.remove(first);
    free_ = free_ - wanted;
    if (!first->claim()) continue;
    first->result = wait_result::ok;
    woken.push_back(first->g);
  }
  return woken;
}

// Who leaves does not look whether those behind him may go now.
template <>
void basic_semaphore<model::sync_env<leaves_the_others_waiting>>::queue_ref::unlock(int) noexcept {
  it.lock_.unlock();
}

template <>
model::sync_env<lets_the_small_ones_pass>::batch
basic_semaphore<model::sync_env<lets_the_small_ones_pass>>::grant() noexcept {
  model::sync_env<lets_the_small_ones_pass>::batch woken;
  wait_queue<model::sync_env<lets_the_small_ones_pass>> queue(waiters_);
  for (node* w = queue.front(); w != nullptr;) {
    node* const next = w->next;
    const auto wanted = static_cast<std::ptrdiff_t>(std::size_t{w->amount});
    if (free_ >= wanted) {
      queue.remove(w);
      if (w->claim()) {
        free_ = free_ - wanted;
        w->result = wait_result::ok;
        woken.push_back(w->g);
      }
    }
    w = next;
  }
  return woken;
}

// A lost claim ends the search.
template <>
void basic_condition<model::sync_env<notifies_whoever_is_first>>::notify_one() noexcept {
  using env = model::sync_env<notifies_whoever_is_first>;
  lock_.lock();
  wait_queue<env> queue(waiters_);
  node* const first = queue.front();
  if (first == nullptr) {
    lock_.unlock();
    return;
  }
  queue.remove(first);
  const bool mine = first->claim();
  env::fiber* g = nullptr;
  if (mine) {
    first->result = wait_result::ok;
    g = first->g;
  }
  lock_.unlock();
  if (mine) env::wake(g);
}

// The woken one who queues again leaves his mark on the word.
template <>
void basic_mutex<model::sync_env<keeps_woken>>::queue_ref::unlock(int grown_by) noexcept {
  word->store(word->load(mc::order::relaxed) - queue_lock + static_cast<std::uint32_t>(grown_by) * one_waiter,
              mc::order::release);
}

// A writer that gives up leaves the readers where they are.
template <>
void basic_shared_mutex<model::sync_env<forgets_the_readers>>::queue_ref::unlock(int) noexcept {
  it.publish(it.word_.load(mc::order::relaxed));
}

template <>
bool basic_shared_mutex<model::sync_env<readers_pass_writers>>::open_to(side who, std::uint32_t w) noexcept {
  return who == side::writers ? w == 0 : (w & writer) == 0;
}

}  // namespace weft::rt

namespace {

using mc::finds;
using mc::holds;
using model::sync_env;
using weft::rt::wait_outcome;
using weft::rt::wait_request;

template <class Env>
wait_request how(bool cancellable, bool timed = false) {
  return {weft::rt::wait_reason::semaphore, cancellable, timed ? Env::a_deadline : weft::rt::never};
}

// --- the objects, as the public headers lay them out
// ---------------------------------------------------------------------------------------------------------------------

template <class Env>
class semaphore {
 public:
  explicit semaphore(std::ptrdiff_t n) : free_(n) {}
  [[gnu::noinline]] wait_outcome acquire(std::ptrdiff_t n, const wait_request& request) {
    return core().acquire(n, request);
  }
  void release(std::ptrdiff_t n) { mc::check(core().release(n), "it can count them"); }
  std::ptrdiff_t free() const { return free_; }
  bool nobody_waits() const { return waiters_.head == nullptr && waiters_.tail == nullptr; }
  void until_waiting(int count) {
    const struct {
      const semaphore* it;
      int count;
    } wanted{this, count};
    mc::detail::here().point(
        [](const void* p) {
          const auto& w = *static_cast<decltype(&wanted)>(p);
          return w.it->waiting() >= w.count;
        },
        &wanted, "waiters");
  }

 private:
  weft::rt::basic_semaphore<Env> core() { return {lock_, free_, waiters_}; }
  int waiting() const {
    int count = 0;
    for (auto* w = static_cast<weft::rt::waiter<Env>*>(waiters_.head); w != nullptr; w = w->next) ++count;
    return count;
  }
  typename Env::lock lock_;
  model::frame_var<std::ptrdiff_t> free_;
  weft::detail::wait_list waiters_;
};

template <class Env>
class mutex {
 public:
  [[gnu::noinline]] bool lock(bool timed = false) {
    std::uint32_t free = 0;
    if (word_.compare_exchange_strong(free, core::locked, mc::order::acquire, mc::order::relaxed)) return true;
    return core(word_, waiters_).lock(timed ? Env::a_deadline - 1 : -1);
  }
  bool try_lock() { return core(word_, waiters_).try_lock(); }
  void unlock() {
    std::uint32_t mine = core::locked;
    if (word_.compare_exchange_strong(mine, 0, mc::order::release, mc::order::relaxed)) return;
    mc::check(core(word_, waiters_).unlock(), "it is locked");
  }
  bool is_free() const { return word_.load(mc::order::relaxed) == 0 && waiters_.head == nullptr; }

 private:
  using core = weft::rt::basic_mutex<Env>;
  typename core::word_type word_{0};
  weft::detail::wait_list waiters_;
};

template <class Env>
class shared_mutex {
 public:
  using core = weft::rt::basic_shared_mutex<Env>;
  using side = typename core::side;
  [[gnu::noinline]] bool lock(side who, bool timed = false) {
    return inside().lock(who, timed ? Env::a_deadline : weft::rt::never);
  }
  bool try_lock(side who) { return inside().try_lock(who); }
  void unlock(side who) { mc::check(inside().unlock(who), "it is locked"); }
  void until_a_writer_waits() {
    mc::detail::here().point(
        [](const void* p) { return static_cast<const shared_mutex*>(p)->writers_.head != nullptr; }, this,
        "a writer that waits");
  }
  bool is_free() const { return word_.load(mc::order::relaxed) == 0 && !writers_.head && !readers_.head; }

 private:
  core inside() { return {word_, writers_, readers_}; }
  typename core::word_type word_{0};
  weft::detail::wait_list writers_, readers_;
};

template <class Env>
class condition {
 public:
  template <class Mutex>
  [[gnu::noinline]] wait_outcome wait(Mutex& m, const wait_request& request) {
    if constexpr (std::is_same_v<Env, sync_env<weft::rt::unlocks_before_it_is_linked>>) {
      m.unlock();
      lock_.lock();
      weft::rt::waiter<Env> w;
      const wait_outcome outcome = weft::rt::wait_in_queue<Env>(lock_, waiters_, w, request);
      m.lock();
      return outcome;
    } else {
      const wait_outcome outcome = core().wait(m, request);
      if constexpr (std::is_same_v<Env, sync_env<weft::rt::throws_though_notified>>)
        if (Env::cancel_pending(Env::current())) return wait_outcome::cancelled;
      return outcome;
    }
  }
  void notify_one() { core().notify_one(); }
  void notify_all() { core().notify_all(); }
  bool nobody_waits() const { return waiters_.head == nullptr && waiters_.tail == nullptr; }

 private:
  weft::rt::basic_condition<Env> core() { return {lock_, waiters_}; }
  typename Env::lock lock_;
  weft::detail::wait_list waiters_;
};

// A mutex that is one step of the model: where it is not what is tested.
struct simple_mutex {
  void lock() { m.lock(); }
  void unlock() { m.unlock(); }
  mc::mutex m;
};

// --- semaphore
// ---------------------------------------------------------------------------------------------------------------------

// Two who wait, of whom the first may be cancelled or run out of time; permits for both.
template <class Env>
mc::result permits(bool cancel, bool timed, mc::options options) {
  return mc::explore(options, [=] {
    typename Env::world world;
    typename Env::fiber first, second;
    semaphore<Env> s(0);
    wait_outcome outcomes[2] = {};
    world.add(first, [&] {
      outcomes[0] = s.acquire(1, how<Env>(cancel, timed));
      KEEP_FRAME();
    });
    world.add(second, [&] {
      outcomes[1] = s.acquire(1, how<Env>(false));
      KEEP_FRAME();
    });
    const auto releaser = [&] {
      s.release(1);
      s.release(1);
    };
    if (cancel)
      world.run({releaser, [&] { Env::cancel({&first}); }});
    else if (timed)
      world.run({releaser, [&] { world.fire_timers(); }});
    else
      world.run({releaser});
    const int taken = (outcomes[0] == wait_outcome::ok ? 1 : 0) + (outcomes[1] == wait_outcome::ok ? 1 : 0);
    mc::check(outcomes[1] == wait_outcome::ok, "nobody disturbs the second");
    mc::check(cancel || timed || outcomes[0] == wait_outcome::ok, "nor the first");
    mc::check(taken + s.free() == 2, "a permit is neither lost nor doubled");
    mc::check(s.nobody_waits(), "nobody is left in the queue");
  });
}

// One who wants more than there is stands before one who does not; he leaves, and the other must get what is free.
template <class Env>
mc::result large_gives_way(bool timed, mc::options options) {
  return mc::explore(options, [timed] {
    typename Env::world world;
    typename Env::fiber large, small;
    semaphore<Env> s(1);
    wait_outcome outcomes[2] = {};
    world.add(large, [&] {
      outcomes[0] = s.acquire(2, how<Env>(!timed, timed));
      KEEP_FRAME();
    });
    world.add(small, [&] {
      outcomes[1] = s.acquire(1, how<Env>(false));
      KEEP_FRAME();
    });
    if (timed)
      world.run({[&] { world.fire_timers(); }});
    else
      world.run({[&] { Env::cancel({&large}); }});
    mc::check(outcomes[0] == (timed ? wait_outcome::timed_out : wait_outcome::cancelled), "there is not enough");
    mc::check(outcomes[1] == wait_outcome::ok && s.free() == 0, "the small one had it");
    mc::check(s.nobody_waits(), "nobody is left in the queue");
  });
}

// A large request in front of a small one, and permits that come one by one.
template <class Env>
mc::result no_overtaking(mc::options options) {
  return mc::explore(options, [] {
    typename Env::world world;
    typename Env::fiber large, small;
    semaphore<Env> s(0);
    int served = 0;
    world.add(large, [&] {
      mc::check(s.acquire(2, how<Env>(false)) == wait_outcome::ok, "nobody cancels it");
      KEEP_FRAME();
      mc::check(served++ == 0, "who came first is served first");
      s.release(2);
    });
    world.add(small, [&] {
      s.until_waiting(1);
      mc::check(s.acquire(1, how<Env>(false)) == wait_outcome::ok, "nobody cancels it");
      KEEP_FRAME();
      ++served;
      s.release(1);
    });
    world.run({[&] {
      s.until_waiting(2);
      s.release(1);
      s.release(1);
    }});
    mc::check(s.free() == 2, "all are back");
  });
}

// --- condition_variable
// ---------------------------------------------------------------------------------------------------------------------

// Sets a flag under the mutex and notifies; nobody may sleep through it.
template <class Env, class Mutex>
mc::result notification(mc::options options) {
  return mc::explore(options, [] {
    typename Env::world world;
    typename Env::fiber waiter, notifier;
    Mutex m;
    condition<Env> changed;
    mc::var<bool> flag{false};
    world.add(waiter, [&] {
      m.lock();
      while (!flag) {
        mc::check(changed.wait(m, how<Env>(false)) == wait_outcome::ok, "nothing else ends it");
        KEEP_FRAME();
      }
      m.unlock();
    });
    world.add(notifier, [&] {
      m.lock();
      KEEP_FRAME();
      flag = true;
      m.unlock();
      changed.notify_one();
    });
    world.run();
    mc::check(changed.nobody_waits(), "nobody is left in the queue");
  });
}

// One notification for two who wait. The first may be cancelled, or run out of time; if not, it passes it on. So the
// second hears of it in any case.
template <class Env>
mc::result baton(bool timed, mc::options options) {
  return mc::explore(options, [timed] {
    typename Env::world world;
    typename Env::fiber first, second;
    simple_mutex m;
    condition<Env> changed;
    mc::var<bool> flag{false};
    world.add(first, [&] {
      m.lock();
      wait_outcome outcome = wait_outcome::ok;
      while (!flag && outcome == wait_outcome::ok) {
        outcome = changed.wait(m, how<Env>(!timed, timed));
        KEEP_FRAME();
      }
      m.unlock();
      if (outcome == wait_outcome::ok) changed.notify_one();
    });
    world.add(second, [&] {
      m.lock();
      while (!flag) {
        mc::check(changed.wait(m, how<Env>(false)) == wait_outcome::ok, "nobody cancels it");
        KEEP_FRAME();
      }
      m.unlock();
    });
    const auto notifier = [&] {
      m.lock();
      flag = true;
      m.unlock();
      changed.notify_one();
    };
    if (timed)
      world.run({notifier, [&] { world.fire_timers(); }});
    else
      world.run({notifier, [&] { Env::cancel({&first}); }});
    mc::check(changed.nobody_waits(), "nobody is left in the queue");
  });
}

// notify_all, while one of the two is cancelled.
template <class Env>
mc::result everybody(mc::options options) {
  return mc::explore(options, [] {
    typename Env::world world;
    typename Env::fiber fibers[2];
    simple_mutex m;
    condition<Env> changed;
    mc::var<bool> flag{false};
    for (int i = 0; i < 2; ++i) {
      world.add(fibers[i], [&, i] {
        m.lock();
        wait_outcome outcome = wait_outcome::ok;
        while (!flag && outcome == wait_outcome::ok) {
          outcome = changed.wait(m, how<Env>(i == 0));
          KEEP_FRAME();
        }
        mc::check(i == 0 || outcome == wait_outcome::ok, "only who is cancelled hears it");
        m.unlock();
      });
    }
    world.run({[&] {
                 m.lock();
                 flag = true;
                 m.unlock();
                 changed.notify_all();
               },
               [&] { Env::cancel({&fibers[0]}); }});
    mc::check(changed.nobody_waits(), "nobody is left in the queue");
  });
}

// --- mutex
// ---------------------------------------------------------------------------------------------------------------------

// Two fibers that each come `times`, and a thread that tries.
template <class Env>
mc::result exclusion(int times, bool trier, mc::options options) {
  return mc::explore(options, [=] {
    typename Env::world world;
    typename Env::fiber fibers[2];
    mutex<Env> m;
    mc::var<int> inside{0};
    const auto enter = [&] {
      inside = inside + 1;
      m.unlock();
    };
    for (int i = 0; i < 2; ++i) {
      world.add(fibers[i], [&, i] {
        for (int k = 0; k < (i == 0 ? times : 1); ++k) {
          mc::check(m.lock(), "it waits as long as it takes");
          KEEP_FRAME();
          enter();
        }
      });
    }
    bool got = false;
    if (trier)
      world.run({[&] {
        got = m.try_lock();
        if (got) enter();
      }});
    else
      world.run();
    mc::check(inside == times + 1 + (got ? 1 : 0), "each was inside");
    mc::check(m.is_free(), "and left");
  });
}

// One who gives up after a time, one who does not, and one who only tries.
template <class Env>
mc::result impatient(mc::options options) {
  return mc::explore(options, [] {
    typename Env::world world;
    typename Env::fiber fibers[2];
    mutex<Env> m;
    mc::var<int> inside{0};
    int entered = 0;
    for (int i = 0; i < 2; ++i) {
      world.add(fibers[i], [&, i] {
        const bool got = m.lock(i == 0);
        KEEP_FRAME();
        mc::check(got || i == 0, "only the impatient one gives up");
        if (!got) return;
        inside = inside + 1;
        ++entered;
        m.unlock();
      });
    }
    world.run({[&] {
                 if (!m.try_lock()) return;
                 inside = inside + 1;
                 ++entered;
                 m.unlock();
               },
               [&] { world.fire_timers(); }});
    mc::check(inside == entered && m.is_free(), "who was inside left");
  });
}

// --- shared_mutex
// ---------------------------------------------------------------------------------------------------------------------

// Two writers and two readers.
template <class Env>
mc::result sides(int writers, int readers, mc::options options) {
  return mc::explore(options, [=] {
    typename Env::world world;
    typename Env::fiber fibers[4];
    using shared = shared_mutex<Env>;
    shared m;
    mc::var<int> value{0};  // the race check is the test
    for (int i = 0; i < writers + readers; ++i) {
      const auto who = i < writers ? shared::side::writers : shared::side::readers;
      world.add(fibers[i], [&, who] {
        mc::check(m.lock(who), "it waits as long as it takes");
        KEEP_FRAME();
        if (who == shared::side::writers)
          value = value + 1;
        else
          mc::check(value <= 2, "there are no more writers");
        m.unlock(who);
      });
    }
    world.run();
    mc::check(value == writers && m.is_free(), "each was inside, and left");
  });
}

// A reader that stays until another one is inside; a writer in between, who gives up in the end.
template <class Env>
mc::result writer_gives_up(mc::options options) {
  return mc::explore(options, [] {
    typename Env::world world;
    typename Env::fiber stays, writer, comes;
    using shared = shared_mutex<Env>;
    shared m;
    semaphore<Env> another(0);
    mc::check(m.lock(shared::side::readers), "it is free");  // for `stays`
    world.add(stays, [&] {
      another.acquire(1, how<Env>(false));
      KEEP_FRAME();
      m.unlock(shared::side::readers);
    });
    world.add(writer, [&] {
      const bool got = m.lock(shared::side::writers, true);
      KEEP_FRAME();
      if (got) m.unlock(shared::side::writers);
    });
    world.add(comes, [&] {
      mc::check(m.lock(shared::side::readers), "it waits as long as it takes");
      KEEP_FRAME();
      another.release(1);
      m.unlock(shared::side::readers);
    });
    world.run({[&] { world.fire_timers(); }});
    mc::check(m.is_free(), "all have left");
  });
}

// While a writer waits no new reader gets in.
template <class Env>
mc::result writer_first(mc::options options) {
  return mc::explore(options, [] {
    typename Env::world world;
    typename Env::fiber writer;
    using shared = shared_mutex<Env>;
    shared m;
    mc::check(m.lock(shared::side::readers), "it is free");
    world.add(writer, [&] {
      mc::check(m.lock(shared::side::writers), "it waits as long as it takes");
      KEEP_FRAME();
      m.unlock(shared::side::writers);
    });
    world.run({[&] {
      m.until_a_writer_waits();
      mc::check(!m.try_lock(shared::side::readers), "a writer waits");
      m.unlock(shared::side::readers);
    }});
    mc::check(m.is_free(), "all have left");
  });
}

// --- all of them
// ---------------------------------------------------------------------------------------------------------------------

using plain = sync_env<model::faithful>;
struct relaxed_order : mc::faithful {
  template <class T>
  static constexpr mc::order compare_exchange(mc::order o) {
    return std::is_same_v<T, std::uint32_t> && o == mc::order::acquire ? mc::order::relaxed : o;
  }
};
struct relaxed_exchanges : model::faithful {
  using atomics = mc::mutated_atomics<relaxed_order>;
};
struct nobody_starves : model::faithful {
  static constexpr bool starves = false;
};

TEST(semaphore, two_wait) { EXPECT_TRUE(holds(permits<plain>(false, false, {.name = "two acquire"}))); }
TEST(semaphore, one_is_cancelled) { EXPECT_TRUE(holds(permits<plain>(true, false, {.name = "two acquire, cancel"}))); }
TEST(semaphore, one_runs_out_of_time) {
  EXPECT_TRUE(holds(permits<plain>(false, true, {.name = "two acquire, deadline"})));
}
TEST(semaphore, a_large_request_that_is_cancelled_gives_way) {
  EXPECT_TRUE(holds(large_gives_way<plain>(false, {.name = "large, small, cancel"})));
}
TEST(semaphore, a_large_request_whose_time_is_up_gives_way) {
  EXPECT_TRUE(holds(large_gives_way<plain>(true, {.name = "large, small, deadline"})));
}
TEST(semaphore, a_large_request_is_not_overtaken) {
  EXPECT_TRUE(holds(no_overtaking<plain>({.name = "large, small, release"})));
}

TEST(condition, no_notification_is_missed) {
  EXPECT_TRUE(holds(notification<plain, simple_mutex>({.name = "wait, notify", .bound = 3})));
}
TEST(condition, nor_with_our_mutex) {
  EXPECT_TRUE(holds(notification<plain, mutex<plain>>({.name = "wait, notify, weft::mutex"})));
}
TEST(condition, a_notification_passes_who_is_cancelled) {
  EXPECT_TRUE(holds(baton<plain>(false, {.name = "two wait, notify_one, cancel"})));
}
TEST(condition, a_notification_passes_whose_time_is_up) {
  EXPECT_TRUE(holds(baton<plain>(true, {.name = "two wait, notify_one, deadline", .bound = 1})));
}
TEST(condition, all_are_notified) { EXPECT_TRUE(holds(everybody<plain>({.name = "two wait, notify_all, cancel"}))); }

TEST(mutex, one_at_a_time) { EXPECT_TRUE(holds(exclusion<plain>(1, true, {.name = "two lock, one tries"}))); }
TEST(mutex, one_comes_twice) { EXPECT_TRUE(holds(exclusion<plain>(2, false, {.name = "lock twice, lock"}))); }
TEST(mutex, one_gives_up) {
  EXPECT_TRUE(holds(impatient<sync_env<nobody_starves>>({.name = "lock, lock for", .bound = 1})));
}

TEST(shared_mutex, writers_and_a_reader) { EXPECT_TRUE(holds(sides<plain>(2, 1, {.name = "two write, one reads"}))); }
TEST(shared_mutex, readers_and_a_writer) { EXPECT_TRUE(holds(sides<plain>(1, 2, {.name = "one writes, two read"}))); }
TEST(shared_mutex, a_writer_gives_up) {
  EXPECT_TRUE(holds(writer_gives_up<plain>({.name = "read, write for, read", .bound = -1, .random = 100'000})));
}
TEST(shared_mutex, a_writer_waits) { EXPECT_TRUE(holds(writer_first<plain>({.name = "read, write, try to read"}))); }

TEST(sync_random, sides) {
  EXPECT_TRUE(holds(sides<plain>(2, 2, {.name = "two write, two read", .bound = -1, .random = 200'000})));
}
TEST(sync_random, exclusion) {
  EXPECT_TRUE(holds(exclusion<plain>(3, true, {.name = "lock three times", .bound = -1, .random = 200'000})));
}

// --- mutants
// ---------------------------------------------------------------------------------------------------------------------

namespace m = weft::rt;

TEST(semaphore_mutant, claim_without_asking) {
  EXPECT_TRUE(finds(permits<sync_env<m::claims_without_asking>>(true, false, {.name = "no claim"})));
}
TEST(semaphore_mutant, permits_given_before_the_claim) {
  EXPECT_TRUE(finds(permits<sync_env<m::gives_before_it_claims>>(true, false, {.name = "given before the claim"})));
  EXPECT_TRUE(finds(permits<sync_env<m::gives_before_it_claims>>(false, true, {.name = "given before the claim"})));
}
TEST(semaphore_mutant, who_leaves_does_not_grant) {
  EXPECT_TRUE(finds(large_gives_way<sync_env<m::leaves_the_others_waiting>>(false, {.name = "no grant"}), "lost wake"));
  EXPECT_TRUE(finds(large_gives_way<sync_env<m::leaves_the_others_waiting>>(true, {.name = "no grant"}), "lost wake"));
}
TEST(semaphore_mutant, small_ones_pass) {
  EXPECT_TRUE(finds(no_overtaking<sync_env<m::lets_the_small_ones_pass>>({.name = "overtaking"}), "served first"));
}
TEST(condition_mutant, unlocked_before_it_is_linked) {
  EXPECT_TRUE(finds(notification<sync_env<m::unlocks_before_it_is_linked>, simple_mutex>({.name = "unlocked first"}),
                    "lost wake"));
}
TEST(condition_mutant, a_lost_claim_ends_the_search) {
  EXPECT_TRUE(finds(baton<sync_env<m::notifies_whoever_is_first>>(false, {.name = "lost claim"}), "lost wake"));
  EXPECT_TRUE(finds(baton<sync_env<m::notifies_whoever_is_first>>(true, {.name = "lost claim"}), "lost wake"));
}
TEST(condition_mutant, who_was_notified_throws) {
  EXPECT_TRUE(finds(baton<sync_env<m::throws_though_notified>>(false, {.name = "notified, throws"}), "lost wake"));
}
TEST(condition_mutant, claim_without_asking) {
  EXPECT_TRUE(finds(everybody<sync_env<m::claims_without_asking>>({.name = "no claim"})));
}
TEST(mutex_mutant, keeps_woken) {
  EXPECT_TRUE(finds(exclusion<sync_env<m::keeps_woken>>(2, false, {.name = "keeps woken", .bound = 2}), "lost wake"));
}
TEST(mutex_mutant, acquires_nothing) {
  EXPECT_TRUE(finds(exclusion<sync_env<relaxed_exchanges>>(1, true, {.name = "relaxed"}), "data race"));
}
TEST(shared_mutex_mutant, who_gives_up_forgets_the_readers) {
  EXPECT_TRUE(finds(writer_gives_up<sync_env<m::forgets_the_readers>>({.name = "forgets readers"}), "lost wake"));
}
TEST(shared_mutex_mutant, readers_pass_writers) {
  EXPECT_TRUE(finds(writer_first<sync_env<m::readers_pass_writers>>({.name = "readers pass"}), "a writer waits"));
}
TEST(shared_mutex_mutant, acquires_nothing) {
  EXPECT_TRUE(finds(sides<sync_env<relaxed_exchanges>>(1, 1, {.name = "relaxed"}), "data race"));
}

}  // namespace
