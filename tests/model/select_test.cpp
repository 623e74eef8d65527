// SPDX-License-Identifier: Apache-2.0
//
// The production select (runtime/wait/basic_select.hpp) over production channels under the model checker. Whatever the
// schedule and the random order of the cases: a select does exactly one of its cases or, if it was cancelled or timed
// out, none; the value of a case that lost is where it was; two selects that face each other pair once or not at all;
// no queue keeps a waiter of a select that has ended; nobody sleeps for ever, and nobody touches a frame that is gone.
#include <gtest/gtest.h>

#include "tests/model/chan_book.hpp"

namespace weft::rt {

// Mutants: copies of functions that do one thing wrong.
struct links_after_looks : model::faithful {};
struct peeks : model::faithful {};
struct keeps_the_losers : model::faithful {};
struct claims_without_asking : model::faithful {};
struct decides_by_looks : model::faithful {};
struct trusts_the_place : model::faithful {};
struct waits_where_it_was : model::faithful {};
struct forgets_the_stripes : model::faithful {};
struct reads_after_the_last_unlock : model::faithful {};

// No look under all locks: what became ready between the look at its object and the wait in its queue is missed.
template <>
select_outcome basic_select<model::env<links_after_looks>>::decide(const select_request& how, bool) noexcept {
  lock_all();
  return park(how);
}

// Each object is tried under its own lock alone, one after the other, before the wait.
template <>
select_outcome basic_select<model::env<decides_by_looks>>::decide(const select_request& how, bool waits) noexcept {
  for (std::uint32_t i = 0; i < count_; ++i) {
    const entry& e = entries_[order_[i]];
    nodes_[i].lock->lock();
    const auto did = ops(e).attempt(e.object, nodes_[i].lock, e.value);
    nodes_[i].lock->unlock();
    if (!did.done) continue;
    if (did.woken != nullptr) model::env<decides_by_looks>::wake(did.woken);
    return outcome(did.result, order_[i]);
  }
  if (!waits) return {wait_outcome::ok, true};
  lock_all();
  for (std::uint32_t i = 0; i < count_; ++i) {
    const entry& e = entries_[order_[i]];
    const auto did = ops(e).attempt(e.object, nodes_[i].lock, e.value);
    if (!did.done) continue;
    unlock_all(nodes_, sorted_, count_);
    if (did.woken != nullptr) model::env<decides_by_looks>::wake(did.woken);
    return outcome(did.result, order_[i]);
  }
  return park(how);
}

template <>
bool waiter<model::env<claims_without_asking>>::claim() noexcept {
  fiber* const owner = g;
  owner->wait.claim_sole(wait_token);
  return true;
}

template <>
bool select_node<model::env<trusts_the_place>>::lock_place() noexcept {
  lock->lock();
  return false;
}

// The attempt in a stripe does not say that the channel is striped no more.
template <>
select_step<model::env<waits_where_it_was>> basic_chan<model::env<waits_where_it_was>>::attempt_receive(
    void* c, model::env<waits_where_it_was>::lock* held, void* slot) noexcept {
  basic_chan& it = self(c);
  if (held != &it.lock_) return {};
  const step did = it.receive_now(slot);
  if (!did.done && it.closed()) return {true, wait_result::closed, nullptr};
  return did;
}

template <>
bool basic_chan<model::env<forgets_the_stripes>>::lock_and_gather() noexcept {
  lock_.lock();
  if (!closed()) return true;
  lock_.unlock();
  return false;
}

// What `park` does after the wait, in the ways to get it wrong.
template <class Env>
struct after_the_wait {
  template <class Node>
  static select_outcome run(Node* nodes, std::uint32_t count, wait_cause cause, bool peek, bool unlink) {
    select_outcome found{wait_outcome::ok, true};
    for (std::uint32_t i = 0; i < count; ++i) {
      Node& n = nodes[i];
      if (const wait_result result = n.result; result != wait_result::none) {
        found = {result == wait_result::closed ? wait_outcome::closed : wait_outcome::ok, false, n.index};
        continue;
      }
      if (peek && !n.linked) continue;
      if (!unlink) continue;
      typename Env::lock& lock = *n.lock;
      lock.lock();
      if (n.linked) wait_queue<Env>(*n.queue).remove(&n);
      lock.unlock();
    }
    return found.none ? select_outcome{outcome_of(cause)} : found;
  }
};

#define PARK_WITH(MUTANT, PEEK, UNLINK)                                                                \
  template <>                                                                                          \
  select_outcome basic_select<model::env<MUTANT>>::park(const select_request& how) noexcept {          \
    using env = model::env<MUTANT>;                                                                    \
    env::fiber* const g = env::current();                                                              \
    const auto token = g->wait.arm(true);                                                              \
    for (std::uint32_t i = 0; i < count_; ++i) {                                                       \
      nodes_[i].g = g;                                                                                 \
      nodes_[i].wait_token = token;                                                                    \
      wait_queue<env>(*nodes_[i].queue).push_back(&nodes_[i]);                                         \
    }                                                                                                  \
    commit at_rest{nodes_, sorted_, count_};                                                           \
    if (env::cancel_pending(g) && g->wait.claim(token)) {                                              \
      for (std::uint32_t i = 0; i < count_; ++i) wait_queue<env>(*nodes_[i].queue).remove(&nodes_[i]); \
      unlock_all(nodes_, sorted_, count_);                                                             \
      g->wait.disarm();                                                                                \
      return {wait_outcome::cancelled};                                                                \
    }                                                                                                  \
    env::park(how.why, commit::run, &at_rest);                                                         \
    g->wait.disarm();                                                                                  \
    return after_the_wait<env>::run(nodes_, count_, g->cause, PEEK, UNLINK);                           \
  }
PARK_WITH(peeks, true, true)
PARK_WITH(keeps_the_losers, false, false)

// The hook looks at the frame once more after it has freed the last lock.
template <>
void basic_select<model::env<reads_after_the_last_unlock>>::commit::run(void* arg) noexcept {
  const commit& frame = *static_cast<commit*>(arg);
  unlock_all(frame.nodes, frame.sorted, frame.count);
  const nanoseconds_t announce = frame.announce;
  if (announce != never) model::env<reads_after_the_last_unlock>::announce_timer(announce);
}

}  // namespace weft::rt

