// SPDX-License-Identifier: Apache-2.0
//
// Datagrams as a program sees them: boundaries are kept, the sender is known, and what ends a stream's wait ends
// theirs.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::endpoint;
using weft::net::udp_socket;

std::span<const char> text(std::string_view s) { return s; }

TEST(udp, carries_datagrams_and_tells_who_has_sent_them) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    EXPECT_EQ(a.send_to(text("one"), b.local_endpoint()), 3u);
    EXPECT_EQ(a.send_to(text("three"), b.local_endpoint()), 5u);
    std::array<char, 64> buffer;
    const auto [bytes, from, truncated] = b.recv_from(buffer);
    EXPECT_EQ(std::string(buffer.data(), bytes), "one");
    EXPECT_EQ(from, a.local_endpoint());
    EXPECT_FALSE(truncated);
    std::error_code error = std::make_error_code(std::errc::io_error);
    const auto second = b.recv_from(buffer, error);
    EXPECT_FALSE(error);
    EXPECT_EQ(std::string(buffer.data(), second.bytes), "three");
    EXPECT_EQ(b.send_to(text("back"), second.from, error), 4u);
    EXPECT_EQ(a.recv_from(buffer).bytes, 4u);
  });
}

TEST(udp, an_empty_datagram_is_one) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    EXPECT_EQ(a.send_to(text(""), b.local_endpoint()), 0u);
    a.send_to(text("next"), b.local_endpoint());
    std::array<char, 8> buffer;
    const auto first = b.recv_from(buffer);
    EXPECT_EQ(first.bytes, 0u);
    EXPECT_EQ(first.from, a.local_endpoint());
    EXPECT_EQ(b.recv_from(buffer).bytes, 4u);
  });
}

TEST(udp, what_does_not_fit_is_cut_and_told_and_the_next_is_whole) {
  weft::run([] {
    for (const char* host : {"127.0.0.1:0", "[::1]:0"}) {
      std::error_code error;
      auto a = udp_socket::bind(host, error);
      if (error) continue;  // no IPv6 here
      auto b = udp_socket::bind(host);
      for (const char* sent : {"0123456789", "abc", "full"}) a.send_to(std::string_view(sent), b.local_endpoint());
      std::array<char, 4> buffer;
      const auto cut = b.recv_from(buffer);
      EXPECT_EQ(cut.bytes, 4u);
      EXPECT_TRUE(cut.truncated);
      EXPECT_EQ(cut.from, a.local_endpoint());
      EXPECT_EQ(std::string(buffer.data(), 4), "0123");
      const auto shorter = b.recv_from(buffer);
      EXPECT_EQ(std::string(buffer.data(), shorter.bytes), "abc");
      EXPECT_FALSE(shorter.truncated);
      EXPECT_FALSE(b.recv_from(buffer).truncated);  // just fits
    }
  });
}

TEST(udp, an_empty_buffer_takes_a_datagram) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    for (const char* sent : {"lost", "", "next"}) a.send_to(std::string_view(sent), b.local_endpoint());
    const auto cut = b.recv_from(std::span<char>());
    EXPECT_EQ(cut.bytes, 0u);
    EXPECT_TRUE(cut.truncated);
    EXPECT_FALSE(b.recv_from(std::span<char>()).truncated);
    std::array<char, 8> buffer;
    EXPECT_EQ(b.recv_from(buffer).bytes, 4u);
  });
}

TEST(udp, the_largest_passes_and_one_byte_more_does_not) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    const std::vector<std::byte> payload(udp_socket::largest + 1);
    EXPECT_EQ(code_of([&] { a.send_to(payload, b.local_endpoint()); }), std::errc::message_size);
    const std::string message = message_of([&] { a.send_to(payload, b.local_endpoint()); });
    EXPECT_NE(message.find("65508 bytes"), std::string::npos) << message;
    EXPECT_NE(message.find("at most 65507"), std::string::npos) << message;
    a.connect(b.local_endpoint());
    EXPECT_EQ(code_of([&] { a.send(payload); }), std::errc::message_size);
    EXPECT_NE(message_of([&] { a.send(payload); }).find(b.local_endpoint().to_string()), std::string::npos);
    a.send_to(std::span(payload).first(udp_socket::largest), b.local_endpoint());
    std::vector<std::byte> buffer(udp_socket::largest);
    EXPECT_EQ(b.recv_from(buffer).bytes, udp_socket::largest);
  });
}

