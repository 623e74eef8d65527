// SPDX-License-Identifier: Apache-2.0
//
// Many datagrams in a call. This program has a sendmmsg and a recvmmsg of its own, which the library finds instead of
// libc's: they count, and say what a kernel may say and the loopback device does not.

#include <gtest/gtest.h>

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tests/netpoll/loopback.hpp"

namespace {

std::atomic<int> sends{0}, receives{0};
std::atomic<int> messages_with_segments{0};
/// What the next calls of sendmmsg say instead of sending; 0: they send.
std::atomic<int> next_error{0}, segments_error{0};
/// So many calls of sendmmsg more find room.
constexpr int always = 1 << 30;
std::atomic<int> calls_with_room{always};
std::atomic<bool> one_at_a_time{false};

bool has_segments(const mmsghdr& message) { return message.msg_hdr.msg_controllen != 0; }

}  // namespace

extern "C" int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  ++sends;
  if (calls_with_room == 0) {
    errno = EAGAIN;
    return -1;
  }
  --calls_with_room;
  for (unsigned i = 0; i < count && segments_error != 0; ++i)
    if (has_segments(messages[i])) {
      count = i;
      if (i == 0) {
        errno = segments_error;
        return -1;
      }
    }
  if (const int error = next_error.exchange(0)) {
    errno = error;
    return -1;
  }
  if (one_at_a_time) count = 1;
  const auto sent = static_cast<int>(syscall(SYS_sendmmsg, fd, messages, count, flags));
  for (int i = 0; i < sent; ++i)
    if (has_segments(messages[i])) ++messages_with_segments;
  return sent;
}
extern "C" int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
  ++receives;
  return static_cast<int>(syscall(SYS_recvmmsg, fd, messages, count, flags, timeout));
}

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::endpoint;
using weft::net::incoming;
using weft::net::outgoing;
using weft::net::udp_socket;

/// Room for datagrams, each of at most `size` bytes.
class room {
 public:
  explicit room(std::size_t count, std::size_t size = 64) : bytes_(count * size), all(count) {
    for (std::size_t i = 0; i < count; ++i) all[i].buffer = std::span(bytes_).subspan(i * size, size);
  }

 private:
  std::vector<char> bytes_;

 public:
  std::vector<incoming> all;
};

std::string text_of(const incoming& one) { return {reinterpret_cast<const char*>(one.buffer.data()), one.bytes}; }

/// The numbers from 0, each as a datagram.
struct numbers {
  std::vector<std::string> texts;
  std::vector<outgoing> all;
  numbers(int count, const endpoint& to) {
    for (int i = 0; i < count; ++i) texts.push_back(std::to_string(i));
    for (const std::string& each : texts) all.push_back({each, to});
  }
};

/// Receives `count` of them, however many come at a time.
std::vector<std::string> receive(udp_socket& socket, std::size_t count, const endpoint& from, std::size_t size = 64) {
  std::vector<std::string> got;
  while (got.size() < count) {
    room r(count - got.size(), size);
    const std::size_t n = socket.recv_many(r.all);
    EXPECT_GE(n, 1u);
    for (const incoming& each : std::span(r.all).first(n)) {
      got.push_back(text_of(each));
      EXPECT_EQ(each.from, from);
      EXPECT_FALSE(each.truncated);
    }
  }
  return got;
}

/// Bytes of the socket's receive buffer that are in use.
std::uint32_t in_use(udp_socket& socket) {
  std::uint32_t info[SK_MEMINFO_VARS] = {};
  socklen_t length = sizeof info;
  EXPECT_EQ(getsockopt(socket.native_handle(), SOL_SOCKET, SO_MEMINFO, info, &length), 0);
  return info[SK_MEMINFO_RMEM_ALLOC];
}

TEST(udp_many, carries_more_than_a_chunk_in_order) {
  weft::run([] {
    for (const char* host : {"127.0.0.1:0", "[::1]:0", ":0"}) {
      std::error_code error;
      auto a = udp_socket::bind(host, error);
      if (error) continue;  // no IPv6 here
      auto b = udp_socket::bind("127.0.0.1:0");
      if (std::string(host) == "[::1]:0") b = udp_socket::bind(host);
      const endpoint from = endpoint::parse((b.local_endpoint().is_v6() ? "[::1]:" : "127.0.0.1:") +
                                            std::to_string(a.local_endpoint().port()));
      const numbers sent(150, b.local_endpoint());
      EXPECT_EQ(a.send_many(sent.all), 150u);
      EXPECT_EQ(receive(b, 150, from), sent.texts) << host;
    }
  });
}

