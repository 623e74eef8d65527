// SPDX-License-Identifier: Apache-2.0
//
// The production channel (runtime/sync/basic_chan.hpp) over the production wait protocol under the model checker.
// Whatever the schedule: a value is in one place at a time, none is lost, doubled or overtaken; a sender whose value
// was taken hears `ok`, any other still has it; nothing lands in the slot of a wait that ended otherwise; nobody sleeps
// for ever.
#include <gtest/gtest.h>

#include "tests/model/chan_book.hpp"

namespace weft::rt {

// Mutants: copies of functions that do one thing wrong.
struct moves_before_it_claims : model::faithful {};
struct claims_without_asking : model::faithful {};

template <>
select_step<model::env<moves_before_it_claims>> basic_chan<model::env<moves_before_it_claims>>::send_now(
    void* value) noexcept {
  wait_queue<model::env<moves_before_it_claims>> queue(receivers_);
  while (node* const w = queue.front()) {
    queue.remove(w);
    move(w->slot, value);
    if (w->claim()) return served(w);
  }
  if (count_ == capacity_) return {};
  push_ring(value);
  return {true, wait_result::ok, nullptr};
}

template <>
bool waiter<model::env<claims_without_asking>>::claim() noexcept {
  fiber* const owner = g;
  owner->wait.claim_sole(wait_token);
  return true;
}

}  // namespace weft::rt

namespace {

using mc::finds;
using mc::holds;
using model::book;
using model::env;
using weft::chan_status;
using weft::rt::wait_outcome;

// A sender and a receiver, both cancelled at some time: either the value has gone over for both of them, or for none.
template <class Env>
mc::result rendezvous(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber sender, receiver;
    book<Env> b(0);
    wait_outcome sent{}, received{};
    world.add(sender, [&] {
      sent = b.send(1, true);
      KEEP_FRAME();
    });
    world.add(receiver, [&] {
      received = b.receive(true);
      KEEP_FRAME();
    });
    world.run({[&] { Env::cancel({&sender, &receiver}); }});
    mc::check(sent == received, "both, or none");
    mc::check(sent == wait_outcome::ok || sent == wait_outcome::cancelled, "nothing else can happen");
    b.balance();
  });
}

// Only the receiver is cancelled; the sender goes on waiting for it until the channel is closed.
template <class Env>
mc::result cancel_then_close(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber sender, receiver;
    book<Env> b(0);
    wait_outcome sent{}, received{};
    world.add(sender, [&] {
      sent = b.send(1);
      KEEP_FRAME();
    });
    world.add(receiver, [&] {
      received = b.receive(true);
      KEEP_FRAME();
    });
    world.run({[&] {
      Env::cancel({&receiver});
      mc::check(b.channel.close(), "it is closed once");
    }});
    mc::check((sent == wait_outcome::ok) == (received == wait_outcome::ok), "both, or none");
    mc::check(sent == wait_outcome::ok || sent == wait_outcome::closed, "nobody cancels the sender");
    mc::check(!b.channel.close(), "and not twice");
    b.balance();
  });
}

// Two senders, of which the first may be cancelled, and a receiver that takes what comes.
template <class Env>
mc::result two_senders(bool cancel, mc::options how) {
  return mc::explore(how, [cancel] {
    typename Env::world world;
    typename Env::fiber first, second, receiver;
    book<Env> b(0);
    wait_outcome sent[2] = {};
    world.add(first, [&] {
      sent[0] = b.send(1, cancel);
      KEEP_FRAME();
    });
    world.add(second, [&] {
      sent[1] = b.send(2);
      KEEP_FRAME();
    });
    world.add(receiver, [&] {
      const wait_outcome received = b.receive();
      KEEP_FRAME();
      if (cancel) return;
      mc::check(received == wait_outcome::ok, "there is a sender");
      mc::check(b.receive() == wait_outcome::ok, "there is another");
      KEEP_FRAME();
    });
    if (cancel) {
      world.run({[&] {
        Env::cancel({&first});
        b.channel.close();
      }});
    } else {
      world.run();
      mc::check(sent[0] == wait_outcome::ok && sent[1] == wait_outcome::ok, "both are received");
    }
    mc::check(sent[1] != wait_outcome::cancelled, "only who is cancelled hears it");
    b.balance();
  });
}

