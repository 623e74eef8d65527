// SPDX-License-Identifier: Apache-2.0
// A descriptor that fibers wait for: readiness, one reader and one writer at a time, deadlines, and a close that leaves
// no operation inside.
//
// Problem: an edge from the kernel, a close, a deadline and a cancellation may come in the same moment, on different
// threads, for one parked fiber; and the number of a closed descriptor is given out again at once, so no operation may
// be in flight when it is closed.
//
// A side (reading or writing) is held by one operation from `begin` to `end`; others queue behind it and are handed it
// in order. Only the holder parks for readiness, in `waiters`, which so has at most one entry. Everything is guarded by
// one lock per descriptor.
//
// States of a side while it is held: IDLE (ready = false, no waiter), READY (ready = true), PARKED (a waiter is
// linked).
//
//   #    actor         from -> to         under the lock                                   then
//   T1   begin, wait   READY -> IDLE      ready = false                                    the call is made (again)
//   T2   wait          IDLE -> PARKED     arm G's wait word, link, start its timer         look at the cancel flag,
//                                                                                          park; the hook unlocks
//   T3   event         IDLE -> READY      ready = true: sticky                             no fiber to wake
//   T4   event         PARKED -> IDLE     unlink, claim G: won, result = ok                made ready after the poll
//   T5   event         PARKED -> READY    unlink, claim G: lost to a timer or a canceller  the edge stays: G may park
//                                                                                          again without a call
//   T6   event         READY -> READY     coalesced
//   T7   timer         PARKED -> PARKED   (only the heap's) claim G                        G resumes: T9
//   T8   canceller     PARKED -> PARKED   (only the fiber's scope lock) claim G            G resumes: T9
//   T9   G             PARKED -> IDLE     unlink if still linked; never without the lock   late: look again (T2)
//   T10  set_deadline  PARKED -> IDLE     nearer than before: unlink, claim G              parks again (T2), or is late
//   T11  close         PARKED -> IDLE     closed; unlink, claim all, also in the queue     all woken; the close waits
//
// There is one way from parked to ready, the compare-and-swap on G's wait word in T4, T7, T8, T10, T11: the thread that
// wins it readies the fiber, once. So the side needs no claim of its own (two claim words would let an event and a
// canceller win one each).
//
// Why a lock and not a state word: a lock-free NIL/READY/waiter* costs a locked instruction more per wait (link, event,
// claim, clean-up against lock, event, claim), and its event would touch the waiter on a frame that a canceller may
// already have let go. Under the lock the frame cannot die before its fiber has taken the same lock (waiter.hpp,
// invariant 2).
//
// A copy from one descriptor to another (io::copy) waits at one of them and is to end when the other is closed or late. It
// waits by a select of two cases (`wait_beside`): its place at the one, and a place among the `watchers` of the other,
// whom a close and every moved deadline wake. Nothing else does, so a side without watchers pays one look at a list.
//
// A time-out gives each operation a limit of its own, counted from `begin`: the time that it waits for its turn is part
// of it. The limit lies in the side while the side is held, so that every wait of the holder ends by the nearer of it and
// the deadline. A side without a time-out looks at no clock for it.
//
// A fiber that only asks whether a side is ready, since another library reads and writes, holds no side: it waits for no
// turn and takes none from a reader. It notes how many edges there were (`begin_look`), asks the kernel (poll), and if
// that says no, parks among the `lookers` unless there have been more edges since. An edge before the note is seen by the
// kernel's answer, a later one by the count or by the list, so none is lost. Each edge wakes all lookers of its side.
//
// A lost edge is excluded because READY is cleared only (a) before a system call that is surely made, which sees
// whatever the edge announced, and (b) when it is consumed by T1. Spurious readiness costs one call that says EAGAIN,
// so every caller loops.
//
// Short reads. After a read that gave less than was asked for, a stream socket is empty: the next edge comes with the
// next byte. `begin` then parks at once instead of asking for an EAGAIN (4 to 7 % of a small request). That is no
// longer so once the peer has shut down or urgent data has come (one edge may announce data and FIN), or once
// the socket carries bytes another way (TLS in the kernel): then `must_probe_` is set, for good.
//
// Memory order: all plain members belong to `lock_` (acquire in lock, release in unlock). What the kernel did to the
// socket before it reported the edge it orders itself. `fd_` is written before the descriptor is published by
// EPOLL_CTL_ADD or returned, and read by holders only.
// Lock order: lock_ < timer heap's lock; of two descriptors' by their addresses (basic_select). No system call under it.
//
// Locked instructions: an operation that does not park 2 (begin, end); one that parks after a short read 4: begin,
// which goes on to park with the same lock, event, claim, end; after an EAGAIN one more. An echo is 6: read 4, write 2.
#pragma once