TEST(udp_many, takes_at_once_what_is_there_and_waits_for_the_first_alone) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    room r(200);
    auto receiver = weft::spawn([&] { return b.recv_many(r.all); });
    until_waiting(1);
    a.send_to(std::string_view("x"), b.local_endpoint());
    EXPECT_EQ(receiver.join(), 1u);
    a.send_to(std::string_view("x"), b.local_endpoint());
    until([&] { return in_use(b) != 0; });
    const std::uint32_t one = in_use(b);
    constexpr unsigned count = 100;
    for (unsigned i = 1; i < count; ++i) a.send_to(std::string_view("x"), b.local_endpoint());
    until([&] { return in_use(b) == count * one; });
    EXPECT_EQ(b.recv_many(std::span(r.all).first(70)), 70u);
    const int before = receives;
    EXPECT_EQ(b.recv_many(r.all), count - 70);
    EXPECT_EQ(receives - before, 1);  // which has found no more
  });
}

TEST(udp_many, tells_of_each_what_recv_from_tells) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    auto c = udp_socket::bind("127.0.0.1:0");
    const std::array<outgoing, 3> three{
        outgoing{std::string_view("too long"), c.local_endpoint()},
        outgoing{{}, c.local_endpoint()},
        outgoing{.data = std::string_view("fits"), .to = c.local_endpoint()},
    };
    EXPECT_EQ(a.send_many(three), 3u);
    std::array<char, 4> buffers[4];
    std::array<incoming, 4> in{incoming{buffers[0]}, incoming{.buffer = buffers[1]}, {buffers[2]}, {buffers[3]}};
    std::size_t n = 0;
    while (n < 3) n += c.recv_many(std::span(in).subspan(n));
    EXPECT_EQ(n, 3u);
    EXPECT_TRUE(in[0].truncated);
    EXPECT_EQ(text_of(in[0]), "too ");
    EXPECT_FALSE(in[1].truncated);
    EXPECT_EQ(in[1].bytes, 0u);
    EXPECT_EQ(text_of(in[2]), "fits");
    for (int i = 0; i < 3; ++i) EXPECT_EQ(in[static_cast<std::size_t>(i)].from, a.local_endpoint());
    b.send_to(std::string_view("b"), c.local_endpoint());
    EXPECT_EQ(c.recv_many(in), 1u);  // what was told of others before is told anew
    EXPECT_EQ(in[0].from, b.local_endpoint());
    EXPECT_FALSE(in[0].truncated);
    EXPECT_EQ(text_of(in[0]), "b");
  });
}

TEST(udp_many, goes_to_several_and_to_the_peer_where_none_is_named) {
  weft::run([] {
    auto ours = udp_socket::bind("127.0.0.1:0");
    auto first = udp_socket::bind("127.0.0.1:0");
    auto second = udp_socket::bind("127.0.0.1:0");
    const std::array<outgoing, 4> four{outgoing{std::string_view("1"), first.local_endpoint()},
                                       outgoing{std::string_view("2"), second.local_endpoint()},
                                       outgoing{std::string_view("3"), {}},
                                       outgoing{std::string_view("4"), first.local_endpoint()}};
    EXPECT_EQ(ours.send_many(four), 2u);  // it has no peer
    EXPECT_EQ(code_of([&] { ours.send_many(std::span(four).subspan(2)); }), std::errc::destination_address_required);
    ours.connect(second.local_endpoint());
    EXPECT_EQ(ours.send_many(std::span(four).subspan(2)), 2u);
    EXPECT_EQ(receive(first, 2, ours.local_endpoint()), (std::vector<std::string>{"1", "4"}));
    EXPECT_EQ(receive(second, 2, ours.local_endpoint()), (std::vector<std::string>{"2", "3"}));
  });
}