TEST(udp, no_edge_is_lost) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    weft::scope s;
    s.go([&] {
      std::array<char, 16> buffer;
      for (int i = 0; i < 2000; ++i) {
        const auto got = b.recv_from(buffer);
        b.send_to(std::span<const char>(buffer.data(), got.bytes), got.from);
      }
    });
    std::array<char, 16> buffer;
    for (int i = 0; i < 2000; ++i) {  // one under way at a time: the loopback device loses none
      const std::string sent = std::to_string(i);
      a.send_to(text(sent), b.local_endpoint());
      const auto got = a.recv_from(buffer);
      ASSERT_EQ(std::string(buffer.data(), got.bytes), sent);
    }
    s.join();
  });
}

TEST(udp, several_receivers_share_what_comes) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    std::atomic<int> sum{0};
    weft::scope s;
    for (int fiber = 0; fiber < 4; ++fiber)
      s.go([&] {
        std::array<char, 16> buffer;
        const auto got = b.recv_from(buffer);
        sum += std::stoi(std::string(buffer.data(), got.bytes));
      });
    until_waiting(4);
    for (const char* number : {"1", "20", "300", "4000"}) a.send_to(text(number), b.local_endpoint());
    s.join();
    EXPECT_EQ(sum, 4321);
  });
}

TEST(udp, close_wakes_a_receiver_and_frees_the_port) {
  weft::run([] {
    auto socket = udp_socket::bind("127.0.0.1:0");
    const std::string at = socket.local_endpoint().to_string();
    auto receiver = weft::spawn([&] {
      std::array<char, 4> buffer;
      return code_of([&] { socket.recv_from(buffer); });
    });
    until_waiting(1);
    EXPECT_EQ(code_of([&] { udp_socket::bind(at); }), std::errc::address_in_use);
    socket.close();
    EXPECT_EQ(receiver.join(), std::errc::operation_canceled);
    EXPECT_EQ(code_of([&] { socket.send_to(text("x"), endpoint::parse("127.0.0.1:9")); }),
              std::errc::operation_canceled);
    udp_socket::bind(at);
  });
}

TEST(udp, has_deadlines_and_is_cancelled) {
  weft::run([] {
    auto socket = udp_socket::bind("127.0.0.1:0");
    std::array<char, 4> buffer;
    socket.set_read_deadline(weft::clock::now() + 1ms);
    EXPECT_EQ(code_of([&] { socket.recv_from(buffer); }), std::errc::timed_out);
    socket.set_read_deadline(weft::clock::time_point::max());
    EXPECT_THROW(weft::with_timeout(1ms, [&] { socket.recv_from(buffer); }), weft::timed_out);
    weft::cancel_scope region;
    auto receiver = weft::spawn([&] { return region.run([&] { socket.recv_from(buffer); }); });
    until_waiting(1);
    region.cancel();
    EXPECT_FALSE(receiver.join());
  });
}

TEST(udp, speaks_ipv6_and_ipv4_through_one_socket) {
  weft::run([] {
    std::error_code error;
    auto any = udp_socket::bind(":0", error);
    ASSERT_FALSE(error) << error.message();
    const std::string port = std::to_string(any.local_endpoint().port());
    std::array<char, 8> buffer;
    for (const char* host : {"127.0.0.1", "[::1]"}) {
      auto peer = udp_socket::bind(std::string(host) + ":0", error);
      if (error) continue;  // no IPv6 here
      peer.send_to(text("hello"), endpoint::parse(host + (":" + port)));
      const auto got = any.recv_from(buffer);
      EXPECT_EQ(got.from, peer.local_endpoint()) << got.from.to_string();
      any.send_to(text("hi"), got.from);
      EXPECT_EQ(peer.recv_from(buffer).bytes, 2u);
    }
  });
}