// A receiver that gives up after a time, and then closes the channel for the sender's sake.
template <class Env>
mc::result patience(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber sender, receiver;
    book<Env> b(0);
    wait_outcome sent{}, received{};
    world.add(sender, [&] {
      sent = b.send(1);
      KEEP_FRAME();
    });
    world.add(receiver, [&] {
      received = b.receive(false, true);
      KEEP_FRAME();
      if (received == wait_outcome::timed_out) b.channel.close();
    });
    world.run({[&] { world.fire_timers(); }});
    mc::check(received == wait_outcome::ok || received == wait_outcome::timed_out, "nobody else ends it");
    mc::check((sent == wait_outcome::ok) == (received == wait_outcome::ok), "both, or none");
    b.balance();
  });
}

// Two receivers, of which the first is cancelled; a close lets both go.
template <class Env>
mc::result close_receivers(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber first, second;
    book<Env> b(0);
    wait_outcome outcomes[2] = {};
    world.add(first, [&] {
      outcomes[0] = b.receive(true);
      KEEP_FRAME();
    });
    world.add(second, [&] {
      outcomes[1] = b.receive();
      KEEP_FRAME();
    });
    world.run({[&] { b.channel.close(); }, [&] { Env::cancel({&first}); }});
    mc::check(outcomes[0] == wait_outcome::closed || outcomes[0] == wait_outcome::cancelled, "one of the two ends it");
    mc::check(outcomes[1] == wait_outcome::closed, "the close ends it");
    b.balance();
  });
}

// A full ring with a sender behind it: a receive moves its value up, unless it was cancelled.
template <class Env>
mc::result full_ring(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber sender, receiver;
    book<Env> b(1);
    wait_outcome sent{};
    mc::check(b.try_send(1) == chan_status::ok && b.try_send(3) == chan_status::full, "there is room for one");
    world.add(sender, [&] {
      sent = b.send(2, true);
      KEEP_FRAME();
    });
    world.add(receiver, [&] {
      mc::check(b.receive() == wait_outcome::ok, "the ring is full");
      KEEP_FRAME();
      b.try_receive();
    });
    world.run({[&] { Env::cancel({&sender}); }});
    mc::check(sent == wait_outcome::ok || sent == wait_outcome::cancelled, "nothing else can happen");
    mc::check(b.received[0] == 1, "first in, first out");
    b.balance();
  });
}

// Those who do not wait meet those who do.
template <class Env>
mc::result attempts(mc::options how) {
  return mc::explore(how, [] {
    typename Env::world world;
    typename Env::fiber sender;
    book<Env> b(0);
    wait_outcome sent{};
    chan_status seen{};
    world.add(sender, [&] {
      sent = b.send(1, true);
      KEEP_FRAME();
    });
    world.run({[&] { seen = b.try_receive(); }, [&] { Env::cancel({&sender}); }});
    mc::check((sent == wait_outcome::ok) == (seen == chan_status::ok), "both, or none");
    b.channel.close();
    mc::check(b.try_send(2) == chan_status::closed && b.try_receive() == chan_status::closed, "closed and drained");
    b.balance();
  });
}

// All at once, for random schedules: two senders, two receivers, a ring of one, deadlines, a cancellation and a close.
template <class Env>
mc::result crowd(std::size_t capacity, mc::options how) {
  return mc::explore(how, [capacity] {
    typename Env::world world;
    typename Env::fiber fibers[4];
    book<Env> b(capacity);
    wait_outcome sent[2] = {};
    for (int i = 0; i < 2; ++i) {
      world.add(fibers[i], [&, i] {
        sent[i] = b.send(i + 1, i == 0, i == 1);
        KEEP_FRAME();
      });
      world.add(fibers[2 + i], [&, i] {
        b.receive(i == 0, i == 1);
        KEEP_FRAME();
      });
    }
    world.run({[&] {
                 Env::cancel({&fibers[0], &fibers[2]});
                 if (mc::any_of(2) == 0) b.channel.close();
               },
               [&] { world.fire_timers(); }});
    mc::check(sent[0] != wait_outcome::timed_out && sent[1] != wait_outcome::cancelled, "each by his own");
    b.balance();
  });
}

