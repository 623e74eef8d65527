// SPDX-License-Identifier: Apache-2.0
// io::copy between two of our own streams: through a buffer, or between a stream socket and a pipe by splice(2), where
// the kernel hands pages on instead of copying them twice.
//
// Problem: whoever copies is at two descriptors. It may wait at one for long, and the other is to be closed, or has its
// deadline: then the copy ends at once.
//
// Invariants
//  1. Whoever waits holds one side at most, that which it waits for, and waits beside the other descriptor
//     (`wait_beside`). Both sides are held only around one splice, which does not wait; the second one is taken only if
//     it is free.
//  2. From its beginning to its end a copy has a hold on both: who closes one wakes it, and returns when it has left.
//
// A stream that is copied to itself is one descriptor and needs none of this: what closes it ends its wait.
//
// Splice only where one of the two is a pipe already. Between two sockets it takes a pipe of one's own in between, and gains
// nothing that a larger buffer would not. CPU seconds a GiB of the copier, and of writer, copier and reader together
// (loopback, 2 CPUs, best of 7):
//
//                        buffer of 32 KiB   buffer of 64 KiB   splice, pipe of 64 KiB   splice, pipe of 1 MiB
//     socket to socket   0.27, 0.58         0.21, 0.53         0.31, 0.62               0.15, 0.52
//     socket to pipe     0.30, 0.68                            0.15, 0.39
//     pipe to socket     0.23, 0.53                            0.16, 0.47
//
// (An unprivileged user may have 64 pipes of 1 MiB.)
//
#include <weft/io.hpp>
#include <weft/net/byte_stream.hpp>

#include <poll.h>

#include <cerrno>
#include <memory>

#include "netpoll/access.hpp"
#include "netpoll/byte_calls.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/side.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

constexpr std::size_t at_a_time = std::size_t{64} << 10;  // what a pipe holds
constexpr int most_vain_calls = 8;  ///< that say EAGAIN though both are ready, before bytes are copied instead

bool is_stream_socket(file_kind kind) noexcept { return kind == file_kind::tcp || kind == file_kind::unix_domain; }

/// A descriptor that a copy is at, and the side that it needs.
struct end_of_copy {
  descriptor* d;
  direction which;
  failure why{};  ///< what ended the copy, if it came from here

  int fd() const noexcept { return d->fd(); }
};

class copier {
 public:
  copier(descriptor* from, descriptor* to) noexcept : source{from, direction::read}, sink{to, direction::write} {
    if (!keep_open(source)) return;
    if (keep_open(sink))
      both_kept_ = true;
    else
      from->drop();
  }
  ~copier() {
    if (!both_kept_) return;
    source.d->drop();
    sink.d->drop();
  }
  copier(const copier&) = delete;
  copier& operator=(const copier&) = delete;

  void run() {
    if (!both_kept_) return;
    if (may_splice() && splice_all()) return;
    copy_all();
  }

  end_of_copy source, sink;
  std::uint64_t total = 0;

 private:
  static bool keep_open(end_of_copy& e) noexcept {
    if (e.d == nullptr)
      e.why = no_descriptor;
    else if (!e.d->hold())
      e.why = failure_of(wait_outcome::closed);
    return !e.why;
  }

  bool failed() const noexcept { return source.why || sink.why; }
  end_of_copy& other(const end_of_copy& e) noexcept { return &e == &source ? sink : source; }

  /// Returns true if it was worth waiting for.
  bool wait(end_of_copy& e, awaited what) noexcept {
    end_of_copy& beside = other(e);
    if (e.d == beside.d) {  // one descriptor
      e.why = failure_of(e.d->wait(e.which));
      return !e.why;
    }
    const outcome_beside ended = e.d->wait_beside(e.which, what, *beside.d, beside.which);
    (ended.at_the_other ? beside : e).why = failure_of(ended.how);
    return !failed();
  }

  /// Waits for the side; returns true if it is held.
  bool hold(end_of_copy& e) noexcept {
    e.why = cancelled_at_entry();
    if (e.why) return false;
    if (source.d == sink.d) {
      e.why = failure_of(e.d->begin(e.which));
      return !e.why;
    }
    switch (e.d->try_begin(e.which)) {
      case begun::held:
        break;
      case begun::held_and_drained:
        if (wait(e, awaited::readiness)) break;
        e.d->end(e.which, false);
        return false;
      case begun::busy:
        return wait(e, awaited::turn);
      case begun::closed:
        e.why = failure_of(wait_outcome::closed);
        return false;
      case begun::timed_out:
        e.why = failure_of(wait_outcome::timed_out);
        return false;
    }
    return true;
  }

  /// Data that is always there must not keep other fibers from the P.
  static void let_go(end_of_copy& e, bool drained = false) noexcept {
    if (e.d->end(e.which, drained) && current_fiber() != nullptr) yield_now();
  }

  /// As `held_side::again`.
  bool again(end_of_copy& e, ssize_t result) noexcept {
    if (result == -EINTR) return true;
    if (result == -EAGAIN) return wait(e, awaited::readiness);
    e.why.error = static_cast<int>(-result);
    return false;
  }

  // --- through a buffer