TEST(udp, names_what_was_wrong) {
  EXPECT_THROW(udp_socket::bind("127.0.0.1:0"), std::logic_error);  // no runtime
  weft::run([] {
    EXPECT_NE(message_of([] { udp_socket::bind("127.0.0.1"); }).find("127.0.0.1:8080"), std::string::npos);
    EXPECT_EQ(code_of([] { udp_socket::bind("192.0.2.1:0"); }), std::errc::address_not_available);
    udp_socket none;
    EXPECT_FALSE(none);
    std::array<char, 4> buffer;
    EXPECT_EQ(code_of([&] { none.recv_from(buffer); }), std::errc::bad_file_descriptor);
    EXPECT_EQ(code_of([&] { none.send_to(text("x"), endpoint()); }), std::errc::bad_file_descriptor);
    EXPECT_EQ(code_of([&] { none.connect("127.0.0.1:1"); }), std::errc::bad_file_descriptor);
    EXPECT_EQ(code_of([&] { none.recv(buffer); }), std::errc::bad_file_descriptor);
    EXPECT_EQ(code_of([&] { none.send(text("x")); }), std::errc::bad_file_descriptor);
    EXPECT_EQ(none.local_endpoint(), endpoint());
    auto socket = udp_socket::bind("127.0.0.1:0");
    const auto to_none = [&] { socket.send_to(text("x"), endpoint::parse("127.0.0.1:0")); };
    EXPECT_EQ(code_of(to_none), std::errc::invalid_argument);
    EXPECT_NE(message_of(to_none).find("127.0.0.1:0 (port 0"), std::string::npos) << message_of(to_none);
    const auto by_another_family = [&] { socket.send_to(text("x"), endpoint::parse("[::1]:9")); };
    EXPECT_EQ(code_of(by_another_family), std::errc::address_family_not_supported);
    EXPECT_NE(message_of(by_another_family).find("IPv4 address"), std::string::npos) << message_of(by_another_family);
  });
}

TEST(udp, takes_an_endpoint) {
  weft::run([] {
    auto a = udp_socket::bind(endpoint::parse("127.0.0.1:0"));
    EXPECT_TRUE(a.local_endpoint().is_loopback());
    std::error_code error;
    EXPECT_FALSE(udp_socket::bind(a.local_endpoint(), error));
    EXPECT_EQ(error, std::errc::address_in_use);
    EXPECT_NE(message_of([&] { udp_socket::bind(a.local_endpoint()); }).find(a.local_endpoint().to_string()),
              std::string::npos);
  });
}

TEST(udp, a_port_is_shared_only_by_those_that_all_ask_for_it) {
  weft::run([] {
    for (const weft::net::bind_options& options :
         {weft::net::bind_options{.reuse_port = true}, weft::net::bind_options{.reuse_address = true}}) {
      auto a = udp_socket::bind("127.0.0.1:0", options);
      const std::string at = a.local_endpoint().to_string();
      std::error_code error;
      EXPECT_FALSE(udp_socket::bind(at, error));
      EXPECT_EQ(error, std::errc::address_in_use);
      EXPECT_TRUE(udp_socket::bind(at, options, error)) << error.message();
    }
  });
}

// Of a port that is taken by one family alone.
TEST(udp, every_address_is_in_use_if_one_family_is) {
  weft::run([] {
    for (const char* taken : {"0.0.0.0:0", "[::1]:0"}) {
      std::error_code error;
      auto other = udp_socket::bind(taken, error);
      if (error) continue;  // no IPv6 here
      const std::string port = std::to_string(other.local_endpoint().port());
      EXPECT_FALSE(udp_socket::bind(':' + port, error)) << taken;
      EXPECT_EQ(error, std::errc::address_in_use) << taken;
    }
  });
}

// Connected sockets.

std::string text_of(std::span<const char> buffer, std::size_t bytes) { return {buffer.data(), bytes}; }