using plain = env<model::faithful>;
struct by_fences : model::faithful {
  static constexpr model::barrier between_flag_and_claim = model::barrier::fence;
  static constexpr bool parker_fences = true;
};

TEST(chan, a_value_goes_over_for_both_or_none) {
  EXPECT_TRUE(holds(rendezvous<plain>({.name = "send, receive, cancel"})));
}
TEST(chan, the_same_by_fences) {
  EXPECT_TRUE(holds(rendezvous<env<by_fences>>({.name = "send, receive, cancel, by fences"})));
}
TEST(chan, a_cancelled_receiver_takes_nothing) {
  EXPECT_TRUE(holds(cancel_then_close<plain>({.name = "send, receive, cancel, close"})));
}
TEST(chan, two_senders) { EXPECT_TRUE(holds(two_senders<plain>(false, {.name = "two senders"}))); }
TEST(chan, two_senders_and_one_is_cancelled) {
  EXPECT_TRUE(holds(two_senders<plain>(true, {.name = "two senders, cancel, close"})));
}
TEST(chan, a_receiver_that_gave_up_takes_nothing) {
  EXPECT_TRUE(holds(patience<plain>({.name = "send, receive for"})));
}
TEST(chan, close_lets_all_go) { EXPECT_TRUE(holds(close_receivers<plain>({.name = "close, two receivers, cancel"}))); }
TEST(chan, a_full_ring_moves_up) {
  EXPECT_TRUE(holds(full_ring<plain>({.name = "full ring, sender, receiver, cancel"})));
}
TEST(chan, attempts) { EXPECT_TRUE(holds(attempts<plain>({.name = "send, try_receive, cancel"}))); }

TEST(chan_random, crowd) {
  EXPECT_TRUE(holds(crowd<plain>(0, {.name = "crowd", .bound = -1, .random = 300'000})));
  EXPECT_TRUE(holds(crowd<plain>(1, {.name = "crowd, ring of one", .bound = -1, .random = 300'000, .seed = 2})));
}

// --- mutants
// ---------------------------------------------------------------------------------------------------------------------

struct no_barrier : model::faithful {
  static constexpr model::barrier between_flag_and_claim = model::barrier::none;
};
struct no_look : model::faithful {
  static constexpr bool looks_at_the_flag = false;
};
struct published_before_saved : model::faithful {
  static constexpr bool waits_until_off_cpu = false;
};

TEST(chan_mutant, value_moved_before_the_claim) {
  EXPECT_TRUE(finds(rendezvous<env<weft::rt::moves_before_it_claims>>({.name = "moved before the claim"})));
  EXPECT_TRUE(finds(patience<env<weft::rt::moves_before_it_claims>>({.name = "moved before the claim"})));
}
TEST(chan_mutant, claim_without_asking) {
  EXPECT_TRUE(finds(rendezvous<env<weft::rt::claims_without_asking>>({.name = "no claim"})));
  EXPECT_TRUE(finds(close_receivers<env<weft::rt::claims_without_asking>>({.name = "no claim"})));
}
TEST(chan_mutant, no_barrier) {
  EXPECT_TRUE(finds(rendezvous<env<no_barrier>>({.name = "no barrier"}), "lost wake-up"));
}
TEST(chan_mutant, no_look_at_the_flag) {
  EXPECT_TRUE(finds(rendezvous<env<no_look>>({.name = "no look at the flag"}), "lost wake-up"));
}
TEST(chan_mutant, published_before_it_is_saved) {
  EXPECT_TRUE(finds(patience<env<published_before_saved>>({.name = "no on_cpu"})));
}

}  // namespace
