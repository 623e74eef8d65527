// SPDX-License-Identifier: Apache-2.0
// Between two streams, both ways: what a proxy does.
//
// Problem: two directions are two fibers, and each may end first, well or by an error, while the other one waits.
//
// Invariants
//  1. Neither direction outlives the call: one is the caller's, the other a child of a scope within it.
//  2. An error of one cancels the other; `first` is the one that failed, and not the one that was cancelled for it.
//  3. What the child writes the caller reads after the join. `closed` is set before the close that makes a read of the
//     other direction fail, which that close waits for.
#pragma once

#include <cstdint>
#include <string>
#include <system_error>

#include <weft/detail/atomic.hpp>
#include <weft/io/copy.hpp>
#include <weft/io/stream.hpp>
#include <weft/runtime.hpp>
#include <weft/scope.hpp>

namespace weft {
inline namespace v0 {
namespace io {

/// two_way is what `copy_both` can be called on: a source and a sink that can be told the end of what is written, by
/// `shutdown_write`, or else by `close`.
template <class S>
concept two_way = source<S> && sink<S> &&(
    requires(S& s, std::error_code& error) { s.shutdown_write(error); } || requires(S & s) { s.close(); });

/// copied_both is what `copy_both` returns: how many bytes have gone from the first stream to the second, and back.
struct copied_both {
  std::uint64_t a_to_b = 0;
  std::uint64_t b_to_a = 0;
};

}  // namespace io

namespace detail {

template <class S>
concept half_closes = requires(S& s, std::error_code& error) {
  s.shutdown_write(error);
};

/// One direction of copy_both.
struct copied_way {
  const char* from_name;
  const char* to_name;
  std::uint64_t count = 0;
  std::error_code error{};
  bool was_writing = false;    ///< when the error came
  atomic<bool> closed{false};  ///< its source is, since the other direction has ended
};

/// Copies until the end, and passes that on. Returns true if no error came.
template <class From, class To>
bool copy_way(From& from, To& to, copied_way& mine, copied_way& other) {
  std::error_code to_error;
  mine.count = io::copy(from, to, mine.error, to_error);
  if (mine.closed.load(std::memory_order_acquire)) mine.error.clear();  // pairs with the store below
  if (!mine.error) {
    if (!to_error) {
      if constexpr (half_closes<To>) {
        to.shutdown_write(to_error);
      } else {
        other.closed.store(true, std::memory_order_release);
        to.close();
      }
    }
    mine.error = to_error;
    mine.was_writing = true;
  }
  return !mine.error;
}

/// Returns the direction that failed first, or null.
template <class A, class B>
copied_way* copy_both_ways(A& a, B& b, copied_way& there, copied_way& back) {
  atomic<copied_way*> first{nullptr};
  const auto failed = [&first](copied_way& way) {
    copied_way* none = nullptr;
    first.compare_exchange_strong(none, &way, std::memory_order_acq_rel);
  };
  cancel_scope ours;
  scope child;
  // Shielded, since both must end here whatever is cancelled: the child and `ours` are, with what is around them.
  shield([&] {
    child.go([&] {
      if (copy_way(b, a, back, there)) return;
      failed(back);
      ours.cancel();
    });
  });
  // Ends by `cancelled` where a stream of the program's throws that for the child's error, in either form.
  ours.run([&] {
    if (copy_way(a, b, there, back)) return;
    failed(there);
    child.cancel();
  });
  shield([&] { child.join(); });
  return first.load(std::memory_order_relaxed);
}

/// As io::copy_both. Without a place for the error it throws.
template <class A, class B>
io::copied_both copy_both(A& a, B& b, std::error_code* error) {
  if (cancelled_at_entry(error)) return {};
  copied_way there{"the first stream", "the second stream"}, back{"the second stream", "the first stream"};
  const auto both = [&] { return copy_both_ways(a, b, there, back); };
  try {
    // A thread cannot be cancelled, so an error of the other direction would not end its own.
    const copied_way* const first = this_fiber::id() != 0 ? both() : spawn(both).join();
    if (first == nullptr) return {there.count, back.count};
    if (error == nullptr) this_fiber::check_cancelled();
    throw std::system_error(first->error, std::string("weft::io::copy_both: ") +
                                              (first->was_writing ? "write to " : "read from ") +
                                              (first->was_writing ? first->to_name : first->from_name));
  } catch (const std::system_error& why) {  // also of a fiber that could not be started
    if (error == nullptr) throw;
    *error = why.code();
    return {there.count, back.count};
  }
}

}  // namespace detail

namespace io {

/// copy_both copies from `a` to `b` and from `b` to `a`, each until its end, which it passes on (`shutdown_write`): so a
/// client that has finished sending still gets its answer. Returns how many bytes went each way once both have ended.
///
/// ```cpp
/// auto server = weft::net::connect("10.0.0.2:80");
/// const auto [sent, received] = weft::io::copy_both(client, server);
/// ```
///
/// An error in one direction ends both, and is what the call throws; so does a close of either stream, or a deadline, at
/// once. The streams stay open, and the caller's to close: until then their peers do not hear of it. As with `copy`,
/// up to `copy_buffer_size` bytes each way that were read and not written are lost then. Waits, cancellably, and leaves
/// no fiber behind.
///
/// A stream that cannot be told the end of one direction (net::fd, or one of the program's without `shutdown_write`) is
/// closed instead, which cuts off what it was still to send. Both must read and write: the two pipes of a child process
/// make one stream by a class that has `read_some`, `write_all` and `shutdown_write`.
template <two_way A, two_way B>
copied_both copy_both(A& a, B& b) {
  return detail::copy_both(a, b, nullptr);
}

/// The same; on an error returns how much had been copied.
template <two_way A, two_way B>
copied_both copy_both(A& a, B& b, std::error_code& error) {
  return detail::copy_both(a, b, &error);
}

}  // namespace io
}  // namespace v0
}  // namespace weft