TEST(udp_connect, sends_to_the_peer_and_receives_from_it_alone) {
  weft::run([] {
    auto ours = udp_socket::bind("127.0.0.1:0");
    auto peer = udp_socket::bind("127.0.0.1:0");
    auto stranger = udp_socket::bind("127.0.0.1:0");
    ours.connect(peer.local_endpoint().to_string());
    std::array<char, 16> buffer;
    EXPECT_EQ(ours.send(text("hello")), 5u);
    const auto got = peer.recv_from(buffer);
    EXPECT_EQ(got.from, ours.local_endpoint());
    std::error_code error;
    stranger.send_to(text("spoofed"), ours.local_endpoint(), error);
    peer.send_to(text(""), ours.local_endpoint());
    peer.send_to(text("a long answer, which is cut"), ours.local_endpoint());
    const auto [bytes, truncated] = ours.recv(buffer);
    EXPECT_EQ(bytes, 0u);
    EXPECT_FALSE(truncated);
    const auto cut = ours.recv(buffer, error);
    EXPECT_FALSE(error);
    EXPECT_EQ(text_of(buffer, cut.bytes), "a long answer, w");
    EXPECT_TRUE(cut.truncated);
    peer.send_to(text("x"), ours.local_endpoint());
    EXPECT_EQ(ours.recv_from(buffer).from, peer.local_endpoint());
  });
}

TEST(udp_connect, drops_what_strangers_had_sent_before) {
  weft::run([] {
    auto ours = udp_socket::bind("127.0.0.1:0");
    auto peer = udp_socket::bind("127.0.0.1:0");
    auto stranger = udp_socket::bind("127.0.0.1:0");
    const auto two_of_each = [&] {
      for (int i = 0; i < 2; ++i) {
        stranger.send_to(text("stranger"), ours.local_endpoint());
        peer.send_to(text("peer"), ours.local_endpoint());
      }
    };
    std::array<char, 16> buffer;
    two_of_each();
    ours.connect(peer.local_endpoint());
    for (int i = 0; i < 2; ++i) EXPECT_EQ(text_of(buffer, ours.recv(buffer).bytes), "peer");
    peer.send_to(text("last"), ours.local_endpoint());
    EXPECT_EQ(text_of(buffer, ours.recv(buffer).bytes), "last");

    auto others = udp_socket::bind("127.0.0.1:0");  // recv_from tells whose they are instead
    stranger.send_to(text("stranger"), others.local_endpoint());
    others.connect(peer.local_endpoint());
    EXPECT_EQ(others.recv_from(buffer).from, stranger.local_endpoint());
  });
}

TEST(udp_connect, moves_to_another_peer) {
  weft::run([] {
    auto ours = udp_socket::bind("127.0.0.1:0");
    auto first = udp_socket::bind("127.0.0.1:0");
    auto second = udp_socket::bind("127.0.0.1:0");
    std::array<char, 16> buffer;
    ours.connect(first.local_endpoint());
    ours.send(text("1"));
    EXPECT_EQ(first.recv_from(buffer).from, ours.local_endpoint());
    first.send_to(text("late"), ours.local_endpoint());
    ours.connect(second.local_endpoint());
    ours.send(text("2"));
    EXPECT_EQ(second.recv_from(buffer).from, ours.local_endpoint());
    second.send_to(text("second"), ours.local_endpoint());
    EXPECT_EQ(text_of(buffer, ours.recv(buffer).bytes), "second");
    ours.send_to(text("still"), first.local_endpoint());  // goes where it says
    EXPECT_EQ(text_of(buffer, first.recv_from(buffer).bytes), "still");
  });
}

TEST(udp_connect, moves_beside_a_receiver_that_waits) {
  weft::run([] {
    auto ours = udp_socket::bind("127.0.0.1:0");
    auto first = udp_socket::bind("127.0.0.1:0");
    auto second = udp_socket::bind("127.0.0.1:0");
    ours.connect(first.local_endpoint());
    auto receiver = weft::spawn([&] {
      std::array<char, 16> buffer;
      return text_of(buffer, ours.recv(buffer).bytes);
    });
    until_waiting(1);
    ours.connect(second.local_endpoint());
    second.send_to(text("second"), ours.local_endpoint());
    EXPECT_EQ(receiver.join(), "second");
  });
}