#include <algorithm>
#include <cstdint>

#include <weft/detail/annotations.hpp>

#include "runtime/sched/g.hpp"
#include "runtime/wait/basic_select.hpp"
#include "runtime/wait/wait.hpp"

namespace weft::rt {

enum class direction : std::uint8_t { read, write };

/// What an event says: see `event`.
struct readiness {
  bool readable = false;
  bool writable = false;
  bool hangup_or_error = false;  ///< hang-up, error or urgent data: from here on a short read says nothing
};

/// The lock of queues of waiters, annotated whatever the environment's own lock is. The analysis cannot follow a lock
/// into the hook of a park, so it is told here, and nowhere else, what a wait does with it.
template <class Env>
class WEFT_CAPABILITY("mutex") queue_lock {
 public:
  void lock() noexcept WEFT_ACQUIRE() WEFT_NO_THREAD_SAFETY_ANALYSIS { lock_.lock(); }
  void unlock() noexcept WEFT_RELEASE() WEFT_NO_THREAD_SAFETY_ANALYSIS { lock_.unlock(); }
  /// Waits in `list` (`wait_in_queue`). Must be held by the caller; is free on return.
  wait_outcome wait(detail::wait_list& list, waiter<Env>& w, const wait_request& how) noexcept
      WEFT_RELEASE() WEFT_NO_THREAD_SAFETY_ANALYSIS {
    return wait_in_queue<Env>(lock_, list, w, how);
  }
  /// For a select, which takes it among others.
  typename Env::lock& for_select() noexcept { return lock_; }

 private:
  typename Env::lock lock_;
};

/// What `try_begin` found.
enum class begun : std::uint8_t {
  held,
  held_and_drained,  ///< the last read was a short one: there is nothing to read before the next edge
  busy,              ///< another operation holds the side
  closed,
  timed_out,
};

/// What is waited for beside another descriptor.
enum class awaited : std::uint8_t {
  readiness,  ///< by the holder of the side
  turn,       ///< to hold it
};

/// How a wait beside another descriptor ended. `at_the_other`: it is the other one that is closed, or late.
struct outcome_beside {
  wait_outcome how = wait_outcome::ok;
  bool at_the_other = false;
};

template <class Env>
class basic_descriptor;

/// A look at one side: whether it is ready. It is the object of a case of a select (`basic_descriptor::case_of`), and all
/// its fiber's own.
template <class Env>
struct basic_look {
  basic_descriptor<Env>* of = nullptr;
  direction which = direction::read;
  bool held = false;               ///< the caller's: it keeps the descriptor open for this look
  bool ready = false;              ///< the kernel has said so: the case is not to wait
  bool enough = false;             ///< one of many looks in a row: others should have a turn
  std::uint32_t seen = 0;          ///< how many edges there were ahead of the question to the kernel
  nanoseconds_t deadline = never;  ///< the side's, as it was then
  bool takes_time_out = false;     ///< it is an operation that has not begun yet
  nanoseconds_t limit = never;     ///< by the time-out; a case of a select has none