namespace {

using mc::finds;
using mc::holds;
using model::book;
using model::cell;
using model::env;
using weft::chan_status;
using weft::rt::select_outcome;
using weft::rt::wait_outcome;

// One case: a value that is sent, or 0 for a receive.
template <class Env>
struct wanted {
  book<Env>* on;
  int sends = 0;
};

// A select over two cases, entered into the books.
template <class Env>
[[gnu::noinline]] select_outcome choose(wanted<Env> first, wanted<Env> second, weft::rt::select_request how = {}) {
  using select = weft::rt::basic_select<Env>;
  using channel = weft::rt::basic_chan<Env>;
  const wanted<Env> cases[2] = {first, second};
  cell cells[2];
  weft::detail::select_entry entries[2];
  for (int i = 0; i < 2; ++i) {
    cells[i].value = int{cases[i].sends};
    entries[i] = {cases[i].sends != 0 ? &channel::send_case : &channel::receive_case, &cases[i].on->channel, &cells[i]};
  }
  std::uint32_t order[2], sorted[2];
  alignas(typename select::node) std::byte room[2 * sizeof(typename select::node)];
  const select_outcome found = select(entries, 2, order, sorted, room).run(how);
  for (std::uint32_t i = 0; i < 2; ++i) {
    book<Env>& b = *cases[i].on;
    const bool done = found.how == wait_outcome::ok && !found.none && found.index == i;
    if (cases[i].sends != 0) {
      mc::check((cells[i].value == 0) == done, "a value is gone if, and only if, its case was the one");
      if (done) b.sent[b.sent_count++] = cases[i].sends;
      cells[i].value = 0;
    } else {
      mc::check((cells[i].value != 0) == done, "a value is there if, and only if, its case was the one");
      if (done) b.took(cells[i]);
    }
  }
  return found;
}

constexpr weft::rt::select_request timed{.deadline = model::plain_env::a_deadline};
constexpr weft::rt::select_request at_once{.blocking = false};

// A select that receives from two channels. One thread sends to the first and closes it, another sends to the second,
// or cancels.
template <class Env>
mc::result two_senders(bool cancel, mc::options how) {
  return mc::explore(how, [cancel] {
    typename Env::world world;
    typename Env::fiber chooser;
    book<Env> a(0), b(0);
    select_outcome got;
    world.add(chooser, [&] {
      got = choose<Env>({&a}, {&b});
      KEEP_FRAME();
    });
    world.run({[&] {
                 a.try_send(1);
                 a.channel.close();
               },
               [&] {
                 if (cancel)
                   Env::cancel({&chooser});
                 else
                   b.try_send(2);
               }});
    mc::check(got.how == wait_outcome::ok || (got.how == wait_outcome::closed && got.index == 0) ||
                  (got.how == wait_outcome::cancelled && cancel),
              "nothing else can end it");
    mc::check(a.sent_count + b.sent_count == (got.how == wait_outcome::ok ? 1U : 0U), "one case was done, or none");
    a.balance();
    b.balance();
    mc::check(b.try_send(3) == chan_status::full, "nobody is left in the queue");
  });
}

// Two selects, each of which would send to the other and receive from it: they pair over one of the channels.
template <class Env>
mc::result face_to_face(bool cancel, mc::options how) {
  return mc::explore(how, [cancel] {
    typename Env::world world;
    typename Env::fiber left, right;
    book<Env> a(0), b(0);
    select_outcome got[2];
    world.add(left, [&] {
      got[0] = choose<Env>({&a, 1}, {&b});
      KEEP_FRAME();
    });
    world.add(right, [&] {
      got[1] = choose<Env>({&b, 2}, {&a});
      KEEP_FRAME();
    });
    if (cancel)
      world.run({[&] { Env::cancel({&left, &right}); }});
    else
      world.run();
    mc::check(got[0].how == got[1].how, "both, or none");
    mc::check(got[0].how == wait_outcome::ok || cancel, "nobody cancels them");
    if (got[0].how == wait_outcome::ok) mc::check(got[0].index != got[1].index, "they agree on the channel");
    mc::check(a.sent_count + b.sent_count == (got[0].how == wait_outcome::ok ? 1U : 0U), "one value, or none");
    a.balance();
    b.balance();
  });
}

// Both cases on one channel: the select does not pair with itself, and takes both waiters away.
template <class Env>
mc::result with_itself(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber chooser;
    book<Env> a(0);
    select_outcome got;
    chan_status other{};
    world.add(chooser, [&] {
      got = choose<Env>({&a, 1}, {&a}, timed);
      KEEP_FRAME();
    });
    world.run({[&] { other = a.try_receive(); }, [&] { world.fire_timers(); }});
    mc::check((got.how == wait_outcome::ok) == (other == chan_status::ok), "both, or none");
    mc::check(got.how == wait_outcome::ok || got.how == wait_outcome::timed_out, "nothing else can end it");
    mc::check(a.try_send(2) == chan_status::full && a.try_receive() == chan_status::empty, "nobody is left");
    a.balance();
  });
}

