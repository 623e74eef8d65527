// SPDX-License-Identifier: Apache-2.0
//
// Addresses and ports, and the texts that they are read from: what is no address is refused, however much of it the C
// library would take, by every call that takes such a text.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <unordered_set>
#include <vector>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace weft_test;
using namespace std::string_literals;
using weft::net::endpoint;
using weft::net::udp_socket;

template <std::size_t N>
std::array<std::byte, N> bytes(const std::array<int, N>& values) {
  std::array<std::byte, N> result;
  std::transform(values.begin(), values.end(), result.begin(), [](int each) { return static_cast<std::byte>(each); });
  return result;
}

TEST(endpoint, is_read_from_its_text_and_written_back) {
  for (const char* good : {"127.0.0.1:80", "[::1]:65535", "0.0.0.0:0", "[fe80::1%1]:7", "255.255.255.255:1", "[::]:0",
                           "[2001:db8::1:0:0:1]:443", "[fe80::1%4294967295]:7"})
    EXPECT_EQ(endpoint::parse(good).to_string(), good);
  EXPECT_EQ(endpoint::parse(":80").to_string(), "0.0.0.0:80");
  EXPECT_EQ(endpoint::parse("[fe80::1%lo]:80"), endpoint::parse("[fe80::1%1]:80"));
  std::error_code error = std::make_error_code(std::errc::io_error);
  EXPECT_EQ(endpoint::parse("10.0.0.1:5", error).port(), 5);
  EXPECT_FALSE(error);
}

// Neither a number, nor the name of a host or a service: no call takes them.
const std::vector<std::string> hostile{
    "",
    ":",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:65536",
    "127.0.0.1:99999999999",
    "127.0.0.1:18446744073709551696",
    "127.0.0.1:+80",
    "127.0.0.1:-0",
    "127.0.0.1:-1",
    "127.0.0.1: 80",
    "127.0.0.1:80 ",
    "127.0.0.1:\t80",
    "127.0.0.1:080",
    "127.0.0.1:00",
    "127.0.0.1:0x50",
    "127.0.0.1:80\0"s,
    "127.0.0.1:80\0junk"s,
    "127.0.0.1\0:80"s,
    "\0:80"s,
    " 127.0.0.1:80",
    "127.0.0.1 :80",
    "127.1:80",
    "127.0.1:80",
    "1.2.3.4.5:80",
    "1.2.3.256:80",
    "1.2.3.04:80",
    "010.0.0.1:80",
    "0x7f000001:80",
    "0x7f.1:80",
    "2130706433:80",
    "0:80",
    "1.2.3.4.:80",
    "127.0.0.1%lo:80",
    "[1.2.3.4]:80",
    "[127.0.0.1]:80",
    "[]:80",
    "[:80",
    "[::1]80",
    "[::1]",
    "[::1:80",
    "[::1]]:80",
    "[[::1]]:80",
    "[localhost]:80",
    "[::1] :80",
    "[ ::1]:80",
    "[::1\0]:80"s,
    "::1:80",
    "a:b:80",
    "[::12345]:80",
    "[1::2::3]:80",
    "[fe80::1%]:80",
    "[fe80::1%0]:80",
    "[fe80::1%01]:80",
    "[fe80::1%+1]:80",
    "[fe80::1% 1]:80",
    "[fe80::1%1 ]:80",
    "[fe80::1%4294967296]:80",
    "[fe80::1%99999999999]:80",
    "[fe80::1%1%2]:80",
    "[fe80::1%nosuchinterface]:80",
    "[%1]:80",
    "[::ffff:127.0.0.1%1]:80",
    "[::ffff:127.1]:80",
    "localhost:+80",
    "localhost:+65616",
    "localhost: 80",
    "localhost:-1",
    "localhost:-4294967216",
    "localhost:0080",
    "localhost:65536",
    "localhost:80\0"s,
    "localhost:",
    "local host:80",
    "localhost\n:80",
    "localhost%lo:80",
    "localhost]:80",
    "127.0.0.1:ht tp",
    "127.0.0.1:-http",
    "localhost:\0http"s,
    std::string(1 << 20, 'a') + ":80",
    std::string(254, 'a') + ":80",
    "localhost:" + std::string(1 << 20, '1'),
    "localhost:" + std::string(1 << 20, 'h'),
};