TEST(udp_many, of_nothing_is_nothing) {
  weft::run([] {
    auto socket = udp_socket::bind("127.0.0.1:0");
    const int before = sends + receives;
    EXPECT_EQ(socket.send_many({}), 0u);
    EXPECT_EQ(socket.recv_many({}), 0u);
    std::error_code error;
    EXPECT_EQ(socket.recv_many({}, error), 0u);
    EXPECT_FALSE(error);
    EXPECT_EQ(sends + receives, before);
    udp_socket none;
    EXPECT_EQ(code_of([&] { none.send_many({}); }), std::errc::bad_file_descriptor);
    EXPECT_EQ(code_of([&] { none.recv_many({}); }), std::errc::bad_file_descriptor);
    room r(1);
    EXPECT_EQ(code_of([&] { none.recv_many(r.all); }), std::errc::bad_file_descriptor);
    const numbers one(1, socket.local_endpoint());
    EXPECT_EQ(code_of([&] { none.send_many(one.all); }), std::errc::bad_file_descriptor);
  });
}

TEST(udp_many, one_that_cannot_be_sent_ends_the_call_and_fails_the_next) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    const std::vector<std::byte> too_much(udp_socket::largest + 1);
    numbers sent(70, b.local_endpoint());
    const endpoint good = b.local_endpoint();
    const struct {
      std::span<const std::byte> data;
      endpoint to;
      std::errc error;
      const char* says;
    } bad[] = {
        {too_much, good, std::errc::message_size, "65508 bytes"},
        {{}, endpoint::parse("127.0.0.1:0"), std::errc::invalid_argument, "port 0"},
        {{}, endpoint::parse("[::1]:9"), std::errc::address_family_not_supported, "IPv4 address"},
        {{}, endpoint::parse("127.255.255.255:9"), std::errc::permission_denied, "set_broadcast(true)"},
    };
    for (const auto& each : bad)
      for (const std::size_t place : {0u, 1u, 31u, 32u, 69u}) {
        const outgoing kept = std::exchange(sent.all[place], outgoing{each.data, each.to});
        const std::span<const outgoing> all = sent.all;
        std::error_code error = std::make_error_code(std::errc::io_error);
        if (place != 0) {
          EXPECT_EQ(a.send_many(all, error), place);
          EXPECT_FALSE(error);
        }
        EXPECT_EQ(a.send_many(all.subspan(place), error), 0u);
        EXPECT_EQ(error, each.error) << each.says << ' ' << error.message();
        const auto again = [&] { a.send_many(all.subspan(place)); };
        EXPECT_NE(message_of(again).find(each.says), std::string::npos) << message_of(again);
        EXPECT_EQ(a.send_many(all.subspan(place + 1)), 69 - place);
        EXPECT_EQ(receive(b, 69, a.local_endpoint()).size(), 69u);
        sent.all[place] = kept;
      }
  });
}

TEST(udp_many, waits_for_room_for_all) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    numbers sent(40, b.local_endpoint());
    for (std::size_t i = 0; i < sent.all.size(); i += 2) sent.all[i].data = {};  // no runs
    a.set_write_deadline(weft::clock::now() - 1ms);
    EXPECT_EQ(code_of([&] { a.send_many(sent.all); }), std::errc::timed_out);
    a.set_write_deadline(weft::clock::time_point::max());

    one_at_a_time = true;
    const int before = sends;
    EXPECT_EQ(a.send_many(sent.all), 40u);
    EXPECT_EQ(sends - before, 40);
    one_at_a_time = false;
    EXPECT_EQ(receive(b, 40, a.local_endpoint()).size(), 40u);

    next_error = EINTR;
    EXPECT_EQ(a.send_many(sent.all), 40u);
    EXPECT_EQ(receive(b, 40, a.local_endpoint()).size(), 40u);

    calls_with_room = 0;
    auto sender = weft::spawn([&] { return code_of([&] { a.send_many(sent.all); }); });
    until_waiting(1);
    a.close();
    EXPECT_EQ(sender.join(), std::errc::operation_canceled);
    calls_with_room = always;
  });
}

// What was sent counts, however the wait for the rest ends.
TEST(udp_many, a_call_that_ends_early_says_how_many_were_sent) {
  weft::run([] {
    auto b = udp_socket::bind("127.0.0.1:0");
    numbers sent(3, b.local_endpoint());
    one_at_a_time = true;
    for (const char* how : {"late", "cancelled", "closed"}) {
      auto a = udp_socket::bind("127.0.0.1:0");
      weft::cancel_scope region;
      sent.all[1].data = {};  // no run
      calls_with_room = 1;
      auto sender = weft::spawn([&] {
        std::size_t n = 0;
        EXPECT_TRUE(region.run([&] { n = a.send_many(sent.all); })) << how;
        EXPECT_EQ(n, 1u) << how;
        std::error_code error;
        region.run([&] { n = a.send_many(std::span(sent.all).subspan(1), error); });
        EXPECT_EQ(n, 0u) << how;
        return error;
      });
      until_waiting(1);
      if (how == std::string("late")) a.set_write_deadline(weft::clock::now() - 1ms);
      if (how == std::string("cancelled")) region.cancel();
      if (how == std::string("closed")) a.close();
      EXPECT_EQ(sender.join(), how == std::string("late") ? std::errc::timed_out : std::errc::operation_canceled);
      EXPECT_EQ(receive(b, 1, a.local_endpoint()), std::vector<std::string>{"0"});
    }
    one_at_a_time = false;
    calls_with_room = always;
  });
}

