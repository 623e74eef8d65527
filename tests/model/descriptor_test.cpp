// SPDX-License-Identifier: Apache-2.0
//
// The production descriptor (netpoll/descriptor.hpp) under the model checker, over the production wait protocol: a
// socket reduced to a count of bytes, readers that make the call first and park on its "nothing there", and a poller
// that reports edges, against a close, a deadline and a canceller. Whatever comes first: no byte is lost or read twice,
// nobody sleeps for ever on bytes that are there, and a close returns when those inside have left.
//
// What the head of descriptor.hpp says must not be left out is left out here in turn, and the checker must notice.
#include "netpoll/descriptor.hpp"

#include <gtest/gtest.h>

#include <mutex>

#include "tests/model/wait_env.hpp"

namespace {

using mc::finds;
using mc::holds;
using weft::rt::basic_descriptor;
using weft::rt::direction;
using weft::rt::wait_outcome;

// A world whose clock stands until its deadline has come. `Name` tells the mutants' worlds apart.
template <class Name>
struct socket_env : model::env<model::faithful> {
  static inline weft::rt::nanoseconds_t time = 0;
  static weft::rt::nanoseconds_t now() { return time; }
};

struct socket {
  mc::mutex kernel;
  int bytes = 0;

  // Takes up to `wanted`; 0 stands for EAGAIN.
  int receive(int wanted) {
    const std::lock_guard g(kernel);
    const int n = bytes < wanted ? bytes : wanted;
    bytes -= n;
    return n;
  }
  bool has_bytes() {
    const std::lock_guard g(kernel);
    return bytes != 0;
  }
  void arrive(int n) {
    const std::lock_guard g(kernel);
    bytes += n;
  }
};

template <class Env>
struct connection {
  connection() { d.open(3, true); }

  basic_descriptor<Env> d;
  socket s;
  int inside = 0;               // of operations; no part of what is modelled
  bool file_is_closed = false;  // nor this

  // As read_some does it. The number of bytes, or 0 and how it ended.
  [[gnu::noinline]] int read(int wanted, wait_outcome& how) {
    how = d.begin(direction::read);
    if (how != wait_outcome::ok) return 0;
    ++inside;
    int n = 0;
    while ((n = s.receive(wanted)) == 0) {
      how = d.wait(direction::read);
      if (how != wait_outcome::ok) break;
    }
    --inside;
    d.end(direction::read, n > 0 && n < wanted);
    return n;
  }

  // As await_readiness does it: waits until there is something, and leaves it there.
  [[gnu::noinline]] wait_outcome look() {
    if (!d.hold()) return wait_outcome::closed;
    ++inside;
    typename basic_descriptor<Env>::look l;
    l.of = &d;
    wait_outcome how = wait_outcome::ok;
    for (bool there = false; how == wait_outcome::ok && !there;) {
      how = d.begin_look(l);
      if (how == wait_outcome::ok) there = s.has_bytes();
      if (how == wait_outcome::ok && !there) how = basic_descriptor<Env>::wait_for_edge(&l, 1);
    }
    --inside;
    d.drop();
    return how;
  }