// Several selects share a channel that is closed: each hears of it once.
template <class Env>
mc::result shared_close(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber first, second;
    book<Env> done(0), a(0), b(0);
    select_outcome got[2];
    world.add(first, [&] {
      got[0] = choose<Env>({&done}, {&a});
      KEEP_FRAME();
    });
    world.add(second, [&] {
      got[1] = choose<Env>({&b}, {&done});
      KEEP_FRAME();
    });
    world.run({[&] { done.channel.close(); }, [&] { a.try_send(1); }});
    mc::check(got[1].how == wait_outcome::closed && got[1].index == 1, "the close ends it");
    mc::check(got[0].how == (a.sent_count == 1 ? wait_outcome::ok : wait_outcome::closed), "the first to come ends it");
    mc::check(b.try_send(2) == chan_status::full, "nobody is left");
    a.balance();
  });
}

// At every moment one of two rings holds a value, first one and then the other: a select with a default finds it.
template <class Env>
mc::result one_is_always_ready(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber chooser;
    book<Env> a(1), b(1);
    a.try_send(1);
    world.add(chooser, [&] {
      const select_outcome got = choose<Env>({&a}, {&b}, at_once);
      KEEP_FRAME();
      mc::check(!got.none, "one of them is ready at any moment");
    });
    world.run({[&] {
      b.try_send(2);
      a.try_receive();
    }});
    a.balance();
    b.balance();
  });
}

// The second becomes ready only after the first: a biased select never takes the second.
template <class Env>
mc::result in_order(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber chooser;
    book<Env> a(1), b(1);
    world.add(chooser, [&] {
      const select_outcome got = choose<Env>({&a}, {&b}, {.biased = true});
      KEEP_FRAME();
      mc::check(got.how == wait_outcome::ok && got.index == 0, "the first in order");
    });
    world.run({[&] {
      a.try_send(1);
      b.try_send(2);
    }});
    a.balance();
    b.balance();
  });
}

