// SPDX-License-Identifier: Apache-2.0
//
// A model checker for the lock-free parts of the runtime: it runs a small test under every schedule, and under every
// value that each load may return on weak memory, and reports the first execution that fails.
//
// Problem: a missing fence shows once in a year, and never on the machine at hand. So the production templates are
// instantiated with `mc_atomics`; a test starts model threads (fibers on one OS thread), and each atomic access is a
// step at which any thread may come next.
//
// Memory: operational, as RC11 without load buffering. Each location keeps the history of its stores (execution order
// is modification order). A thread has a view: for each location the oldest store that it may still read. A load
// chooses any store from there on. A release store carries its thread's view and clock, an acquire load joins them;
// RMWs read the newest store and carry on the release sequence of what they replace; fences do the same at a distance.
// For seq_cst there is one global view: seq_cst fences join it both ways, seq_cst accesses only for their own location.
// So a seq_cst RMW is *not* a fence, and fences order loads but make nothing happen before anything: `var` reports a
// race where only fences keep two accesses apart (clocks, not views, decide about races).
//
// Not modelled: load buffering and other speculation, stores that are overtaken in modification order (2+2W), spurious
// failures of compare_exchange_weak, compare_exchange that fails on an old value, consume.
//
// Search: depth first over all choices, bounded by the number of preemptions (switches away from a thread that could
// go on): WEFT_MODEL_BOUND, 2 unless set, -1 for none. `options::random` samples instead. A failing execution is
// printed step by step, with a line that replays it: WEFT_MODEL_REPLAY.
//
// Rules for a test
//   - The body is thread 0. It makes the shared objects, spawns, calls join(), checks. It must be deterministic.
//   - After a failure the fibers are abandoned, not unwound: frames of model threads own no memory.
//   - Wait loops call pause() (or Atomics::pause()) after they have read what they wait for; the thread goes on when
//     one of the words it read since the last pause has changed. All threads waiting is a failure: deadlock, lost
//     wake-up. A pause that waits for nothing in particular is yield().
//   - No exceptions out of threads, no GoogleTest assertions inside: check().
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "tests/model/engine.hpp"

namespace mc {

inline result explore(const options& o, const std::function<void()>& body) {
  return std::make_unique<detail::engine>(o)->explore(body);
}

inline void spawn(std::function<void()> body) { detail::here().spawn(std::move(body)); }
inline void join() { detail::here().join_others(); }
inline void pause() { detail::here().pause(); }
inline void yield() { detail::here().yield(); }
inline void fence(order o) { detail::here().fence(o); }
inline void membarrier() { detail::here().membarrier(); }
inline unsigned any_of(unsigned count) { return detail::here().any_of(count); }  // each is tried
inline void note(const char* text) {
  if (detail::here().tracing()) detail::here().note(text);
}
inline void check(bool holds, const char* what) {
  if (!holds) detail::here().fail(std::string("does not hold: ") + what);
}

// Orders as written. A mutant derives from this, and hides one function or constant, to weaken what it is named after.
struct faithful {
  template <class T>
  static constexpr order load(order o) {
    return o;
  }
  template <class T>
  static constexpr order store(order o) {
    return o;
  }
  template <class T>
  static constexpr order exchange(order o) {
    return o;
  }
  template <class T>
  static constexpr order compare_exchange(order o) {
    return o;
  }
  template <class T>
  static constexpr order fetch(order o) {
    return o;
  }
  template <class T>
  static constexpr bool compare_exchange_is_atomic = true;
  template <class T>
  static constexpr bool stores = true;  // false: stores of this type are left out
  static constexpr bool fences = true;
};

template <class T, class Mutant = faithful>
class atomic {
 public:
  atomic() : atomic(T{}) {}
  atomic(T value) : id_(detail::here().new_location(detail::to_word(value))) {}  // NOLINT: as std::atomic
  ~atomic() { detail::here().end_location(id_); }
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  T load(order o = order::seq_cst) const {
    return detail::from_word<T>(detail::here().load(id_, Mutant::template load<T>(o)));
  }
  void store(T value, order o = order::seq_cst) {
    if constexpr (!Mutant::template stores<T>) return;
    detail::here().store_value(id_, detail::to_word(value), Mutant::template store<T>(o));
  }
  T exchange(T value, order o = order::seq_cst) {
    return update(Mutant::template exchange<T>(o), [&](T) { return value; });
  }
  T fetch_add(T n, order o = order::seq_cst) {
    return update(Mutant::template fetch<T>(o), [&](T v) { return static_cast<T>(v + n); });
  }
  T fetch_sub(T n, order o = order::seq_cst) {
    return update(Mutant::template fetch<T>(o), [&](T v) { return static_cast<T>(v - n); });
  }
  T fetch_or(T n, order o = order::seq_cst) {
    return update(Mutant::template fetch<T>(o), [&](T v) { return static_cast<T>(v | n); });
  }
  T fetch_and(T n, order o = order::seq_cst) {
    return update(Mutant::template fetch<T>(o), [&](T v) { return static_cast<T>(v & n); });
  }
  bool compare_exchange_strong(T& expected, T desired, order success, order failure) {
    const order o = Mutant::template compare_exchange<T>(success);
    if constexpr (!Mutant::template compare_exchange_is_atomic<T>) {
      const T found = load(failure);
      if (found != expected) {
        expected = found;
        return false;
      }
      store(desired, o == order::relaxed ? order::relaxed : order::release);
      return true;
    }
    const std::uint64_t wanted = detail::to_word(expected);
    const std::uint64_t former = detail::here().update(id_, o, failure, [&](std::uint64_t& value) {
      if (value != wanted) return false;
      value = detail::to_word(desired);
      return true;
    });
    if (former == wanted) return true;
    expected = detail::from_word<T>(former);
    return false;
  }
  bool compare_exchange_strong(T& expected, T desired, order o = order::seq_cst) {
    const order failure = o == order::acq_rel ? order::acquire : o == order::release ? order::relaxed : o;
    return compare_exchange_strong(expected, desired, o, failure);
  }
  bool compare_exchange_weak(T& expected, T desired, order success, order failure) {
    return compare_exchange_strong(expected, desired, success, failure);
  }
  bool compare_exchange_weak(T& expected, T desired, order o = order::seq_cst) {
    return compare_exchange_strong(expected, desired, o);
  }

