// SPDX-License-Identifier: Apache-2.0
// TCP between sockets of one host.
//
// A connection is two ends. What an end sends lies on its wire until it is in the other end's buffer; both have room
// for `troubles::buffer` bytes.
//
// Invariants
//  1. Nothing overtakes what was sent before on the same wire: not the FIN, and not what waits for the other's buffer.
//  2. `wire_size` is the sum of the segments' bytes.
//  3. An end that is `over` has nothing on its wire, and nothing more comes to it.
//
// As Linux has it (net/ipv4/tcp.c, tcp_input.c):
//   connect   of a socket that does not block says EINPROGRESS, even if the answer is there by the end of the call. A
//             full queue of the listener drops the SYN, which comes again after 1 s, then 2 s, and so on.
//   accept    asks for a number first: EMFILE and ENFILE come also if nobody is in the queue. A connection that has
//             been reset is given out all the same. A listener that is closed resets those in its queue.
//   room      EPOLLOUT comes as an edge only after a call or a poll has been told that there is no room, and once a
//             third of the buffer is free.
//   FIN       is a change of state: with the data before it one edge, or another. So is its acknowledgement, at the
//             end that has sent it, and the end of the connection, after both FINs.
//   close     with unread data resets. Data that comes to an end that is closed, or is shut down in both directions,
//             resets as well; after SHUT_RD alone it is still taken.
//   a reset   leaves what was in the buffer to be read. The error is EPIPE if the FIN had come and this end had not
//             sent its own, else ECONNRESET; it is told once. HUP, ERR, IN, RDHUP and OUT hold together then.
// Differs from Linux: the handshake is one moment for both ends; acknowledgements take no time; a reset overtakes what
// its sender had sent before, which is lost.
// Not modelled: segments that are lost or overtake each other, Nagle, urgent data, SO_LINGER, keep-alive, SO_RCVLOWAT,
// a connection to itself, TIME_WAIT (a port is free at once), ETIMEDOUT, ICMP errors, a second connect, shutdown of a
// listener or while a connect is under way (ENOTCONN), listen without bind (EINVAL).
#pragma once

#include <deque>
#include <string>

#include "tests/sim/kernel/address.hpp"
#include "tests/sim/kernel/file.hpp"

namespace sim::kernel {

struct tcp_socket : file {
  enum class is { fresh, listens, connects, connected, over };
  struct segment {
    instant at;
    std::string data;
    bool fin = false;
  };

  is now_is = is::fresh;
  sockaddr_in local{}, remote{};
  bool bound = false;
  bool orphan = false;                       ///< no number stands for it any more
  int error = 0;                             ///< SO_ERROR
  bool in_ended = false, out_ended = false;  ///< RCV_SHUTDOWN, SEND_SHUTDOWN
  bool fin_came = false;
  bool no_room_seen = false;  ///< SOCK_NOSPACE: somebody waits for room
  std::deque<char> in;
  std::deque<segment> wire;
  std::size_t wire_size = 0;
  instant next_pump = -1;  ///< when the wire is looked at next; -1: nobody looks
  bool blocked = false;    ///< the other end's buffer is full
  tcp_socket* peer = nullptr;
  std::deque<tcp_socket*> queue;  ///< of a listener: connections that nobody has accepted
  std::size_t queue_max = 0;
  instant syn_again_after = 1'000'000'000;

  std::uint32_t state() noexcept override;
  ssize_t take(char* to, std::size_t n) noexcept override;
  ssize_t put(const char* from, std::size_t n) noexcept override;
  void release() noexcept override;

  /// Sends the SYN to `remote`.
  void begin_to_connect() noexcept;
  void listen(std::size_t most_waiting) noexcept;
  /// The new connection's number, or minus the errno.
  ssize_t accept(bool nonblocking, sockaddr_in& peer_address) noexcept;
  int take_error() noexcept;
  void send_fin() noexcept;
  /// Ends the connection here, and later there.
  void send_reset() noexcept;
  /// This end learns that the connection is no more.
  void come_reset() noexcept;

 private:
  std::size_t room() const noexcept;
  bool writable() const noexcept;
  void put_on_wire(std::string data, bool fin) noexcept;
  void pump_at(instant when) noexcept;
  void pump() noexcept;
  void syn() noexcept;
  void refused() noexcept;
  bool refuses_data() const noexcept;
  void come_fin() noexcept;
  void tell_reset() noexcept;
  void clear_wire() noexcept;
};

tcp_socket* new_tcp_socket();
/// Null if nobody listens there.
tcp_socket* listener_at(unsigned port) noexcept;
/// A trouble: one of the connections, if there is any.
void reset_some_connection() noexcept;

}  // namespace sim::kernel