// A channel whose receivers have stripes: two selects on it, a close of it, and a value for the first elsewhere.
template <class Env>
mc::result striped_close(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber first, second;
    book<Env> done(0), a(0), b(0);
    done.channel.split();
    select_outcome got[2];
    world.add(first, [&] {
      got[0] = choose<Env>({&done}, {&a});
      KEEP_FRAME();
    });
    world.add(second, [&] {
      got[1] = choose<Env>({&b}, {&done});
      KEEP_FRAME();
    });
    world.run({[&] { mc::check(done.channel.close(), "it is closed once"); }, [&] { a.try_send(1); }});
    mc::check(got[1].how == wait_outcome::closed && got[1].index == 1, "the close ends it");
    mc::check(got[0].how == (a.sent_count == 1 ? wait_outcome::ok : wait_outcome::closed), "the first to come ends it");
    a.balance();
  });
}

// Somebody sends to a channel whose receivers have stripes, once by itself and once by a select.
template <class Env>
mc::result striped_send(bool by_select, bool cancel, mc::options how) {
  return mc::explore(how, [by_select, cancel] {
    typename Env::world world;
    typename Env::fiber receiver, sender;
    book<Env> c(0), quiet(0);
    c.channel.split();
    select_outcome got, gave;
    world.add(receiver, [&] {
      got = choose<Env>({&c}, {&quiet});
      KEEP_FRAME();
    });
    world.add(sender, [&] {
      if (by_select)
        gave = choose<Env>({&c, 1}, {&quiet});
      else
        gave.how = c.send(1, true);
      KEEP_FRAME();
    });
    if (cancel)
      world.run({[&] { Env::cancel({&receiver, &sender}); }});
    else
      world.run();
    mc::check(got.how == gave.how && (got.how == wait_outcome::ok || cancel), "both, or none");
    c.balance();
    mc::check(c.try_send(2) == chan_status::full && c.try_receive() == chan_status::empty, "nobody is left");
  });
}

// Two receivers in stripes, which are gathered while one of them goes away: first come, first served.
template <class Env>
mc::result striped_order(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber first, second;
    book<Env> c(0), a(0), b(0);
    c.channel.split();
    select_outcome got[2];
    world.add(first, [&] {
      got[0] = choose<Env>({&c}, {&a});
      KEEP_FRAME();
    });
    world.add(second, [&] {
      got[1] = choose<Env>({&c}, {&b});
      KEEP_FRAME();
    });
    world.run({[&] {
                 c.try_send(1);
                 c.channel.close();
               },
               [&] { a.try_send(2); }});
    for (const select_outcome& one : got) mc::check(one.how != wait_outcome::cancelled, "a value or the close ends it");
    c.balance();
    a.balance();
  });
}

using plain = env<model::faithful>;

TEST(select, one_of_two) { EXPECT_TRUE(holds(two_senders<plain>(false, {.name = "select, two senders, close"}))); }
TEST(select, one_of_two_or_cancelled) {
  EXPECT_TRUE(holds(two_senders<plain>(true, {.name = "select, sender, close, cancel"})));
}
TEST(select, face_to_face) { EXPECT_TRUE(holds(face_to_face<plain>(false, {.name = "two selects face to face"}))); }
TEST(select, face_to_face_and_cancelled) {
  EXPECT_TRUE(holds(face_to_face<plain>(true, {.name = "two selects face to face, cancel"})));
}
TEST(select, with_itself) { EXPECT_TRUE(holds(with_itself<plain>({.name = "a select with itself, deadline"}))); }
TEST(select, shared_close) { EXPECT_TRUE(holds(shared_close<plain>({.name = "two selects share a close"}))); }
TEST(select, default_is_one_look_at_all) {
  EXPECT_TRUE(holds(one_is_always_ready<plain>({.name = "select with default"})));
}
TEST(select, biased_is_one_look_at_all) { EXPECT_TRUE(holds(in_order<plain>({.name = "biased select"}))); }