TEST(endpoint, parse_refuses_everything_else) {
  std::vector<std::string> all = hostile;
  all.insert(all.end(), {"localhost:80", "127.0.0.1:http", ":http", "[::1]:http"});  // resolve takes these
  for (const std::string& bad : all) {
    SCOPED_TRACE(bad.substr(0, 100));
    std::error_code error;
    EXPECT_EQ(endpoint::parse(bad, error), endpoint());
    EXPECT_EQ(error, std::errc::invalid_argument);
    EXPECT_THROW(static_cast<void>(endpoint::parse(bad)), std::invalid_argument);
  }
}

TEST(endpoint, every_call_that_takes_a_text_refuses_it_in_both_forms) {
  weft::run([] {
    for (const std::string& bad : hostile) {
      SCOPED_TRACE(bad.substr(0, 100));
      std::error_code error;
      EXPECT_TRUE(weft::net::resolve(bad, error).empty());
      EXPECT_EQ(error, std::errc::invalid_argument);
      EXPECT_FALSE(weft::net::listen(bad, error));
      EXPECT_EQ(error, std::errc::invalid_argument);
      EXPECT_FALSE(weft::net::connect(bad, error));
      EXPECT_EQ(error, std::errc::invalid_argument);
      EXPECT_FALSE(udp_socket::bind(bad, error));
      EXPECT_EQ(error, std::errc::invalid_argument);
      EXPECT_EQ(code_of([&] { static_cast<void>(weft::net::resolve(bad)); }), std::errc::invalid_argument);
      EXPECT_EQ(code_of([&] { weft::net::listen(bad); }), std::errc::invalid_argument);
      EXPECT_EQ(code_of([&] { weft::net::connect(bad); }), std::errc::invalid_argument);
      EXPECT_EQ(code_of([&] { udp_socket::bind(bad); }), std::errc::invalid_argument);
    }
  });
}

TEST(endpoint, a_refusal_shows_the_text_so_that_it_forges_no_line) {
  const auto said = [](std::string_view text) { return message_of([&] { static_cast<void>(endpoint::parse(text)); }); };
  EXPECT_NE(said("127.0.0.1:http").find("\"127.0.0.1:http\""), std::string::npos);
  EXPECT_NE(said("evil\nroot logged in\0:80"s).find("evil\\x0aroot logged in\\x00:80"), std::string::npos);
  EXPECT_LT(said(std::string(1 << 20, 'a')).size(), 1000u);
  EXPECT_NE(said("1.2.3.4:080").find("leading zero"), std::string::npos);
  EXPECT_NE(said("[fe80::1%none]:1").find("zone"), std::string::npos);
  EXPECT_NE(said("127.1:80").find("four decimal numbers"), std::string::npos);
}

TEST(endpoint, the_name_of_a_service_is_a_port) {
  weft::run([] {
    const auto texts = [](std::string_view where) {
      std::vector<std::string> result;
      for (const endpoint& each : weft::net::resolve(where)) result.push_back(each.to_string());
      return result;
    };
    using list = std::vector<std::string>;
    EXPECT_EQ(texts(":http"), (list{"127.0.0.1:80", "[::1]:80"}));
    EXPECT_EQ(texts("[::1]:https"), list{"[::1]:443"});
    EXPECT_EQ(texts("127.0.0.1:http"), list{"127.0.0.1:80"});
    EXPECT_EQ(texts("[::ffff:127.0.0.1]:http"), list{"127.0.0.1:80"});
    const list local = texts("localhost:http");
    EXPECT_TRUE(std::find(local.begin(), local.end(), "127.0.0.1:80") != local.end());
    EXPECT_EQ(std::set<std::string>(local.begin(), local.end()).size(), local.size());
    std::error_code error;
    EXPECT_TRUE(weft::net::resolve(":no-such-service", error).empty());
    EXPECT_EQ(error, std::errc::invalid_argument);
    // Whoever may not have port 80 is told so, and not that the text is none.
    for (const char* where : {":http", "[::1]:http"}) {
      weft::net::listen(where, error);
      EXPECT_NE(error, std::errc::invalid_argument) << where;
      udp_socket::bind(":domain", error);
      EXPECT_NE(error, std::errc::invalid_argument) << where;
    }
  });
}

TEST(endpoint, is_made_of_bytes) {
  const endpoint v4(bytes<4>({127, 0, 0, 1}), 80);
  EXPECT_EQ(v4.to_string(), "127.0.0.1:80");
  EXPECT_EQ(v4.address(), "127.0.0.1");
  EXPECT_EQ(v4.port(), 80);
  EXPECT_EQ(v4.scope(), 0u);
  const endpoint v6(bytes<16>({0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}), 7, 3);
  EXPECT_EQ(v6.to_string(), "[fe80::1%3]:7");
  EXPECT_EQ(v6.scope(), 3u);
  EXPECT_EQ(v6, endpoint::parse("[fe80::1%3]:7"));
  EXPECT_THROW(endpoint(bytes<4>({1, 2, 3, 4}), 80, 1), std::invalid_argument);
  static_assert(!std::is_convertible_v<std::string, endpoint>);
  static_assert(!std::is_constructible_v<endpoint, std::array<std::byte, 5>, std::uint16_t>);
}