 private:
  template <class F>
  T update(order o, F change) {
    return detail::from_word<T>(detail::here().update(id_, o, o, [&](std::uint64_t& value) {
      value = detail::to_word<T>(change(detail::from_word<T>(value)));
      return true;
    }));
  }

  const unsigned id_;
};

// A plain variable: no step of its own; two accesses, one of them a write, of which neither happens before the other,
// are reported, in whatever order this execution made them.
template <class T>
class var {
 public:
  var() = default;
  var(T value) : value_(std::move(value)) { wrote(); }  // NOLINT: stands for a plain T
  ~var() { before_write("is destroyed"); }
  var(const var&) = delete;
  var& operator=(const var&) = delete;

  var& operator=(T value) {
    before_write("is written");
    wrote();
    value_ = std::move(value);
    return *this;
  }
  operator T() const { return get(); }
  T get() const {
    detail::engine& e = detail::here();
    if (writer_ != e.self() && written_ > e.happened().at[writer_]) report("is read", "write", writer_);
    read_.at[e.self()] = e.happened().at[e.self()];
    return value_;
  }
  T operator->() const { return get(); }

 private:
  [[noreturn]] static void report(const char* what, const char* before, unsigned who) {
    detail::here().fail(std::string("data race: a variable ") + what + ", and a " + before + " by T" +
                        std::to_string(who) + " does not happen before");
  }
  void before_write(const char* what) const {
    detail::engine& e = detail::here();
    if (writer_ != e.self() && written_ > e.happened().at[writer_]) report(what, "write", writer_);
    for (unsigned i = 0; i < detail::max_threads; ++i) {
      if (i != e.self() && read_.at[i] > e.happened().at[i]) report(what, "read", i);
    }
  }
  void wrote() {
    writer_ = detail::here().self();
    written_ = detail::here().happened().at[writer_];
  }

  T value_{};
  unsigned writer_ = 0;
  std::uint32_t written_ = 0;
  mutable detail::clock read_;
};

// Stands for a spin lock, and for any other: blocks instead of spinning. One step to take it, and no switch counts as a
// preemption while it is held by another.
class mutex {
 public:
  void lock() {
    detail::here().point([](const void* p) { return !static_cast<const mutex*>(p)->held_; }, this, "a lock");
    taken();
  }
  bool try_lock() {
    detail::here().point();
    if (held_) return false;
    taken();
    return true;
  }
  void unlock() {
    check(held_, "the lock that is unlocked is held");
    if (detail::here().tracing()) detail::here().note("unlocks");
    held_ = false;
    detail::here().publish(left_);
  }

 private:
  void taken() {
    held_ = true;
    detail::here().acquire(left_);
    if (detail::here().tracing()) detail::here().note("locks");
  }

  bool held_ = false;
  detail::knowledge left_;
};

// Where a model thread sleeps, as on a futex: an unpark that comes first is not lost, two of them count once.
class parking_place {
 public:
  void park() {
    detail::here().point([](const void* p) { return static_cast<const parking_place*>(p)->token_; }, this, "unpark");
    token_ = false;
    detail::here().acquire(left_);
    if (detail::here().tracing()) detail::here().note("was unparked");
  }
  void unpark() {
    detail::here().point();
    if (detail::here().tracing()) detail::here().note("unparks");
    token_ = true;
    detail::here().publish(left_);
  }

 private:
  bool token_ = false;
  detail::knowledge left_;
};

// The policy for production templates, with a mutant of its orders.
template <class Mutant>
struct mutated_atomics {
  template <class T>
  using atomic = mc::atomic<T, Mutant>;
  static void fence_seq_cst() {
    if constexpr (Mutant::fences) mc::fence(order::seq_cst);
  }
  static void compiler_barrier() {}
  static void pause() { mc::pause(); }
};
using mc_atomics = mutated_atomics<faithful>;

}  // namespace mc
