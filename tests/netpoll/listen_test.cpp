// SPDX-License-Identifier: Apache-2.0
//
// Where a listener listens: one address, that was asked for, with the options that were asked for.

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "netpoll/raw_socket.hpp"
#include "tests/netpoll/loopback.hpp"
#include "tests/support/descriptors.hpp"

namespace {

using namespace weft_test;
using weft::net::endpoint;
using weft::net::listen;

std::string port_of(const weft::net::tcp_listener& l) { return std::to_string(l.local_endpoint().port()); }

bool has_ipv6() {
  std::error_code error;
  return static_cast<bool>(listen("[::1]:0", error));
}

TEST(listen, takes_an_endpoint) {
  weft::run([] {
    auto listener = listen(endpoint::parse("127.0.0.1:0"));
    auto ours = weft::net::connect(listener.local_endpoint());
    EXPECT_EQ(ours.remote_endpoint(), listener.local_endpoint());
    std::error_code error;
    EXPECT_FALSE(listen(listener.local_endpoint(), error));
    EXPECT_EQ(error, std::errc::address_in_use);
    EXPECT_NE(message_of([&] { listen(listener.local_endpoint()); }).find(listener.local_endpoint().to_string()),
              std::string::npos);
  });
}

// One family alone has the port: to listen by the other would serve half of the machine's addresses without a word.
TEST(listen, every_address_is_in_use_if_one_family_is) {
  weft::run([] {
    std::error_code error;
    auto v4 = listen("0.0.0.0:0");
    if (!has_ipv6()) GTEST_SKIP() << "no IPv6 here";
    EXPECT_FALSE(listen(':' + port_of(v4), error));
    EXPECT_EQ(error, std::errc::address_in_use);
    auto v6 = listen("[::]:0", {.v6_only = true});
    EXPECT_FALSE(listen(':' + port_of(v6), error));
    EXPECT_EQ(error, std::errc::address_in_use);
  });
}

TEST(listen, the_next_address_is_tried_only_where_a_family_is_not_to_be_had) {
  const auto tried_until = [](std::vector<int> results) {
    weft::rt::lookup at;
    for (std::size_t i = 0; i < results.size(); ++i)
      at.found.push_back(endpoint::parse("127.0.0.1:" + std::to_string(i)));
    std::size_t tried = 0;
    static_cast<void>(weft::rt::open_first(at, [&](const endpoint&, weft::rt::failure& why) {
      why.error = results[tried++];
      return static_cast<weft::rt::descriptor*>(nullptr);
    }));
    return std::pair(tried, at.error.value());
  };
  EXPECT_EQ(tried_until({EADDRINUSE, 0}), std::pair(std::size_t{1}, EADDRINUSE));
  EXPECT_EQ(tried_until({EACCES, 0}), std::pair(std::size_t{1}, EACCES));
  EXPECT_EQ(tried_until({EAFNOSUPPORT, EADDRINUSE, EACCES}), std::pair(std::size_t{2}, EADDRINUSE));
  EXPECT_EQ(tried_until({EADDRNOTAVAIL, EAFNOSUPPORT}), std::pair(std::size_t{2}, EADDRNOTAVAIL));  // the first one's
}

TEST(listen, on_ipv6_alone_leaves_ipv4_to_others) {
  weft::run([] {
    std::error_code error;
    EXPECT_FALSE(listen("127.0.0.1:0", {.v6_only = true}, error));
    EXPECT_EQ(error, std::errc::invalid_argument);
    if (!has_ipv6()) GTEST_SKIP() << "no IPv6 here";
    for (const char* everywhere : {":0", "[::]:0"}) {
      auto v6 = listen(everywhere, {.v6_only = true});
      EXPECT_TRUE(v6.local_endpoint().is_v6());
      EXPECT_TRUE(listen("0.0.0.0:" + port_of(v6), error)) << error.message();
      EXPECT_FALSE(weft::net::connect("127.0.0.1:" + port_of(v6), error));
      EXPECT_EQ(error, std::errc::connection_refused);
      EXPECT_TRUE(weft::net::connect("[::1]:" + port_of(v6), error)) << error.message();
    }
  });
}

TEST(listen, a_port_is_shared_only_by_those_that_all_ask_for_it) {
  weft::run([] {
    auto a = listen("127.0.0.1:0", {.reuse_port = true});
    std::error_code error;
    EXPECT_FALSE(listen(a.local_endpoint(), error));
    EXPECT_EQ(error, std::errc::address_in_use);
    EXPECT_TRUE(listen(a.local_endpoint(), {.reuse_port = true}, error)) << error.message();
  });
}

TEST(listen, the_backlog_is_what_was_asked_for) {
  weft::run([] {
    const auto backlog_of = [](weft::net::tcp_listener listener) {
      tcp_info info{};
      socklen_t size = sizeof info;
      EXPECT_EQ(getsockopt(listener.native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size), 0);
      return info.tcpi_sacked;  // of a listener: the most that may wait
    };
    EXPECT_EQ(backlog_of(listen("127.0.0.1:0", {.backlog = 3})), 3u);
    EXPECT_GT(backlog_of(listen("127.0.0.1:0")), 3u);
    std::error_code error;
    EXPECT_FALSE(listen("127.0.0.1:0", {.backlog = -1}, error));
    EXPECT_EQ(error, std::errc::invalid_argument);
    EXPECT_NE(message_of([] { listen("127.0.0.1:0", {.backlog = -1}); }).find("backlog -1"), std::string::npos);
  });
}

TEST(listen, the_program_sees_the_socket_before_it_is_bound) {
  weft::run([] {
    int calls = 0;
    auto listener = listen("127.0.0.1:0", {.before_bind = [&](int fd) {
                             ++calls;
                             sockaddr_in at{};
                             socklen_t size = sizeof at;
                             EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size), 0);
                             EXPECT_EQ(at.sin_port, 0);
                             const int mark = 4096;
                             EXPECT_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &mark, sizeof mark), 0);
                           }});
    EXPECT_EQ(calls, 1);
    int size = 0;
    socklen_t length = sizeof size;
    EXPECT_EQ(getsockopt(listener.native_handle(), SOL_SOCKET, SO_RCVBUF, &size, &length), 0);
    EXPECT_EQ(size, 2 * 4096);  // as the kernel counts
    const auto before = open_descriptors();
    const weft::net::listen_options refuses{.before_bind = [](int) { throw std::runtime_error("not this one"); }};
    std::error_code error;
    EXPECT_THROW(listen("127.0.0.1:0", refuses), std::runtime_error);
    EXPECT_THROW(listen("127.0.0.1:0", refuses, error), std::runtime_error);
    EXPECT_EQ(open_descriptors(), before);
  });
}

}  // namespace
