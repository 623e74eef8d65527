// SPDX-License-Identifier: Apache-2.0
//
// Connecting to one of several addresses. The list of addresses is given, so that no resolver is asked, and the time
// between attempts is an hour or nothing, so that no clock decides what a test sees.

#include <gtest/gtest.h>

#include <unistd.h>

#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "netpoll/connect.hpp"
#include "tests/netpoll/loopback.hpp"
#include "tests/netpoll/silent_address.hpp"
#include "tests/support/descriptors.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::endpoint;
using weft::rt::connect_first;
using weft::rt::connected;

constexpr weft::rt::nanoseconds_t an_hour = 3'600'000'000'000;

endpoint nobodys_address() {
  auto listener = weft::net::listen("127.0.0.1:0");
  return listener.local_endpoint();
}

TEST(connect, takes_the_families_in_turn) {
  const auto list = [](std::initializer_list<const char*> texts) {
    std::vector<endpoint> result;
    for (const char* each : texts) result.push_back(endpoint::parse(each));
    return result;
  };
  EXPECT_EQ(weft::rt::interleaved(list({"[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.0:1", "2.0.0.0:1"})),
            list({"[::1]:1", "1.0.0.0:1", "[::2]:1", "2.0.0.0:1", "[::3]:1"}));
  EXPECT_EQ(weft::rt::interleaved(list({"1.0.0.0:1", "[::1]:1"})), list({"1.0.0.0:1", "[::1]:1"}));
  EXPECT_EQ(weft::rt::interleaved(list({"1.0.0.0:1", "2.0.0.0:1"})), list({"1.0.0.0:1", "2.0.0.0:1"}));
  EXPECT_EQ(weft::rt::interleaved({}), list({}));
}

TEST(connect, a_refusal_starts_the_next_at_once) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    connected c = connect_first({nobodys_address(), nobodys_address(), listener.local_endpoint()}, an_hour);
    ASSERT_TRUE(c.stream);
    EXPECT_FALSE(c.why);
    EXPECT_EQ(c.stream.remote_endpoint(), listener.local_endpoint());
    auto peer = *listener.accept();
    write_text(peer, "x");
    EXPECT_EQ(read_text(c.stream, 1), "x");
  });
}

TEST(connect, one_that_does_not_answer_is_overtaken_and_closed) {
  weft::run([] {
    silent_address silent;
    auto listener = weft::net::listen("127.0.0.1:0");
    const auto before = open_descriptors();
    {
      connected c = connect_first({silent.where, silent.where, listener.local_endpoint()}, 1'000'000);
      ASSERT_TRUE(c.stream);
      EXPECT_EQ(c.stream.remote_endpoint(), listener.local_endpoint());
      EXPECT_EQ(open_descriptors().size(), before.size() + 1);
    }
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_EQ(weft::num_fibers(), 1u);
  });
}

TEST(connect, of_several_that_answer_one_stays_and_the_others_are_closed) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const auto before = open_descriptors();
    for (int round = 0; round < 50; ++round) {
      {
        connected c = connect_first(std::vector(5, listener.local_endpoint()), 0);
        ASSERT_TRUE(c.stream);
        const endpoint ours = c.stream.local_endpoint();
        // Those that have lost are closed: they read as ends or resets, in any order.
        for (bool seen = false; !seen;) {
          auto peer = *listener.accept();
          if (peer.remote_endpoint() != ours) continue;
          seen = true;
          write_text(peer, "x");
          EXPECT_EQ(read_text(c.stream, 1), "x");
        }
        EXPECT_EQ(open_descriptors().size(), before.size() + 1);
      }
    }
    EXPECT_EQ(open_descriptors(), before);
  });
}

TEST(connect, when_all_fail_the_first_says_why) {
  weft::run([] {
    const endpoint first = nobodys_address();
    const auto before = open_descriptors();
    connected c = connect_first({first, endpoint::parse("255.255.255.255:1"), nobodys_address()}, an_hour);
    EXPECT_FALSE(c.stream);
    EXPECT_EQ(c.why.error, ECONNREFUSED);
    EXPECT_EQ(c.last, first);
    EXPECT_EQ(open_descriptors(), before);
  });
}

TEST(connect, is_cancelled_in_the_middle_and_leaves_nothing) {
  weft::run([] {
    silent_address silent;
    const auto before = open_descriptors();
    weft::cancel_scope region;
    auto connector = weft::spawn([&] {
      connected c;
      region.run([&] { c = connect_first({silent.where, silent.where, silent.where}, 0); });
      return c.why;
    });
    until_waiting(4);  // it and its three attempts
    EXPECT_EQ(open_descriptors().size(), before.size() + 3);
    region.cancel();
    const auto why = connector.join();
    EXPECT_EQ(why.error, ECANCELED);
    EXPECT_TRUE(why.cancelled);
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_EQ(weft::num_fibers(), 1u);
  });
}