  nanoseconds_t due() const noexcept { return std::min(deadline, limit); }
};

/// `Env` as in runtime/wait/waiter.hpp, with a clock: `Env::now()`.
template <class Env>
class basic_descriptor {
 public:
  using look = basic_look<Env>;
  using node = waiter<Env>;
  using batch = typename Env::batch;

  basic_descriptor() noexcept = default;
  basic_descriptor(const basic_descriptor&) = delete;
  basic_descriptor& operator=(const basic_descriptor&) = delete;

  /// Makes a free descriptor stand for `fd`. `short_reads_tell`: it is a stream socket of the internet families. Called
  /// before any other thread knows of the descriptor.
  void open(int fd, bool short_reads_tell) noexcept {
    lock_.lock();
    fd_ = fd;
    closed_ = false;
    must_probe_ = !short_reads_tell;
    timeout_ = never;
    for (side& s : sides_) {
      s.busy = false;
      s.ready = false;
      s.drained = false;
      s.pausing = false;
      s.hurried = false;
      s.deadline = never;
      s.limit = never;
      s.parked_until = never;
      s.in_a_row = 0;
    }
    lock_.unlock();
  }

  /// Called by the owner, after `close`. Events that were reported before find another generation. The slot may be
  /// opened again.
  void retire() noexcept {
    lock_.lock();
    generation_ = generation_ + 1;
    lock_.unlock();
  }

  /// For the owner, or the holder of a side.
  int fd() const noexcept { return fd_; }
  std::uint32_t generation() const noexcept { return generation_; }

  /// Waits until the caller holds the side; after a short read also until the descriptor is ready. `ok`: make the
  /// system call. Anything else: the side is not held.
  wait_outcome begin(direction d) noexcept {
    side& s = of(d);
    lock_.lock();
    if (closed_) [[unlikely]] {
      lock_.unlock();
      return wait_outcome::closed;
    }
    const nanoseconds_t limit = limit_from_now();
    if (s.busy) [[unlikely]] {
      node w;
      const wait_outcome how = lock_.wait(s.queue, w, {wait_reason::io_wait, true, limit});
      if (how != wait_outcome::ok) return how;
      lock_.lock();  // handed over: busy is still set
    }
    s.busy = true;
    s.limit = limit;
    if (s.drained && !must_probe_) {
      s.drained = false;
      return kept_if_ok(d, wait_locked(s));
    }
    if (closed_) [[unlikely]] {  // since it was handed over
      lock_.unlock();
      return kept_if_ok(d, wait_outcome::closed);
    }
    if (expired(s)) [[unlikely]] {
      lock_.unlock();
      return kept_if_ok(d, wait_outcome::timed_out);
    }
    s.ready = false;  // T1: the call that follows sees whatever the edge announced
    lock_.unlock();
    return wait_outcome::ok;
  }

  /// Called by the holder, after EAGAIN. Waits until it is worth while to try again; `ok`: try. The side stays held,
  /// however the wait ends. `limit`: it is late then, too.
  wait_outcome wait(direction d, nanoseconds_t limit = never) noexcept {
    lock_.lock();
    return wait_locked(of(d), limit);
  }

  /// Like `begin`, and never waits.
  begun try_begin(direction d) noexcept {
    side& s = of(d);
    lock_.lock();
    begun found = begun::held;
    if (closed_) {
      found = begun::closed;
    } else if (s.busy) {
      found = begun::busy;
    } else {
      s.limit = limit_from_now();
      if (expired(s)) found = begun::timed_out;
    }
    if (found == begun::held) {
      s.busy = true;
      if (s.drained && !must_probe_ && !s.ready) found = begun::held_and_drained;
      s.drained = false;
      if (found == begun::held) s.ready = false;  // T1
    }
    lock_.unlock();
    return found;
  }

