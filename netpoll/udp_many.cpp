// SPDX-License-Identifier: Apache-2.0
// Many datagrams at a time: recvmmsg and sendmmsg, a chunk at a time from arrays on the stack, so nothing is allocated.
//
// Segmentation. Datagrams of one length to one address that follow each other (the last may be shorter) go to the kernel
// as one message that it cuts up again (UDP_SEGMENT, Linux 4.18): they pass its stack once, not each. What arrives is the
// same. The kernel refuses a run of datagrams that would have to be fragmented, or that the device gives no checksum;
// then this socket makes runs of shorter datagrams only (`descriptor::longest_segment`), and the refused ones go one by
// one. A kernel that does not know the option would send the run as one datagram, so it is asked first, once a socket.
//
// Measured (bench/udp_bench.cpp; 64 bytes each, sent and received over loopback by one fiber, ns of CPU a datagram, on a
// virtual machine with slow system calls): 4970 one at a time, 1390 by chunks, 580 by chunks and segments; of 1200 bytes
// 4980, 1400, 620. A bare sendto and recv: 4450.
#include <weft/net/udp.hpp>

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/side.hpp"
#include "netpoll/udp.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

constexpr std::size_t chunk = 32;  // some 4 KiB of the stack; below the 64 segments that a kernel makes of a message

