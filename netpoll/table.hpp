// SPDX-License-Identifier: Apache-2.0
// The descriptors of the process: a table that never shrinks.
//
// Invariant: a slot's memory is never unmapped and never another type's, so an event that the kernel reported before
// its descriptor was closed may still look at the slot; the generation tells it that the slot is another descriptor's
// by now.
//
// Lock order: the table's lock is a leaf.
#pragma once

#include <cstdint>

#include <weft/detail/atomic.hpp>
#include <weft/net/endpoint.hpp>

#include "netpoll/descriptor.hpp"
#include "netpoll/requests.hpp"
#include "runtime/wait/env.hpp"

namespace weft::rt {

inline constexpr std::uint32_t most_descriptors = std::uint32_t{1} << 22;  ///< more than the kernel's own limit

struct net_traits : env {
  static nanoseconds_t now() noexcept { return steady_now(); }
  /// Also: a plain thread, when no runtime runs that would look for events, or one that ends. `closing` is set before
  /// the fence that precedes the release of waiting threads (runtime/run/end.cpp), so that a thread which comes later
  /// finds it here.
  static bool cancel_pending(const G* g) noexcept {
    if (g->kind == g_kind::thread) [[unlikely]]
      return (sched.closing.load(std::memory_order_acquire) &&
              g->thread.plain_waits.load(std::memory_order_relaxed) != wait_of_a_fiber) ||
             sched.procs.load(std::memory_order_acquire) == 0;
    return rt::cancel_pending(g);
  }
};

/// By which system calls it is read and written, and what an error calls it.
enum class file_kind : std::uint8_t {
  tcp,
  unix_domain,
  socket,  ///< of any other kind
  pipe,    ///< this and the next: read(2) and write(2)
  other,
  always_ready,  ///< nothing reports it: a regular file, /dev/null
};

/// What reports the readiness of descriptors: epoll, or the ring. Each edge is handed to `descriptor::event` with the
/// generation that the descriptor had when it was added.
class readiness_reporter {
 public:
  readiness_reporter(const readiness_reporter&) = delete;
  readiness_reporter& operator=(const readiness_reporter&) = delete;

  /// Reports the edges of `d.fd()` from here on, beginning with what is ready now. Returns 0, or the errno (EPERM: a
  /// regular file is always ready).
  virtual int add(descriptor& d) noexcept = 0;
  /// Called before the file is closed, while no operation is inside the descriptor. What it reports after that finds
  /// another generation, or there is none. May park, uncancellably.
  virtual void remove(descriptor& d) noexcept = 0;

 protected:
  readiness_reporter() = default;
  ~readiness_reporter() = default;
};

struct alignas(64) descriptor : basic_descriptor<net_traits> {
  std::uint32_t index = 0;                 ///< its place in the table, from 1; constant
  descriptor* next_free = nullptr;         ///< under the table's lock
  readiness_reporter* reporter = nullptr;  ///< what it was added to; none, if it is always ready
  watch_request watch{*this};              ///< the ring's
  // Set before a fiber knows of it:
  net::endpoint peer;  ///< of a TCP connection
  file_kind kind = file_kind::other;
  /// The program's number, where `fd()` is another open file for the same pipe or terminal, of the runtime's own; else -1.
  int programs_number = -1;
  /// The number by which the program knows it.
  int number() const noexcept { return programs_number >= 0 ? programs_number : fd(); }
  /// By direction, of the holder of the side: no call on it can be told not to wait, so it is asked first.
  bool ask_first[2] = {false, false};
  /// The program has the number, and may have made the file blocking. Relaxed, as the next: a hint to calls that begin
  /// after that.
  detail::atomic<bool> lent{false};
  /// So many short reads are looked into before they are believed again (`lend`).
  detail::atomic<std::uint32_t> in_doubt{0};
  // Of datagrams (udp_socket.cpp, udp_many.cpp):
  static constexpr std::uint32_t unknown = ~std::uint32_t{0};
  /// One more than how often it was connected. Relaxed: for operations that begin after that.
  detail::atomic<std::uint32_t> connects{1};
  /// Of the holder of the reading side: `connects` as it was when nothing more lay there that others had sent before.
  std::uint32_t sifted = 0;
  /// Of the holder of the writing side: up to this many bytes a datagram the kernel cuts several out of one.
  std::uint32_t longest_segment = unknown;

  /// The program has the number from here on. 32: enough for what follows on taking it; who makes the kernel do TLS
  /// later takes it again.
  void lend() noexcept {
    lent.store(true, std::memory_order_relaxed);
    in_doubt.store(32, std::memory_order_relaxed);
  }
};

/// Throws std::bad_alloc.
descriptor* take_descriptor();
void give_back_descriptor(descriptor* d) noexcept;
/// For a slot that was taken once.
descriptor& descriptor_at(std::uint32_t index) noexcept;

/// Which numbers an object of the runtime has: epoll refuses one that comes twice, but it does not see every number (the
/// ring's, `programs_number`, those of `always_ready`). Returns false if this one was noted before.
bool note_number(int fd) noexcept;
/// Called while the number is still open.
void forget_number(int fd) noexcept;

}  // namespace weft::rt