  // Bytes come, and the poller reports it: an edge each.
  void bytes_come(int n) {
    s.arrive(n);
    typename Env::batch ready;
    mc::check(d.event(d.generation(), {true, true, false}, ready), "the event is for this one");
    Env::wake_all(ready);
  }
  void close() {
    mc::check(d.close(), "there is one who closes");
    mc::check(inside == 0, "who was inside has left when close returns");
    file_is_closed = true;
    d.finish_close();
  }
  // The owner's end of it, who has heard that it is closed.
  void release() {
    if (!d.close()) d.wait_until_closed();
    mc::check(file_is_closed, "the slot is given back when nobody is at it any more");
  }
};

struct cast {
  int readers = 1;
  int lookers = 0;  // who wait until something is there, and do not read
  int reads_each = 1;
  int wanted = 1;    // at a time
  int arrivals = 1;  // edges
  int a_time = 1;    // bytes with each
  bool cancelled = false, closed = false, timed = false, moved = false;
  bool released = false;  // by the first reader, as it hears of the close
  bool cleared = false;   // the deadline, by somebody else: it has not passed for those who look again
};

template <class Env>
mc::result play(const cast& it, mc::options how) {
  return mc::explore(how, [it] {
    using fiber = typename Env::fiber;
    Env::time = 0;
    typename Env::world world;
    connection<Env> c;
    fiber fibers[2];
    int got = 0;
    wait_outcome last[2] = {wait_outcome::ok, wait_outcome::ok};
    if (it.timed) c.d.set_deadline(direction::read, Env::a_deadline);
    for (int i = 0; i < it.readers; ++i) {
      world.add(fibers[i], [&, i] {
        for (int k = 0; k < it.reads_each && last[i] == wait_outcome::ok; ++k) {
          got += c.read(it.wanted, last[i]);
          KEEP_FRAME();
        }
        if (it.released && i == 0 && last[i] == wait_outcome::closed) c.release();
        KEEP_FRAME();
      });
    }
    for (int i = it.readers; i < it.readers + it.lookers; ++i)
      world.add(fibers[i], [&, i] {
        last[i] = c.look();
        KEEP_FRAME();
      });
    const auto poller = [&] {
      for (int i = 0; i < it.arrivals; ++i) c.bytes_come(it.a_time);
    };
    const auto canceller = [&] { Env::cancel({&fibers[0]}); };
    const auto timers = [&] {
      Env::time = Env::a_deadline;
      world.fire_timers();
    };
    fiber closer;
    if (it.closed)
      world.add(closer, [&] {
        c.close();
        KEEP_FRAME();
      });
    const auto clearer = [&] { c.d.set_deadline(direction::read, weft::rt::never); };
    const auto mover = [&] { c.d.set_deadline(direction::read, 0); };
    if (it.cancelled && it.timed)
      world.run({poller, canceller, timers});
    else if (it.cancelled)
      world.run({poller, canceller});
    else if (it.timed && it.cleared)
      world.run({poller, timers, clearer});
    else if (it.timed)
      world.run({poller, timers});
    else if (it.moved)
      world.run({poller, mover});
    else
      world.run({poller});
    mc::check(got + c.s.bytes == it.arrivals * it.a_time, "no byte is lost or read twice");
    const bool all = got == it.arrivals * it.a_time;
    for (int i = 0; i < it.readers + it.lookers; ++i) {
      mc::check(last[i] != wait_outcome::cancelled || (it.cancelled && i == 0), "only who was cancelled hears it");
      mc::check(last[i] != wait_outcome::timed_out || it.timed || it.moved, "only who has a deadline is late");
      mc::check(last[i] != wait_outcome::closed || it.closed, "only a close says closed");
    }
    if (!it.cancelled && !it.closed && !it.timed && !it.moved && it.lookers == 0) mc::check(all, "everything was read");
  });
}

struct faithful;
using plain = socket_env<faithful>;

TEST(descriptor, an_edge_wakes_the_reader) { EXPECT_TRUE(holds(play<plain>({}, {.name = "edge", .bound = -1}))); }
TEST(descriptor, two_reads_two_edges) {
  EXPECT_TRUE(holds(play<plain>({.reads_each = 2, .arrivals = 2}, {.name = "two reads, two edges"})));
}
TEST(descriptor, one_edge_for_two_bytes) {
  EXPECT_TRUE(holds(play<plain>({.reads_each = 2, .a_time = 2}, {.name = "two reads, one edge"})));
}
// Each read asks for more than there is, so that the second parks without asking.
TEST(descriptor, a_short_read_tells_that_nothing_is_left) {
  EXPECT_TRUE(holds(play<plain>({.reads_each = 2, .wanted = 3, .arrivals = 2, .a_time = 2, .closed = true},
                                {.name = "short reads, close", .bound = 1})));
}
TEST(descriptor, two_readers_queue) {
  EXPECT_TRUE(holds(play<plain>({.readers = 2, .arrivals = 2}, {.name = "two readers", .bound = 1})));
}
TEST(descriptor, edge_or_cancel) { EXPECT_TRUE(holds(play<plain>({.cancelled = true}, {.name = "edge, cancel"}))); }
TEST(descriptor, edge_or_cancel_then_the_next_reader) {
  EXPECT_TRUE(holds(
      play<plain>({.readers = 2, .a_time = 2, .cancelled = true}, {.name = "edge, cancel, two readers", .bound = 1})));
}
TEST(descriptor, edge_or_deadline) { EXPECT_TRUE(holds(play<plain>({.timed = true}, {.name = "edge, deadline"}))); }
TEST(descriptor, edge_cancel_or_deadline) {
  EXPECT_TRUE(holds(play<plain>({.cancelled = true, .timed = true}, {.name = "edge, cancel, deadline", .bound = 1})));
}
TEST(descriptor, edge_or_moved_deadline) {
  EXPECT_TRUE(holds(play<plain>({.moved = true}, {.name = "edge, deadline moved"})));
}
TEST(descriptor, nothing_but_a_moved_deadline) {
  EXPECT_TRUE(holds(play<plain>({.readers = 2, .arrivals = 0, .moved = true}, {.name = "deadline moved"})));
}
TEST(descriptor, edge_or_deadline_that_is_cleared) {
  EXPECT_TRUE(holds(play<plain>({.timed = true, .cleared = true}, {.name = "edge, deadline cleared", .bound = 1})));
}
TEST(descriptor, edge_or_close) { EXPECT_TRUE(holds(play<plain>({.closed = true}, {.name = "edge, close"}))); }
TEST(descriptor, close_and_a_reader_that_gives_the_slot_back) {
  EXPECT_TRUE(holds(play<plain>({.closed = true, .released = true}, {.name = "edge, close, release"})));
}
TEST(descriptor, close_with_a_queue) {
  EXPECT_TRUE(holds(play<plain>({.readers = 2, .closed = true}, {.name = "two readers, close", .bound = 1})));
}
TEST(descriptor, edge_close_or_cancel) {
  EXPECT_TRUE(holds(play<plain>({.cancelled = true, .closed = true}, {.name = "edge, close, cancel", .bound = 1})));
}

TEST(descriptor, an_edge_wakes_who_only_looks) {
  EXPECT_TRUE(holds(play<plain>({.readers = 0, .lookers = 1}, {.name = "look", .bound = -1})));
}
TEST(descriptor, an_edge_wakes_all_who_look) {
  EXPECT_TRUE(holds(play<plain>({.readers = 0, .lookers = 2}, {.name = "two looks", .bound = 1})));
}
TEST(descriptor, a_reader_and_one_who_looks_until_a_close) {
  EXPECT_TRUE(holds(play<plain>({.lookers = 1, .closed = true}, {.name = "reader, look, close", .bound = 1})));
}
TEST(descriptor, a_look_and_a_close) {
  EXPECT_TRUE(holds(play<plain>({.readers = 0, .lookers = 1, .closed = true}, {.name = "look, close"})));
}
TEST(descriptor, a_look_and_a_cancellation) {
  EXPECT_TRUE(holds(play<plain>({.readers = 0, .lookers = 1, .cancelled = true}, {.name = "look, cancel"})));
}
TEST(descriptor, a_look_and_a_deadline) {
  EXPECT_TRUE(holds(play<plain>({.readers = 0, .lookers = 1, .timed = true}, {.name = "look, deadline"})));
}
TEST(descriptor, a_look_and_a_deadline_that_is_moved) {
  EXPECT_TRUE(
      holds(play<plain>({.readers = 0, .lookers = 1, .arrivals = 0, .moved = true}, {.name = "look, deadline moved"})));
}

// --- mutants

struct edges_not_counted;
struct edge_not_sticky;
struct ready_ignored;
struct no_last_one_out;
struct no_eviction;
struct ready_cleared_without_a_call;
struct owner_does_not_wait;
struct nobody_tells_the_owner;

}  // namespace