TEST(udp_many, receiving_is_closed_cancelled_and_late_as_elsewhere) {
  weft::run([] {
    auto socket = udp_socket::bind("127.0.0.1:0");
    room r(4);
    socket.send_to(std::string_view("x"), socket.local_endpoint());
    socket.set_read_deadline(weft::clock::now() - 1ms);
    EXPECT_EQ(code_of([&] { socket.recv_many(r.all); }), std::errc::timed_out);
    socket.set_read_deadline(weft::clock::time_point::max());
    EXPECT_EQ(socket.recv_many(r.all), 1u);
    EXPECT_THROW(weft::with_timeout(1ms, [&] { socket.recv_many(r.all); }), weft::timed_out);
    weft::cancel_scope region;
    auto receiver = weft::spawn([&] {
      const bool ended = region.run([&] { socket.recv_many(r.all); });
      return ended ? std::error_code() : code_of([&] { socket.recv_many(r.all); });
    });
    until_waiting(1);
    region.cancel();
    until_waiting(1);
    while (!receiver.done()) {  // it may not have begun to wait anew
      socket.close();
      weft::yield();
    }
    EXPECT_EQ(receiver.join(), std::errc::operation_canceled);
  });
}

TEST(udp_many, a_refusal_of_the_peer_is_told) {
  weft::run([] {
    auto holder = udp_socket::bind("127.0.0.1:0");  // has the port, and takes in what comes from its peer alone
    holder.connect("127.0.0.2:1");
    auto ours = udp_socket::bind("127.0.0.1:0");
    ours.connect(endpoint::parse("127.0.0.1:" + std::to_string(holder.local_endpoint().port())));
    room r(4);
    auto receiver = weft::spawn([&] { return code_of([&] { ours.recv_many(r.all); }); });
    until_waiting(1);
    ours.send(std::string_view("x"));
    EXPECT_EQ(receiver.join(), std::errc::connection_refused);
    const std::array<outgoing, 1> one{outgoing{std::string_view("x"), {}}};
    std::error_code error;
    until([&] {
      ours.send_many(one, error);
      return bool(error);
    });
    EXPECT_EQ(error, std::errc::connection_refused);
  });
}

TEST(udp_many, works_from_plain_threads) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    std::vector<std::string> got;
    std::thread receiver([&] { got = receive(b, 3, a.local_endpoint()); });
    until_waiting(1);
    const numbers sent(3, b.local_endpoint());
    EXPECT_EQ(a.send_many(sent.all), 3u);
    weft::blocking([&] { receiver.join(); });
    EXPECT_EQ(got, sent.texts);
  });
}

TEST(udp_many, fits_the_smallest_stack) {
  weft::run([] {
    auto socket = udp_socket::bind("127.0.0.1:0");
    const numbers sent(100, socket.local_endpoint());
    room r(100);
    auto small = weft::spawn({.stack_size = 16 * 1024}, [&] {
      EXPECT_EQ(socket.send_many(sent.all), 100u);
      for (std::size_t n = 0; n < 100;) n += socket.recv_many(std::span(r.all).subspan(n));
    });
    small.join();
    EXPECT_EQ(text_of(r.all[99]), "99");
  });
}

// Segmentation by the kernel: what arrives is the same with it and without.

bool kernel_segments() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  int value = 0;
  socklen_t length = sizeof value;
  constexpr int udp_segment = 103;
  const bool known = getsockopt(fd, IPPROTO_UDP, udp_segment, &value, &length) == 0;
  close(fd);
  return known;
}

std::vector<std::string> of_lengths(const std::vector<std::size_t>& lengths) {
  std::vector<std::string> result;
  char mark = 'a';
  for (const std::size_t length : lengths) {
    result.emplace_back(length, mark);
    mark = mark == 'z' ? 'a' : static_cast<char>(mark + 1);
  }
  return result;
}