/// A port of 127.0.0.1 that refuses: its socket takes in what comes from its peer alone.
struct refusing_port {
  udp_socket holder = udp_socket::bind("127.0.0.1:0");
  endpoint at = holder.local_endpoint();
  refusing_port() { holder.connect("127.0.0.2:1"); }
};

TEST(udp_connect, tells_a_refusal_once_to_who_waits_and_to_the_next_call) {
  weft::run([] {
    const refusing_port nobody;
    auto ours = udp_socket::bind("127.0.0.1:0");
    ours.connect(nobody.at);
    std::array<char, 16> buffer;
    for (int i = 0; i < 3; ++i) {
      auto receiver = weft::spawn([&] { return code_of([&] { ours.recv(buffer); }); });
      until_waiting(1);
      ours.send(text("x"));
      EXPECT_EQ(receiver.join(), std::errc::connection_refused);
    }
    std::error_code error;
    ours.send(text("x"));
    ours.recv_from(buffer, error);  // whichever call comes next
    EXPECT_EQ(error, std::errc::connection_refused);
    ours.send(text("x"));
    until([&] {  // the answer comes when it comes, and the call that brings it has sent nothing
      ours.send(text("x"), error);
      return bool(error);
    });
    EXPECT_EQ(error, std::errc::connection_refused);

    auto peer = udp_socket::bind("127.0.0.1:0");
    ours.connect(peer.local_endpoint());  // what the former peer's machine says is no news of this one
    EXPECT_EQ(ours.send(text("y")), 1u);
    EXPECT_EQ(text_of(buffer, peer.recv_from(buffer).bytes), "y");

    auto unconnected = udp_socket::bind("127.0.0.1:0");
    unconnected.send_to(text("x"), nobody.at);  // has no peer that could refuse
    unconnected.send_to(text("x"), unconnected.local_endpoint());
    EXPECT_EQ(unconnected.recv_from(buffer).bytes, 1u);
  });
}

TEST(udp_connect, says_that_there_is_no_peer) {
  weft::run([] {
    auto socket = udp_socket::bind("127.0.0.1:0");
    std::array<char, 16> buffer;
    EXPECT_EQ(code_of([&] { socket.send(text("x")); }), std::errc::destination_address_required);
    EXPECT_NE(message_of([&] { socket.send(text("x")); }).find("send_to"), std::string::npos);
    socket.send_to(text("stays"), socket.local_endpoint());
    EXPECT_EQ(code_of([&] { socket.recv(buffer); }), std::errc::not_connected);
    EXPECT_NE(message_of([&] { socket.recv(buffer); }).find("connect the socket first"), std::string::npos);
    EXPECT_EQ(text_of(buffer, socket.recv_from(buffer).bytes), "stays");
  });
}

TEST(udp_connect, names_what_was_wrong_and_keeps_the_former_peer) {
  weft::run([] {
    auto ours = udp_socket::bind("127.0.0.1:0");
    auto peer = udp_socket::bind("127.0.0.1:0");
    ours.connect(peer.local_endpoint());
    std::error_code error;
    ours.connect("127.0.0.1", error);
    EXPECT_EQ(error, std::errc::invalid_argument);
    EXPECT_NE(message_of([&] { ours.connect("127.0.0.1"); }).find("127.0.0.1:8080"), std::string::npos);
    EXPECT_EQ(code_of([&] { ours.connect("127.0.0.1:0"); }), std::errc::invalid_argument);
    EXPECT_NE(message_of([&] { ours.connect("127.0.0.1:0"); }).find("port 0"), std::string::npos);
    ours.connect(endpoint::parse("[::1]:9"), error);
    EXPECT_EQ(error, std::errc::address_family_not_supported);
    EXPECT_NE(message_of([&] { ours.connect(endpoint::parse("[::1]:9")); }).find("IPv4"), std::string::npos);
    const auto broadcast = [&] { ours.connect("127.255.255.255:9"); };
    EXPECT_EQ(code_of(broadcast), std::errc::permission_denied);
    EXPECT_NE(message_of(broadcast).find("set_broadcast(true)"), std::string::npos) << message_of(broadcast);
    ours.send(text("x"));
    std::array<char, 4> buffer;
    EXPECT_EQ(peer.recv_from(buffer).from, ours.local_endpoint());
    ours.close();
    EXPECT_EQ(code_of([&] { ours.connect(peer.local_endpoint()); }), std::errc::operation_canceled);
  });
}