  /// Waits for `what` on the side `d`, and no longer once the side `od` of `other`, another descriptor, is closed or
  /// late. `ok`: as after `wait`, or the side is held now. Both are kept open by the caller (`hold`).
  outcome_beside wait_beside(direction d, awaited what, basic_descriptor& other, direction od) noexcept {
    place_in mine{this, d, what == awaited::turn ? place_in::in_line : place_in::among_waiters};
    if (what == awaited::turn) {
      lock_.lock();
      mine.limit = limit_from_now();
      lock_.unlock();
    } else {
      mine.limit = of(d).limit;  // the caller's own: it has written it
    }
    place_in theirs{&other, od, place_in::watching};
    const detail::select_entry entries[] = {{&ops_in_select, &theirs}, {&ops_in_select, &mine}};
    for (;;) {
      std::uint32_t order[2], sorted[2];
      alignas(select_node<Env>) std::byte nodes[2 * sizeof(select_node<Env>)];
      basic_select<Env> both(entries, 2, order, sorted, nodes);
      select_request how;
      how.why = wait_reason::io_wait;
      how.biased = true;
      how.deadline = std::min({mine.deadline, mine.limit, theirs.deadline});
      mine.found = theirs.found = place_in::nothing;
      const select_outcome ended = both.run(how);
      if (ended.how == wait_outcome::cancelled) return {wait_outcome::cancelled};
      if (ended.how == wait_outcome::timed_out) continue;  // it may have been moved: look again
      const place_in& at = ended.index == 0 ? theirs : mine;
      if (ended.how == wait_outcome::closed) return {wait_outcome::closed, ended.index == 0};
      if (at.found == place_in::late) return {wait_outcome::timed_out, ended.index == 0};
      if (ended.index == 1 && at.found == place_in::nothing)
        return {what == awaited::turn ? kept_if_ok(d, at_ones_turn(of(d), mine.limit)) : wait_outcome::ok};
    }
  }

  /// Begins a look at the side, or begins it again. `ok`: the kernel is to be asked now. The descriptor is kept open by
  /// the caller (`hold`).
  wait_outcome begin_look(look& l) noexcept {
    side& s = of(l.which);
    lock_.lock();
    l.seen = s.edges;
    if (l.takes_time_out) l.limit = limit_from_now();
    l.takes_time_out = false;
    l.deadline = s.deadline;
    l.enough = ++s.in_a_row >= most_in_a_row;
    if (l.enough) s.in_a_row = 0;
    const bool was_closed = closed_;
    lock_.unlock();
    l.ready = false;
    if (was_closed) return wait_outcome::closed;
    return l.due() != never && l.due() <= Env::now() ? wait_outcome::timed_out : wait_outcome::ok;
  }

  /// Called after the kernel has said that none of the looks, one or two, finds its side ready. Waits until that may have
  /// changed. `ok`: begin the looks again.
  static wait_outcome wait_for_edge(look* looks, std::uint32_t count) noexcept {
    detail::select_entry entries[2];
    nanoseconds_t nearest = never;
    for (std::uint32_t i = 0; i < count; ++i) {
      entries[i] = case_of(looks[i]);
      nearest = std::min(nearest, looks[i].due());
    }
    std::uint32_t order[2], sorted[2];
    alignas(select_node<Env>) std::byte nodes[2 * sizeof(select_node<Env>)];
    basic_select<Env> either(entries, count, order, sorted, nodes);
    select_request how;
    how.why = wait_reason::io_wait;
    how.biased = true;
    how.deadline = nearest;
    const wait_outcome ended = either.run(how).how;
    return ended == wait_outcome::timed_out ? wait_outcome::ok : ended;
  }

  /// A case of a select, once the look has begun: it can go on if the look is `ready`, when an edge comes or the deadline
  /// is moved, and (`closed`) when the descriptor is closed.
  static detail::select_entry case_of(look& l) noexcept { return {&ops_of_a_look, &l}; }
  /// Returns nullptr if it is a case of something else.
  static look* look_of(const detail::select_entry& e) noexcept {
    return e.ops == &ops_of_a_look ? static_cast<look*>(e.object) : nullptr;
  }