namespace weft::rt {

// T5 without "the edge stays": it is spent on somebody whom a timer has claimed, and who parks again without a call,
// since his deadline was moved.
template <>
void basic_descriptor<socket_env<edge_not_sticky>>::edge(side& s, batch& ready) noexcept {
  if (s.waiters.head == nullptr) {
    s.ready = true;
    return;
  }
  if (auto* g = claimed(s.waiters, wait_result::ok)) ready.push_back(g);
}

// An edge between the question to the kernel and the park goes unseen.
template <>
select_step<socket_env<edges_not_counted>> basic_descriptor<socket_env<edges_not_counted>>::attempt_look(
    void* object, socket_env<edges_not_counted>::lock*, void*) noexcept {
  const look& l = *static_cast<look*>(object);
  if (l.of->closed_) return {true, wait_result::closed};
  return {};
}

// T1 left out: an edge that came between EAGAIN and the lock is forgotten.
template <>
wait_outcome basic_descriptor<socket_env<ready_ignored>>::wait_locked(side& s, nanoseconds_t) noexcept {
  node w;
  return lock_.wait(s.waiters, w, {wait_reason::io_wait, true, s.deadline});
}

// Nobody tells the closer.
template <>
socket_env<no_last_one_out>::fiber* basic_descriptor<socket_env<no_last_one_out>>::last_one_out() noexcept {
  return nullptr;
}

// T11 without waking those who wait.
template <>
socket_env<no_eviction>::fiber* basic_descriptor<socket_env<no_eviction>>::claimed(detail::wait_list& list,
                                                                                   wait_result how) noexcept {
  if (how == wait_result::closed) return nullptr;
  wait_queue<socket_env<no_eviction>> queue(list);
  node* const w = queue.pop_claimed();
  if (w == nullptr) return nullptr;
  w->result = how;
  return w->g;
}

// As Go clears it, at the start of each operation, although this one parks without a call.
template <>
wait_outcome basic_descriptor<socket_env<ready_cleared_without_a_call>>::begin(direction d) noexcept {
  side& s = of(d);
  lock_.lock();
  s.busy = true;
  s.ready = false;
  if (s.drained) {
    s.drained = false;
    return kept_if_ok(d, wait_locked(s));
  }
  lock_.unlock();
  return wait_outcome::ok;
}

// The slot goes while the closer is still to close the number.
template <>
void basic_descriptor<socket_env<owner_does_not_wait>>::wait_until_closed() noexcept {}

template <>
void basic_descriptor<socket_env<nobody_tells_the_owner>>::finish_close() noexcept {
  lock_.lock();
  closing_ = false;
  lock_.unlock();
}

}  // namespace weft::rt