TEST(stripes, close) { EXPECT_TRUE(holds(striped_close<plain>({.name = "stripes, close", .bound = 1}))); }
TEST(stripes, send) { EXPECT_TRUE(holds(striped_send<plain>(false, false, {.name = "stripes, send"}))); }
TEST(stripes, send_and_cancel) {
  EXPECT_TRUE(holds(striped_send<plain>(false, true, {.name = "stripes, send, cancel", .bound = 1})));
}
TEST(stripes, select_sends) { EXPECT_TRUE(holds(striped_send<plain>(true, false, {.name = "stripes, select"}))); }
TEST(stripes, select_sends_and_cancel) {
  EXPECT_TRUE(holds(striped_send<plain>(true, true, {.name = "stripes, select, cancel", .bound = 1})));
}
TEST(stripes, gathered_while_one_leaves) {
  EXPECT_TRUE(holds(striped_order<plain>({.name = "stripes, gather", .bound = 1})));
}

TEST(stripes_random, close) {
  EXPECT_TRUE(holds(striped_close<plain>({.name = "stripes, close", .bound = -1, .random = 100'000})));
}
TEST(stripes_random, select_sends_and_cancel) {
  EXPECT_TRUE(holds(striped_send<plain>(true, true, {.name = "stripes, select", .bound = -1, .random = 100'000})));
}
TEST(stripes_random, gathered_while_one_leaves) {
  EXPECT_TRUE(holds(striped_order<plain>({.name = "stripes, gather", .bound = -1, .random = 100'000})));
}

TEST(select_random, face_to_face_and_cancelled) {
  EXPECT_TRUE(holds(face_to_face<plain>(true, {.name = "face to face", .bound = -1, .random = 200'000})));
}
TEST(select_random, shared_close) {
  EXPECT_TRUE(holds(shared_close<plain>({.name = "shared close", .bound = -1, .random = 200'000, .seed = 2})));
}

// --- mutants ---------------------------------------------------------------------------------------------------------

TEST(stripes_mutant, place_not_looked_up_again) {
  EXPECT_TRUE(finds(striped_order<env<weft::rt::trusts_the_place>>({.name = "place not looked up again"})));
}
TEST(stripes_mutant, place_not_checked_before_the_wait) {
  EXPECT_TRUE(finds(striped_send<env<weft::rt::waits_where_it_was>>(false, false, {.name = "waits where it was"})));
}
TEST(stripes_mutant, close_without_the_stripes) {
  EXPECT_TRUE(finds(striped_close<env<weft::rt::forgets_the_stripes>>({.name = "forgets the stripes"})));
}

struct no_look : model::faithful {
  static constexpr bool looks_at_the_flag = false;
};
struct no_barrier : model::faithful {
  static constexpr model::barrier between_flag_and_claim = model::barrier::none;
};
struct published_before_saved : model::faithful {
  static constexpr bool waits_until_off_cpu = false;
};

TEST(select_mutant, links_after_looks) {
  EXPECT_TRUE(finds(two_senders<env<weft::rt::links_after_looks>>(false, {.name = "links after looks"})));
}
TEST(select_mutant, claim_without_asking) {
  EXPECT_TRUE(finds(two_senders<env<weft::rt::claims_without_asking>>(false, {.name = "no claim"})));
}
TEST(select_mutant, no_lock_on_resume) {
  EXPECT_TRUE(finds(two_senders<env<weft::rt::peeks>>(false, {.name = "no lock on resume"})));
}
TEST(select_mutant, losers_stay_linked) {
  EXPECT_TRUE(finds(two_senders<env<weft::rt::keeps_the_losers>>(false, {.name = "losers stay linked"})));
}
TEST(select_mutant, hook_reads_after_the_last_unlock) {
  EXPECT_TRUE(finds(with_itself<env<weft::rt::reads_after_the_last_unlock>>({.name = "the hook reads on"})));
}
TEST(select_mutant, default_by_looks_alone) {
  EXPECT_TRUE(finds(one_is_always_ready<env<weft::rt::decides_by_looks>>({.name = "default by looks alone"})));
}
TEST(select_mutant, biased_by_looks_alone) {
  EXPECT_TRUE(finds(in_order<env<weft::rt::decides_by_looks>>({.name = "biased by looks alone"})));
}
TEST(select_mutant, no_look_at_the_flag) {
  EXPECT_TRUE(finds(face_to_face<env<no_look>>(true, {.name = "no look at the flag"}), "lost wake-up"));
}
TEST(select_mutant, no_barrier) {
  EXPECT_TRUE(finds(face_to_face<env<no_barrier>>(true, {.name = "no barrier"}), "lost wake-up"));
}
TEST(select_mutant, published_before_it_is_saved) {
  EXPECT_TRUE(finds(with_itself<env<published_before_saved>>({.name = "no on_cpu"})));
}

}  // namespace