  /// Called by the holder. Waits until `until` although the descriptor may be ready; `ok`: the time has come. The side
  /// stays held.
  wait_outcome pause(direction d, nanoseconds_t until) noexcept {
    side& s = of(d);
    for (;;) {
      lock_.lock();
      if (closed_ || expired(s) || s.hurried || Env::now() >= until) {
        const wait_outcome how = closed_      ? wait_outcome::closed
                                 : expired(s) ? wait_outcome::timed_out
                                              : wait_outcome::ok;
        lock_.unlock();
        return how;
      }
      s.pausing = true;
      s.parked_until = std::min(due(s), until);
      s.in_a_row = 0;
      node w;
      const wait_outcome how = lock_.wait(s.waiters, w, {wait_reason::io_wait, true, s.parked_until});
      lock_.lock();
      s.pausing = false;
      lock_.unlock();
      if (how != wait_outcome::ok && how != wait_outcome::timed_out) return how;
    }
  }

  /// Ends the `pause` of the side's holder before its time, also one that is about to begin. Appends the fiber to `woken`.
  void hurry(direction d, batch& woken) noexcept {
    side& s = of(d);
    lock_.lock();
    s.hurried = true;
    if (s.pausing) {
      if (typename Env::fiber* g = claimed(s.waiters, wait_result::ok)) woken.push_back(g);
    }
    lock_.unlock();
  }
  /// Called by the holder ahead of a try: only what comes from here on ends the pause after it.
  void forget_hurry(direction d) noexcept {
    lock_.lock();
    of(d).hurried = false;
    lock_.unlock();
  }

  /// Gives the side to the next in line. `drained`: a read just now gave less than it asked for. Returns true if this
  /// was one of many operations in a row that found no need to park, so that others should have a turn.
  bool end(direction d, bool drained) noexcept {
    side& s = of(d);
    typename Env::fiber* next = nullptr;
    lock_.lock();
    s.drained = drained;
    const bool enough = ++s.in_a_row >= most_in_a_row;
    if (enough) s.in_a_row = 0;
    next = claimed(s.queue, wait_result::ok);
    if (next == nullptr) {
      s.busy = false;
      next = last_one_out();
    }
    lock_.unlock();
    if (next != nullptr) [[unlikely]]
      Env::wake(next);
    return enough;
  }

  /// For calls that belong to neither side: keeps the descriptor open until `drop`. Returns false if it is closed.
  bool hold() noexcept {
    lock_.lock();
    const bool open = !closed_;
    if (open) holds_ = holds_ + 1;
    lock_.unlock();
    return open;
  }
  void drop() noexcept {
    lock_.lock();
    holds_ = holds_ - 1;
    typename Env::fiber* next = last_one_out();
    lock_.unlock();
    if (next != nullptr) Env::wake(next);
  }

  /// From here on a short read says nothing.
  void distrust_short_reads() noexcept {
    lock_.lock();
    must_probe_ = true;
    lock_.unlock();
  }

  /// From here on operations on the side fail once `when` has come, also the one that waits now. `never`: no deadline.
  void set_deadline(direction d, nanoseconds_t when) noexcept {
    side& s = of(d);
    typename Env::fiber* parked = nullptr;
    batch watching;
    lock_.lock();
    s.deadline = when;
    if (s.watchers.head != nullptr) [[unlikely]]
      wait_queue<Env>(s.watchers).pop_all(wait_result::ok, watching);
    if (s.lookers.head != nullptr) [[unlikely]]
      wait_queue<Env>(s.lookers).pop_all(wait_result::ok, watching);
    // A later one need not wake it: it finds out when its timer fires.
    if (when < s.parked_until) {
      wait_queue<Env> queue(s.waiters);
      if (node* w = queue.pop_claimed()) {
        w->amount = look_again;
        w->result = wait_result::ok;
        parked = w->g;
      }
    }
    lock_.unlock();
    if (parked != nullptr) Env::wake(parked);
    Env::wake_all(watching);
  }

