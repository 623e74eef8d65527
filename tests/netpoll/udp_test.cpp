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
    const auto [bytes, sender] = b.recv_from(buffer);
    EXPECT_EQ(std::string(buffer.data(), bytes), "one");
    EXPECT_EQ(sender, a.local_endpoint());
    std::error_code error = std::make_error_code(std::errc::io_error);
    const auto second = b.recv_from(buffer, error);
    EXPECT_FALSE(error);
    EXPECT_EQ(std::string(buffer.data(), second.bytes), "three");
    EXPECT_EQ(b.send_to(text("back"), second.endpoint, error), 4u);
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
    EXPECT_EQ(first.endpoint, a.local_endpoint());
    EXPECT_EQ(b.recv_from(buffer).bytes, 4u);
  });
}

TEST(udp, what_does_not_fit_is_cut_and_the_next_is_whole) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    a.send_to(text("0123456789"), b.local_endpoint());
    a.send_to(text("abc"), b.local_endpoint());
    std::array<char, 4> buffer;
    EXPECT_EQ(b.recv_from(buffer).bytes, 4u);
    EXPECT_EQ(std::string(buffer.data(), 4), "0123");
    EXPECT_EQ(b.recv_from(buffer).bytes, 3u);
    EXPECT_EQ(std::string(buffer.data(), 3), "abc");
  });
}

TEST(udp, the_largest_passes_and_one_byte_more_does_not) {
  weft::run([] {
    auto a = udp_socket::bind("127.0.0.1:0");
    auto b = udp_socket::bind("127.0.0.1:0");
    const std::vector<std::byte> payload(udp_socket::largest + 1);
    EXPECT_EQ(code_of([&] { a.send_to(payload, b.local_endpoint()); }), std::errc::message_size);
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
        b.send_to(std::span<const char>(buffer.data(), got.bytes), got.endpoint);
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
      EXPECT_EQ(got.endpoint, peer.local_endpoint()) << got.endpoint.to_string();
      any.send_to(text("hi"), got.endpoint);
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

}  // namespace