  void copy_all() {
    const auto buffer = std::make_unique_for_overwrite<std::byte[]>(io::copy_buffer_size);
    while (const std::size_t n = read_some(buffer.get()))
      if (!write_all(buffer.get(), n)) break;
  }

  std::size_t read_some(std::byte* to) noexcept {
    if (!hold(source)) return 0;
    ssize_t n = 0;
    do n = read_from(*source.d, to, io::copy_buffer_size);
    while (n < 0 && again(source, n));
    let_go(source, drained_by(*source.d, n, io::copy_buffer_size));
    return n > 0 ? static_cast<std::size_t>(n) : 0;
  }

  bool write_all(const std::byte* from, std::size_t size) noexcept {
    if (!hold(sink)) return false;
    for (std::size_t at = 0; at < size;) {
      const ssize_t n = write_to(*sink.d, from + at, size - at);
      if (n < 0) {
        if (again(sink, n)) continue;
        break;
      }
      at += static_cast<std::size_t>(n);
      total += static_cast<std::size_t>(n);
    }
    let_go(sink);
    return !failed();
  }

  // --- by splice

  /// Not a socket that the program may have made blocking: splice can be told not to wait for pipes only.
  bool may_splice() const noexcept {
    const bool into = is_stream_socket(source.d->kind) && sink.d->kind == file_kind::pipe;
    const bool out_of = source.d->kind == file_kind::pipe && is_stream_socket(sink.d->kind);
    const descriptor* const socket = into ? source.d : sink.d;
    return (into || out_of) && !socket->lent.load(std::memory_order_relaxed);
  }

  /// False: the kernel cannot, or others are at both sides all the time.
  bool splice_all() noexcept {
    for (int in_vain = 0; in_vain < most_vain_calls;) {
      if (!hold_both(in_vain)) {
        if (failed()) return true;
        ++in_vain;
        continue;
      }
      in_vain = 0;
      const moved how = move_some();
      // What it waits for it still holds, and so misses no edge.
      if (how == moved::source_is_empty)
        wait_and_let_go(source);
      else if (how == moved::sink_is_full)
        wait_and_let_go(sink);
      else
        let_both_go();
      if (how == moved::nothing_possible) return false;
      if (how == moved::all || failed()) return true;
    }
    return false;
  }

  void wait_and_let_go(end_of_copy& e) noexcept {
    end_of_copy& beside = other(e);
    beside.d->end(beside.which, false);
    wait(e, awaited::readiness);
    let_go(e);
  }

  void let_both_go() noexcept {
    sink.d->end(sink.which, false);
    let_go(source);
  }

  /// Waits for the one, and takes the other only if it is free; the next time the other way round.
  bool hold_both(int attempt) noexcept {
    end_of_copy& first = attempt % 2 == 0 ? sink : source;
    end_of_copy& second = other(first);
    if (!hold(first)) return false;
    switch (second.d->try_begin(second.which)) {
      case begun::held:
      case begun::held_and_drained:
        return true;
      case begun::busy:
        break;
      case begun::closed:
        second.why = failure_of(wait_outcome::closed);
        break;
      case begun::timed_out:
        second.why = failure_of(wait_outcome::timed_out);
        break;
    }
    let_go(first);
    return false;
  }

  enum class moved { some, all, source_is_empty, sink_is_full, nothing_possible, failed };

  /// EAGAIN does not tell which of the two it is.
  moved move_some() noexcept {
    for (int call = 0; call < most_vain_calls; ++call) {
      const ssize_t n = splice_now(source.fd(), sink.fd(), at_a_time);
      if (n == 0) return moved::all;
      if (n > 0) {
        total += static_cast<std::uint64_t>(n);
        return moved::some;
      }
      // EBADF: one of them was opened for the other direction alone; a read or a write tells which.
      if (n == -EINVAL || n == -ENOSYS || n == -EBADF) return moved::nothing_possible;
      if (n != -EAGAIN && n != -EINTR) {
        // A pipe fails only as a sink, and only so.
        const bool of_the_source = source.d->kind != file_kind::pipe && n != -EPIPE;
        (of_the_source ? source : sink).why.error = static_cast<int>(-n);
        return moved::failed;
      }
      if (poll_now(source.fd(), POLLIN) == -EAGAIN) return moved::source_is_empty;
      if (poll_now(sink.fd(), POLLOUT) == -EAGAIN) return moved::sink_is_full;
    }
    return moved::nothing_possible;
  }

  bool both_kept_ = false;
};

}  // namespace

std::uint64_t detail::copy_streams(net::byte_stream& from, net::byte_stream& to, std::error_code* from_error,
                                   std::error_code* to_error) {
  copier it(net_access::of(from), net_access::of(to));
  it.run();
  failure& of_source = it.source.why;
  failure& of_sink = it.sink.why;
  if (from_error != nullptr) {
    if (of_source.cancelled || of_sink.cancelled) of_source = of_sink = failure_of(wait_outcome::cancelled);
    *from_error = to_code(of_source);
    *to_error = to_code(of_sink);
    return it.total;
  }
  if (of_source) raise(of_source, "copy: read from " + name_of(it.source.d));
  if (of_sink) raise(of_sink, "copy: write to " + name_of(it.sink.d));
  return it.total;
}

}  // namespace v0
}  // namespace weft