  /// Gives each operation that begins from here on so much time, on either side. `never`: as much as it takes.
  void set_timeout(nanoseconds_t each) noexcept {
    lock_.lock();
    timeout_ = each;
    lock_.unlock();
  }

  /// Fails the operations that wait and those that come later, and waits until no operation is inside; not cancellable.
  /// Returns true if the caller must now close the file and then call `finish_close`; false if another thread has
  /// closed it or is closing it.
  bool close() noexcept {
    batch woken;
    lock_.lock();
    if (closed_) {
      lock_.unlock();
      return false;
    }
    closed_ = true;
    closing_ = true;
    for (side& s : sides_) {
      while (typename Env::fiber* g = claimed(s.waiters, wait_result::closed)) woken.push_back(g);
      while (typename Env::fiber* g = claimed(s.queue, wait_result::closed)) woken.push_back(g);
      while (typename Env::fiber* g = claimed(s.watchers, wait_result::closed)) woken.push_back(g);
      while (typename Env::fiber* g = claimed(s.lookers, wait_result::closed)) woken.push_back(g);
    }
    lock_.unlock();
    Env::wake_all(woken);
    lock_.lock();
    if (!in_use()) {
      lock_.unlock();
      return true;
    }
    node w;
    lock_.wait(closers_, w, {wait_reason::io_wait, false, never});
    return true;
  }

  /// Called by the closer, as its last access to the descriptor.
  void finish_close() noexcept {
    lock_.lock();
    closing_ = false;
    typename Env::fiber* next = claimed(owners_, wait_result::ok);
    lock_.unlock();
    if (next != nullptr) Env::wake(next);
  }

  /// Called by the owner, after a `close` that returned false: waits until the closer has called `finish_close`, since
  /// the owner then gives the slot back. Not cancellable.
  void wait_until_closed() noexcept {
    lock_.lock();
    if (!closing_) {
      lock_.unlock();
      return;
    }
    node w;
    lock_.wait(owners_, w, {wait_reason::io_wait, false, never});
  }

  /// Called by the poller for an edge. Appends the fibers that it claims to `ready`. Returns false if the edge was
  /// meant for an earlier use of the slot.
  bool event(std::uint32_t generation, const readiness& what, batch& ready) noexcept {
    lock_.lock();
    if (generation != generation_) {
      lock_.unlock();
      return false;
    }
    if (what.hangup_or_error) must_probe_ = true;
    if (what.readable) edge(of(direction::read), ready);
    if (what.writable) edge(of(direction::write), ready);
    lock_.unlock();
    return true;
  }

 private:
  static constexpr std::size_t look_again = 1;         ///< in waiter::amount: woken by set_deadline
  static constexpr std::uint16_t most_in_a_row = 128;  ///< operations without a park, before others get a turn

  struct side {
    typename Env::template var<nanoseconds_t> deadline{never};
    typename Env::template var<nanoseconds_t> limit{never};         ///< the holder's, by the time-out
    typename Env::template var<nanoseconds_t> parked_until{never};  ///< the time-out of the present wait
    detail::wait_list waiters;                                      ///< for readiness: the holder, or none
    detail::wait_list queue;                                        ///< for the side
    detail::wait_list watchers;                                     ///< for a close, or another deadline
    detail::wait_list lookers;                                      ///< for readiness, without holding the side
    typename Env::template var<std::uint32_t> edges{0};             ///< how many there were
    typename Env::template var<bool> busy{false};
    typename Env::template var<bool> ready{false};    ///< an edge that no call has looked into yet
    typename Env::template var<bool> drained{false};  ///< the last read gave less than was asked for
    typename Env::template var<bool> pausing{false};  ///< the holder waits for a time, not for an edge
    typename Env::template var<bool> hurried{false};  ///< its pause, or the next one, is over before that
    std::uint16_t in_a_row = 0;
  };