namespace {

TEST(descriptor_mutant, edges_not_counted) {
  EXPECT_TRUE(finds(play<socket_env<edges_not_counted>>({.readers = 0, .lookers = 1}, {.name = "mutant"})));
}
TEST(descriptor_mutant, edge_not_sticky) {
  EXPECT_TRUE(
      finds(play<socket_env<edge_not_sticky>>({.timed = true, .cleared = true}, {.name = "mutant", .bound = 2})));
}
TEST(descriptor_mutant, ready_ignored) { EXPECT_TRUE(finds(play<socket_env<ready_ignored>>({}, {.name = "mutant"}))); }
TEST(descriptor_mutant, no_last_one_out) {
  EXPECT_TRUE(finds(play<socket_env<no_last_one_out>>({.closed = true}, {.name = "mutant"})));
}
TEST(descriptor_mutant, no_eviction) {
  EXPECT_TRUE(finds(play<socket_env<no_eviction>>({.arrivals = 0, .closed = true}, {.name = "mutant"})));
}
TEST(descriptor_mutant, owner_does_not_wait) {
  EXPECT_TRUE(finds(play<socket_env<owner_does_not_wait>>({.closed = true, .released = true}, {.name = "mutant"})));
}
TEST(descriptor_mutant, nobody_tells_the_owner) {
  EXPECT_TRUE(finds(play<socket_env<nobody_tells_the_owner>>({.closed = true, .released = true}, {.name = "mutant"})));
}
TEST(descriptor_mutant, ready_cleared_without_a_call) {
  EXPECT_TRUE(finds(play<socket_env<ready_cleared_without_a_call>>(
      {.reads_each = 2, .wanted = 3, .arrivals = 2, .a_time = 2}, {.name = "mutant", .bound = 2})));
}

}  // namespace