/// How many were received, at least 1, or minus the errno.
[[gnu::noinline]] int receive_chunk(int fd, std::span<net::incoming> to) noexcept {
  mmsghdr messages[chunk];
  iovec pieces[chunk];
  sockaddr_in6 senders[chunk];
  const std::size_t count = std::min(to.size(), chunk);
  for (std::size_t i = 0; i < count; ++i) {
    pieces[i] = {to[i].buffer.data(), to[i].buffer.size()};
    senders[i].sin6_family = AF_UNSPEC;
    messages[i] = {};
    messages[i].msg_hdr.msg_name = &senders[i];
    messages[i].msg_hdr.msg_namelen = sizeof senders[i];
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  const int got = recv_messages_now(fd, messages, static_cast<unsigned>(count));
  for (int i = 0; i < got; ++i) {
    net::incoming& each = to[static_cast<std::size_t>(i)];
    each.bytes = messages[i].msg_len;
    each.from = endpoint_access::from(senders[i]);
    each.truncated = (messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
  }
  return got;
}

/// The first datagrams of a call, as the kernel takes them.
class message_chunk {
 public:
  message_chunk(std::span<const net::outgoing> from, bool v6, descriptor& d) noexcept {
    for (const net::outgoing& each : from.first(std::min(from.size(), chunk))) {
      const bool to_the_peer = each.to == net::endpoint();
      if (!to_the_peer && each.to.port() == 0) break;  // as `send_to`: it is refused once it is the first
      pieces_[datagrams_] = {const_cast<std::byte*>(each.data.data()), each.data.size()};
      if (datagrams_ != 0 && each.to == from[first_of_run_].to && lengthens_run(each.data.size(), d))
        ++last().msg_hdr.msg_iovlen;
      else
        begin_run(to_the_peer, each, v6);
      ++datagrams_;
    }
    end_run();
  }
  message_chunk(const message_chunk&) = delete;
  message_chunk& operator=(const message_chunk&) = delete;

  /// How many datagrams were sent, at least 1, or minus the errno.
  int send(int fd) noexcept {
    if (datagrams_ == 0) return -EINVAL;
    const int messages = send_messages_now(fd, messages_, static_cast<unsigned>(count_));
    int sent = messages < 0 ? messages : 0;
    for (int i = 0; i < messages; ++i) sent += static_cast<int>(messages_[i].msg_hdr.msg_iovlen);
    return sent;
  }

  /// The length that the first message is to be cut up into; 0: it is one datagram.
  std::uint32_t first_segment() const noexcept {
    return count_ != 0 && messages_[0].msg_hdr.msg_iovlen > 1 ? static_cast<std::uint32_t>(pieces_[0].iov_len) : 0;
  }

 private:
  mmsghdr& last() noexcept { return messages_[count_ - 1]; }

  void begin_run(bool to_the_peer, const net::outgoing& first, bool v6) noexcept {
    end_run();
    msghdr& m = messages_[count_].msg_hdr;
    messages_[count_] = {};
    if (!to_the_peer) {
      m.msg_name = &addresses_[count_];
      m.msg_namelen =
          v6 ? endpoint_access::to_v6(first.to, addresses_[count_]) : endpoint_access::to(first.to, addresses_[count_]);
    }
    m.msg_iov = &pieces_[datagrams_];
    m.msg_iovlen = 1;
    first_of_run_ = datagrams_;
    bytes_ = first.data.size();
    ++count_;
  }

  /// Whether `size` more bytes can be another datagram of the last message.
  bool lengthens_run(std::size_t size, descriptor& d) noexcept {
    const std::size_t segment = pieces_[first_of_run_].iov_len;
    const bool last_was_shorter = pieces_[datagrams_ - 1].iov_len != segment;
    // An empty one would be gone.
    if (last_was_shorter || size == 0 || size > segment || bytes_ + size > net::udp_socket::largest) return false;
    if (d.longest_segment == descriptor::unknown) {
      int now = 0;
      const bool known = get_option_now(d.fd(), IPPROTO_UDP, UDP_SEGMENT, &now, sizeof now) == 0;
      d.longest_segment = known ? static_cast<std::uint32_t>(net::udp_socket::largest) : 0;
    }
    if (segment > d.longest_segment) return false;
    bytes_ += size;
    return true;
  }

  void end_run() noexcept {
    if (count_ == 0 || last().msg_hdr.msg_iovlen == 1) return;
    msghdr& m = last().msg_hdr;
    auto& control = control_[count_ - 1];
    m.msg_control = &control;
    m.msg_controllen = sizeof control.room;
    cmsghdr* const header = CMSG_FIRSTHDR(&m);
    header->cmsg_level = IPPROTO_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
    const auto segment = static_cast<std::uint16_t>(pieces_[first_of_run_].iov_len);
    std::memcpy(CMSG_DATA(header), &segment, sizeof segment);
  }

  struct alignas(cmsghdr) segment_size {
    char room[CMSG_SPACE(sizeof(std::uint16_t))];
  };

  std::size_t count_ = 0;         ///< of messages
  std::size_t datagrams_ = 0;     ///< in them
  std::size_t first_of_run_ = 0;  ///< the first datagram of the last message
  std::size_t bytes_ = 0;         ///< of the last message
  mmsghdr messages_[chunk];
  iovec pieces_[chunk];
  sockaddr_in6 addresses_[chunk];
  segment_size control_[chunk];
};

bool refuses_segments(int result) noexcept {
  return result == -EINVAL || result == -EIO || result == -EMSGSIZE || result == -ENOPROTOOPT || result == -EOPNOTSUPP;
}

/// How many datagrams were sent, at least 1, or minus the errno. The writing side must be held by the caller.
[[gnu::noinline]] int send_chunk(descriptor& d, bool v6, std::span<const net::outgoing> from) noexcept {
  for (;;) {
    message_chunk messages(from, v6, d);
    const int sent = messages.send(d.fd());
    const std::uint32_t segment = messages.first_segment();
    if (segment == 0 || !refuses_segments(sent)) return sent;
    // No length helps where the device gives no checksums.
    d.longest_segment = sent == -EINVAL || sent == -EMSGSIZE ? segment - 1 : 0;
  }
}

/// Nothing to do: as reading into no buffer, it asks for no side.
bool nothing_to_do(const descriptor* d, std::size_t datagrams, failure& why) noexcept {
  if (datagrams != 0) return false;
  why = d == nullptr ? no_descriptor : cancelled_at_entry();
  return true;
}

std::size_t receive_many(descriptor* d, std::span<net::incoming> to, failure& why) noexcept {
  if (nothing_to_do(d, to.size(), why)) return 0;
  held_side side(d, direction::read, why);
  std::size_t done = 0;
  while (side && done != to.size()) {
    const std::span<net::incoming> rest = to.subspan(done);
    const int got = receive_chunk(side.fd(), rest);
    if (got > 0) done += static_cast<std::size_t>(got);
    if (got >= static_cast<int>(std::min(rest.size(), chunk))) continue;
    if (done != 0 || !side.again(got, why)) break;
  }
  return done;
}

std::size_t send_all(descriptor* d, bool v6, std::span<const net::outgoing> from, failure& why) noexcept {
  if (nothing_to_do(d, from.size(), why)) return 0;
  held_side side(d, direction::write, why);
  std::size_t done = 0;
  while (side && done != from.size()) {
    const int sent = send_chunk(side.it(), v6, from.subspan(done));
    failure here;
    if (sent > 0)
      done += static_cast<std::size_t>(sent);
    else if (!side.again(sent, here)) {
      if (done == 0) why = here;
      break;
    }
  }
  return done;
}

}  // namespace

namespace net {

std::size_t udp_socket::recv_many(std::span<incoming> to) {
  return or_throw([&](const failure& why) { raise(why, "receive on " + local_.to_string()); },
                  [&](failure& why) { return receive_many(d_, to, why); });
}

std::size_t udp_socket::recv_many(std::span<incoming> to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return receive_many(d_, to, why); });
}

std::size_t udp_socket::send_many(std::span<const outgoing> from) {
  return or_throw(
      [&](const failure& why) {
        if (from.empty()) raise(why, "send no datagrams");
        const outgoing& first = from.front();
        fail_to_send(why, first.data.size(), first.to == endpoint() ? nullptr : &first.to, d_, v6_);
      },
      [&](failure& why) { return send_all(d_, v6_, from, why); });
}

std::size_t udp_socket::send_many(std::span<const outgoing> from, std::error_code& error) {
  return or_code(error, [&](failure& why) { return send_all(d_, v6_, from, why); });
}

}  // namespace net
}  // namespace v0
}  // namespace weft