  side& of(direction d) noexcept { return sides_[static_cast<unsigned>(d)]; }
  static nanoseconds_t due(const side& s) noexcept { return std::min<nanoseconds_t>(s.deadline, s.limit); }
  static bool expired(const side& s) noexcept { return due(s) != never && due(s) <= Env::now(); }
  /// Of an operation that begins now.
  nanoseconds_t limit_from_now() const noexcept WEFT_REQUIRES(lock_) {
    if (timeout_ == never) [[likely]]
      return never;
    const nanoseconds_t now = Env::now();
    return timeout_ < never - now ? now + timeout_ : never;
  }
  bool in_use() const noexcept WEFT_REQUIRES(lock_) { return sides_[0].busy || sides_[1].busy || holds_ != 0; }

  static typename Env::fiber* claimed(detail::wait_list& list, wait_result how) noexcept {
    wait_queue<Env> queue(list);
    node* const w = queue.pop_claimed();
    if (w == nullptr) return nullptr;
    w->result = how;
    return w->g;
  }

  typename Env::fiber* last_one_out() noexcept WEFT_REQUIRES(lock_) {
    return closed_ && !in_use() ? claimed(closers_, wait_result::ok) : nullptr;
  }

  void edge(side& s, batch& ready) noexcept WEFT_REQUIRES(lock_) {
    s.edges = s.edges + 1;
    if (s.lookers.head != nullptr) [[unlikely]]
      wait_queue<Env>(s.lookers).pop_all(wait_result::ok, ready);
    if (!s.pausing) {
      if (typename Env::fiber* g = claimed(s.waiters, wait_result::ok)) {
        ready.push_back(g);
        return;
      }
    }
    s.ready = true;
  }

  wait_outcome kept_if_ok(direction d, wait_outcome how) noexcept {
    if (how != wait_outcome::ok) end(d, false);
    return how;
  }

  // The side was handed over, and may be drained: it is asked, whatever a short read said.
  wait_outcome at_ones_turn(side& s, nanoseconds_t limit) noexcept {
    lock_.lock();
    s.limit = limit;
    s.drained = false;
    s.ready = false;
    const wait_outcome how = closed_ ? wait_outcome::closed : expired(s) ? wait_outcome::timed_out : wait_outcome::ok;
    lock_.unlock();
    return how;
  }

  // With the lock, which is free on return. "An expired deadline beats ready data", and a close both.
  wait_outcome wait_locked(side& s, nanoseconds_t limit = never) noexcept WEFT_RELEASE(lock_) {
    for (;; lock_.lock()) {
      if (closed_ || expired(s) || (limit != never && limit <= Env::now())) [[unlikely]] {
        const wait_outcome how = closed_ ? wait_outcome::closed : wait_outcome::timed_out;
        lock_.unlock();
        return how;
      }
      if (s.ready) {
        s.ready = false;
        lock_.unlock();
        return wait_outcome::ok;
      }
      s.in_a_row = 0;
      s.parked_until = std::min(due(s), limit);
      node w;
      const wait_outcome how = lock_.wait(s.waiters, w, {wait_reason::io_wait, true, s.parked_until});
      if (how == wait_outcome::timed_out || (how == wait_outcome::ok && w.amount == look_again))
        continue;  // it may have been moved
      return how;
    }
  }

  // A case of `wait_beside`, on its frame. `deadline` is the side's as it was last seen: the select has to know it before
  // it takes the lock, and looks again if it is another one by then. `limit` is of the operation that waits, so `never`
  // for the side that it only watches.
  struct place_in {
    enum where : std::uint8_t { among_waiters, in_line, watching };
    enum seen : std::uint8_t { nothing, another_deadline, late };