TEST(udp_connect, takes_the_first_address_of_a_family_that_the_socket_speaks) {
  weft::run([] {
    auto ours = udp_socket::bind("127.0.0.1:0");
    auto peer = udp_socket::bind("127.0.0.1:0");
    std::array<char, 4> buffer;
    const std::string port = std::to_string(peer.local_endpoint().port());
    for (const std::string& where : {":" + port, "localhost:" + port}) {  // this machine: ::1 and 127.0.0.1
      ours.connect(where);
      ours.send(text("x"));
      EXPECT_EQ(peer.recv_from(buffer).from, ours.local_endpoint());
    }
  });
}

TEST(udp_connect, a_socket_on_every_address_keeps_the_one_that_it_sends_from) {
  weft::run([] {
    std::error_code error;
    auto v4 = udp_socket::bind("127.0.0.1:0");
    auto v6 = udp_socket::bind("[::1]:0", error);
    if (error) GTEST_SKIP() << "no IPv6 here";
    auto any = udp_socket::bind(":0");
    const std::uint16_t port = any.local_endpoint().port();
    EXPECT_TRUE(any.local_endpoint().is_unspecified());
    any.connect(v4.local_endpoint());
    EXPECT_EQ(any.local_endpoint(), endpoint::parse("127.0.0.1:" + std::to_string(port)));
    any.send(text("x"));
    std::array<char, 4> buffer;
    EXPECT_EQ(v4.recv_from(buffer).from, any.local_endpoint());
    v4.send_to(text("back"), any.local_endpoint());
    EXPECT_EQ(any.recv(buffer).bytes, 4u);
    const auto move = [&] { any.connect(v6.local_endpoint()); };
    EXPECT_TRUE(code_of(move));
    EXPECT_NE(message_of(move).find("its first peer"), std::string::npos) << message_of(move);
    any.close();
    EXPECT_EQ(any.local_endpoint().port(), port);

    auto others = udp_socket::bind(":0");
    others.connect(v6.local_endpoint());
    others.send(text("x"));
    EXPECT_EQ(v6.recv_from(buffer).from, others.local_endpoint());
    v6.send_to(text("back"), others.local_endpoint());
    EXPECT_EQ(others.recv(buffer).bytes, 4u);
  });
}

TEST(udp_connect, its_calls_are_closed_cancelled_and_late_as_others) {
  weft::run([] {
    auto ours = udp_socket::bind("127.0.0.1:0");
    auto peer = udp_socket::bind("127.0.0.1:0");
    ours.connect(peer.local_endpoint());
    std::array<char, 4> buffer;
    ours.set_deadline(weft::clock::now() - 1ms);
    peer.send_to(text("x"), ours.local_endpoint());
    EXPECT_EQ(code_of([&] { ours.recv(buffer); }), std::errc::timed_out);
    EXPECT_EQ(code_of([&] { ours.send(text("x")); }), std::errc::timed_out);
    ours.set_deadline(weft::clock::time_point::max());
    EXPECT_EQ(ours.recv(buffer).bytes, 1u);
    weft::cancel_scope region;
    region.cancel();
    EXPECT_FALSE(region.run([&] { ours.connect("127.0.0.1:9"); }));
    EXPECT_FALSE(region.run([&] { ours.send(text("x")); }));
    std::error_code error;
    EXPECT_TRUE(region.run([&] { ours.connect(peer.local_endpoint(), error); }));
    EXPECT_EQ(error, std::errc::operation_canceled);
    auto receiver = weft::spawn([&] { return code_of([&] { ours.recv(buffer); }); });
    until_waiting(1);
    ours.close();
    EXPECT_EQ(receiver.join(), std::errc::operation_canceled);
    EXPECT_EQ(code_of([&] { ours.send(text("x")); }), std::errc::operation_canceled);
  });
}

}  // namespace