std::vector<outgoing> all_to(const std::vector<std::string>& texts, const endpoint& to) {
  std::vector<outgoing> result;
  for (const std::string& each : texts) result.push_back({each, to});
  return result;
}

TEST(udp_segments, arrive_as_the_datagrams_that_they_were) {
  weft::run([] {
    for (const char* host : {"127.0.0.1:0", "[::1]:0"})
      for (const bool connected : {false, true}) {
        std::error_code error;
        auto a = udp_socket::bind(host, error);
        if (error) continue;  // no IPv6 here
        auto b = udp_socket::bind(host);
        if (connected) a.connect(b.local_endpoint());
        for (const std::vector<std::size_t>& lengths : {std::vector<std::size_t>(70, 100),
                                                        std::vector<std::size_t>{100, 100, 1},
                                                        {100, 100, 0, 100, 100},
                                                        {0, 0, 0},
                                                        {1, 1, 1, 2, 2, 2, 1, 1, 1},
                                                        {100, 50, 50, 100, 100, 99, 99},
                                                        {9000, 9000, 9000, 9000, 9000},
                                                        {30000, 30000, 30000},
                                                        {32754, 32753},
                                                        {65507, 1, 65507}}) {
          const std::vector<std::string> texts = of_lengths(lengths);
          const int before = messages_with_segments;
          const auto all = all_to(texts, connected ? endpoint() : b.local_endpoint());
          EXPECT_EQ(a.send_many(all), texts.size());
          EXPECT_EQ(receive(b, texts.size(), a.local_endpoint(), udp_socket::largest + 1), texts);
          const bool has_run = lengths[0] != 0 && lengths[0] != 65507;
          EXPECT_EQ(messages_with_segments > before, kernel_segments() && has_run) << lengths[0];
        }
      }
  });
}

TEST(udp_segments, keep_apart_what_goes_to_several) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    auto c = udp_socket::bind("127.0.0.1:0");
    const std::vector<std::string> texts = of_lengths(std::vector<std::size_t>(12, 100));
    std::vector<outgoing> all = all_to(texts, b.local_endpoint());
    for (const std::size_t i : {2u, 3u, 4u, 8u}) all[i].to = c.local_endpoint();
    EXPECT_EQ(a.send_many(all), 12u);
    const auto to_c = receive(c, 4, a.local_endpoint(), 1000), to_b = receive(b, 8, a.local_endpoint(), 1000);
    EXPECT_EQ(to_c, (std::vector<std::string>{texts[2], texts[3], texts[4], texts[8]}));
    EXPECT_EQ(to_b, (std::vector<std::string>{texts[0], texts[1], texts[5], texts[6], texts[7], texts[9], texts[10],
                                              texts[11]}));
  });
}

TEST(udp_segments, that_are_refused_go_one_by_one) {
  if (!kernel_segments()) GTEST_SKIP() << "this kernel has no UDP_SEGMENT";
  weft::run([] {
    for (const int refusal : {EINVAL, EMSGSIZE, EIO, ENOPROTOOPT, EOPNOTSUPP}) {
      auto a = udp_socket::bind("127.0.0.1:0");
      auto b = udp_socket::bind("127.0.0.1:0");
      const std::vector<std::string> texts = of_lengths({10, 20, 100, 100, 100, 50, 50, 50, 20, 20, 20});
      const auto all = all_to(texts, b.local_endpoint());
      segments_error = refusal;
      EXPECT_EQ(a.send_many(all), texts.size());
      EXPECT_EQ(receive(b, texts.size(), a.local_endpoint(), 1000), texts);
      segments_error = 0;
      const int before = messages_with_segments, calls = sends;
      EXPECT_EQ(a.send_many(all), texts.size());
      EXPECT_EQ(messages_with_segments, before) << "asked for again";
      EXPECT_EQ(sends - calls, 1);
      const std::vector<std::string> shorter = of_lengths(std::vector<std::size_t>(5, 15));
      EXPECT_EQ(a.send_many(all_to(shorter, b.local_endpoint())), 5u);
      EXPECT_EQ(messages_with_segments - before, refusal == EINVAL || refusal == EMSGSIZE ? 1 : 0);
      receive(b, texts.size() + 5, a.local_endpoint(), 1000);
    }
  });
}

}  // namespace