    basic_descriptor* d;
    direction which;
    where list;
    seen found = nothing;
    nanoseconds_t deadline = never;
    nanoseconds_t limit = never;
  };

  static bool may_be_ready(void*) noexcept { return false; }  // shows under the locks only
  static typename Env::lock& lock_of(void* object) noexcept {
    return static_cast<place_in*>(object)->d->lock_.for_select();
  }
  static select_place<Env> place_of(void* object) noexcept {
    const place_in& at = *static_cast<place_in*>(object);
    side& s = at.d->of(at.which);
    return {&at.d->lock_.for_select(), at.list == place_in::among_waiters ? &s.waiters
                                       : at.list == place_in::in_line     ? &s.queue
                                                                          : &s.watchers};
  }
  // Not analysed: the select holds the lock.
  static select_step<Env> attempt(void* object, typename Env::lock*, void*) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    place_in& at = *static_cast<place_in*>(object);
    basic_descriptor& d = *at.d;
    side& s = d.of(at.which);
    if (d.closed_) return {true, wait_result::closed};
    if (at.deadline != s.deadline) {
      at.deadline = s.deadline;
      at.found = place_in::another_deadline;
      return {true, wait_result::ok};
    }
    if (const nanoseconds_t until = std::min(at.deadline, at.limit); until != never && until <= Env::now()) {
      at.found = place_in::late;
      return {true, wait_result::ok};
    }
    if (at.list == place_in::in_line && !s.busy) {
      s.busy = true;
      return {true, wait_result::ok};
    }
    if (at.list == place_in::among_waiters) {
      if (s.ready) {
        s.ready = false;
        return {true, wait_result::ok};
      }
      s.in_a_row = 0;
      s.parked_until = std::min(at.deadline, at.limit);
    }
    return {};
  }
  static constexpr select_ops<Env> ops_in_select{&may_be_ready, &lock_of, &place_of, &attempt, nullptr};

  static bool look_is_ready(void* object) noexcept { return static_cast<look*>(object)->ready; }
  static typename Env::lock& lock_of_look(void* object) noexcept {
    return static_cast<look*>(object)->of->lock_.for_select();
  }
  static select_place<Env> place_of_look(void* object) noexcept {
    const look& l = *static_cast<look*>(object);
    return {&l.of->lock_.for_select(), &l.of->of(l.which).lookers};
  }
  // Not analysed: the select holds the lock.
  static select_step<Env> attempt_look(void* object, typename Env::lock*,
                                       void*) noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
    const look& l = *static_cast<look*>(object);
    side& s = l.of->of(l.which);
    if (l.of->closed_) return {true, wait_result::closed};
    if (l.ready || l.seen != s.edges || l.deadline != s.deadline) return {true, wait_result::ok};
    return {};
  }
  static constexpr select_ops<Env> ops_of_a_look{&look_is_ready, &lock_of_look, &place_of_look, &attempt_look, nullptr};

  queue_lock<Env> lock_;
  typename Env::template var<int> fd_{-1};
  typename Env::template var<std::uint32_t> generation_{1};
  typename Env::template var<std::uint32_t> holds_ WEFT_GUARDED_BY(lock_){0};
  typename Env::template var<bool> closed_ WEFT_GUARDED_BY(lock_){true};
  // A thread is between `close` and `finish_close`.
  typename Env::template var<bool> closing_ WEFT_GUARDED_BY(lock_){false};
  typename Env::template var<bool> must_probe_ WEFT_GUARDED_BY(lock_){true};
  typename Env::template var<nanoseconds_t> timeout_ WEFT_GUARDED_BY(lock_){never};
  side sides_[2];
  detail::wait_list closers_ WEFT_GUARDED_BY(lock_);
  // The owner, about to give the slot back while another thread closes it.
  detail::wait_list owners_ WEFT_GUARDED_BY(lock_);
};

}  // namespace weft::rt