TEST(connect, a_plain_thread_may_race_too) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    weft::chan<bool> done(1);
    std::thread thread([&] {
      connected c = connect_first({nobodys_address(), listener.local_endpoint()}, an_hour);
      done.send(static_cast<bool>(c.stream));
    });
    EXPECT_EQ(done.recv(), true);
    weft::blocking([&] { thread.join(); });
  });
}

TEST(resolve, gives_every_address_of_a_name) {
  weft::run([] {
    EXPECT_EQ(weft::net::resolve("127.0.0.1:80"), std::vector{endpoint::parse("127.0.0.1:80")});
    const auto found = weft::net::resolve("localhost:80");
    ASSERT_FALSE(found.empty());
    for (const endpoint& each : found) EXPECT_EQ(each.port(), 80) << each.to_string();
    EXPECT_EQ(weft::net::resolve("localhost:http"), found);
    std::error_code error;
    EXPECT_TRUE(weft::net::resolve("localhost", error).empty());
    EXPECT_EQ(error, std::errc::invalid_argument);
    EXPECT_NE(message_of([] { static_cast<void>(weft::net::resolve("localhost")); }).find("host:port"),
              std::string::npos);
  });
}

TEST(connect, takes_an_endpoint_and_an_address_to_come_from) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const endpoint to = listener.local_endpoint();
    auto ours = weft::net::connect(to, {.local = endpoint::parse("127.0.0.2:0")});
    EXPECT_EQ(ours.local_endpoint().address(), "127.0.0.2");
    EXPECT_EQ(listener.accept()->remote_endpoint(), ours.local_endpoint());
    const endpoint given = nobodys_address();
    auto from_there = weft::net::connect(to.to_string(), {.local = given});
    EXPECT_EQ(from_there.local_endpoint(), given);
    std::error_code error;
    EXPECT_FALSE(weft::net::connect(to, {.local = endpoint::parse("192.0.2.1:0")}, error));
    EXPECT_EQ(error, std::errc::address_not_available);
    EXPECT_FALSE(weft::net::connect(to, {.local = endpoint::parse("[::1]:0")}, error));
    EXPECT_EQ(error, std::errc::address_family_not_supported);
    EXPECT_NE(message_of([&] { weft::net::connect(nobodys_address()); }).find("127.0.0.1:"), std::string::npos);
  });
}

TEST(connect, an_address_to_come_from_chooses_the_family) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const std::string port = std::to_string(listener.local_endpoint().port());
    auto ours = weft::net::connect(':' + port, {.local = endpoint::parse("127.0.0.1:0")});
    EXPECT_TRUE(ours.remote_endpoint().is_v4());
    std::error_code error;
    weft::net::connect(':' + port, {.local = endpoint::parse("[::1]:0")}, error);
    EXPECT_TRUE(error);  // nobody listens by IPv6
  });
}

TEST(connect, the_program_sees_each_socket_before_it_connects) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    std::set<int> seen;
    const weft::net::connect_options options{.before_connect = [&](int fd) {
      seen.insert(fd);
      sockaddr_storage peer;
      socklen_t size = sizeof peer;
      EXPECT_EQ(getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size), -1);
    }};
    auto one = weft::net::connect(listener.local_endpoint(), options);
    EXPECT_EQ(seen, std::set<int>{one.native_handle()});
    const connected c = connect_first({nobodys_address(), listener.local_endpoint()}, an_hour, options);
    EXPECT_TRUE(c.stream);
    EXPECT_FALSE(c.thrown);
  });
}

TEST(connect, what_the_program_throws_there_comes_out_and_leaves_no_descriptor) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const endpoint to = listener.local_endpoint();
    const auto before = open_descriptors();
    const weft::net::connect_options options{.before_connect = [](int) { throw std::runtime_error("not this one"); }};
    std::error_code error;
    EXPECT_THROW(weft::net::connect(to, options), std::runtime_error);
    EXPECT_THROW(weft::net::connect(to, options, error), std::runtime_error);
    EXPECT_THROW(weft::net::connect(":80", options), std::runtime_error);  // two addresses: a race
    EXPECT_TRUE(connect_first({to, to, to}, 0, options).thrown);
    EXPECT_EQ(open_descriptors(), before);
  });
}

}  // namespace