TEST(endpoint, one_that_wraps_an_ipv4_address_is_that_address) {
  const auto wrapped = bytes<16>({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1});
  const endpoint plain = endpoint::parse("127.0.0.1:80");
  for (const endpoint& each :
       {endpoint::parse("[::ffff:127.0.0.1]:80"), endpoint::parse("[::ffff:7f00:1]:80"), endpoint(wrapped, 80)}) {
    EXPECT_EQ(each, plain);
    EXPECT_TRUE(each.is_v4());
    EXPECT_FALSE(each.is_v6());
    EXPECT_TRUE(each.is_loopback());
    EXPECT_EQ(each.to_string(), "127.0.0.1:80");
    EXPECT_EQ(std::hash<endpoint>()(each), std::hash<endpoint>()(plain));
    EXPECT_EQ(each <=> plain, std::strong_ordering::equal);
  }
  EXPECT_THROW(endpoint(wrapped, 80, 1), std::invalid_argument);
  weft::run([] {
    auto listener = weft::net::listen("[::ffff:127.0.0.1]:0");
    EXPECT_TRUE(listener.local_endpoint().is_v4());
    auto ours = weft::net::connect("[::ffff:127.0.0.1]:" + std::to_string(listener.local_endpoint().port()));
    EXPECT_EQ(ours.remote_endpoint(), listener.local_endpoint());
  });
}

TEST(endpoint, datagrams_go_to_one_that_was_written_as_ipv6) {
  weft::run([] {
    auto v4 = udp_socket::bind("127.0.0.1:0");
    const std::string port = std::to_string(v4.local_endpoint().port());
    v4.send_to(std::string_view("x"), endpoint::parse("[::ffff:127.0.0.1]:" + port));
    std::array<char, 4> buffer;
    EXPECT_EQ(v4.recv_from(buffer).from, v4.local_endpoint());
  });
}

TEST(endpoint, tells_what_kind_of_address_it_is) {
  const auto is = [](const char* host) { return endpoint::parse(host + ":1"s); };
  EXPECT_TRUE(is("127.255.0.1").is_loopback() && is("[::1]").is_loopback());
  EXPECT_FALSE(is("128.0.0.1").is_loopback() || is("[::2]").is_loopback() || is("[7f00::]").is_loopback());
  EXPECT_TRUE(is("0.0.0.0").is_unspecified() && is("[::]").is_unspecified());
  EXPECT_FALSE(is("0.0.0.1").is_unspecified() || is("[::1]").is_unspecified());
  EXPECT_TRUE(is("224.0.0.1").is_multicast() && is("239.1.2.3").is_multicast() && is("[ff02::1]").is_multicast());
  EXPECT_FALSE(is("223.0.0.1").is_multicast() || is("240.0.0.1").is_multicast() || is("[fe80::1]").is_multicast());
  EXPECT_NE(is("0.0.0.0"), is("[::]"));
}

TEST(endpoint, is_ordered_and_hashed) {
  const std::vector<endpoint> in_order{endpoint(),
                                       endpoint::parse("0.0.0.0:1"),
                                       endpoint::parse("9.0.0.1:1"),
                                       endpoint::parse("10.0.0.1:0"),
                                       endpoint::parse("10.0.0.1:2"),
                                       endpoint::parse("[::]:0"),
                                       endpoint::parse("[::1]:9"),
                                       endpoint::parse("[fe80::1%1]:9"),
                                       endpoint::parse("[fe80::1%2]:1")};
  EXPECT_TRUE(std::is_sorted(in_order.begin(), in_order.end()));
  const std::set<endpoint> sorted(in_order.rbegin(), in_order.rend());
  EXPECT_TRUE(std::equal(sorted.begin(), sorted.end(), in_order.begin(), in_order.end()));
  const std::unordered_set<endpoint> hashed(in_order.begin(), in_order.end());
  EXPECT_EQ(hashed.size(), in_order.size());
  std::set<std::size_t> hashes;
  for (const endpoint& each : in_order) hashes.insert(std::hash<endpoint>()(each));
  EXPECT_EQ(hashes.size(), in_order.size());
}

}  // namespace
