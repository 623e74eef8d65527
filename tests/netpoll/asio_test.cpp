// SPDX-License-Identifier: Apache-2.0
//
// Boost.Asio's and Boost.Beast's synchronous code on fibers: buffer sequences and HTTP.
// (tls_test.cpp and websocket_test.cpp have the rest.)

#include <gtest/gtest.h>

#include <utility>

#include <weft/asio.hpp>
#include <weft/weft.hpp>

#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/beast/core/stream_traits.hpp>
#include <boost/beast/http.hpp>

#include <array>
#include <stdexcept>
#include <string>

#include "tests/netpoll/loopback.hpp"

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::tcp_stream;

static_assert(beast::is_sync_stream<tcp_stream>::value);
static_assert(beast::has_get_executor<tcp_stream>::value);

TEST(asio, reads_and_writes_sequences_of_buffers) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    const std::string head = "head ", body = "body ", tail = "tail\n";
    const std::array<asio::const_buffer, 4> pieces{asio::buffer(head), asio::const_buffer(), asio::buffer(body),
                                                   asio::buffer(tail)};
    EXPECT_EQ(asio::write(ours, pieces), 15u);
    std::array<char, 4> first{};
    std::array<char, 6> second{};
    const std::array<asio::mutable_buffer, 3> room{asio::mutable_buffer(), asio::buffer(first), asio::buffer(second)};
    EXPECT_EQ(asio::read(peers, room), 10u);
    EXPECT_EQ(std::string(first.data(), 4) + std::string(second.data(), 6), "head body ");
    asio::streambuf line;
    EXPECT_EQ(asio::read_until(peers, line, '\n'), 5u);
    EXPECT_EQ(ours.write_some(pieces), 15u);
    EXPECT_EQ(peers.read_some(room), 4u);
  });
}

TEST(asio, translates_ends_and_errors) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    boost::system::error_code error;
    std::array<char, 4> room{};
    ours.set_read_deadline(weft::clock::now() - 1s);
    EXPECT_EQ(ours.read_some(asio::buffer(room), error), 0u);
    EXPECT_EQ(error, asio::error::timed_out);
    ours.set_read_deadline(weft::clock::time_point::max());
    peers.close();
    EXPECT_EQ(ours.read_some(asio::buffer(room), error), 0u);
    EXPECT_EQ(error, asio::error::eof);
    EXPECT_THROW(ours.read_some(asio::buffer(room)), boost::system::system_error);
    while (!error || error == asio::error::eof) ours.write_some(asio::buffer(room), error);
    EXPECT_TRUE(error == asio::error::broken_pipe || error == asio::error::connection_reset) << error.message();
    ours.close();
    EXPECT_EQ(ours.read_some(asio::buffer(room), error), 0u);
    EXPECT_EQ(error, asio::error::operation_aborted);
  });
}

// In either form, of ours and of Asio's and Beast's, as every other wait.
TEST(asio, a_cancelled_wait_throws_through_it) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    std::array<char, 4> room{};
    boost::system::error_code error;
    beast::flat_buffer buffer;
    http::request<http::string_body> request;
    const auto is_late = [](auto read) { EXPECT_THROW(weft::with_timeout(1ms, read), weft::timed_out); };
    is_late([&, &s = ours] { s.read_some(asio::buffer(room)); });
    is_late([&, &s = ours] { s.read_some(asio::buffer(room), error); });
    is_late([&, &s = ours] { asio::read(s, asio::buffer(room)); });
    is_late([&, &s = ours] { asio::read(s, asio::buffer(room), error); });
    is_late([&, &s = ours] { http::read(s, buffer, request); });
    is_late([&, &s = ours] { http::read(s, buffer, request, error); });
    fill(ours);
    const std::string block(1 << 20, 'w');
    is_late([&, &s = ours] { asio::write(s, asio::buffer(block)); });
    is_late([&, &s = ours] { asio::write(s, asio::buffer(block), error); });
  });
}

TEST(asio, a_cancelled_child_ends_quietly_in_it) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    weft::scope s(weft::collect);
    s.go([&ours = ours] {
      beast::flat_buffer buffer;
      http::request<http::string_body> request;
      http::read(ours, buffer, request);
    });
    until_waiting(1);
    s.cancel();
    s.join();
    EXPECT_EQ(s.error_count(), 0u);
  });
}

TEST(asio, a_failing_sibling_ends_it_and_is_the_one_that_is_heard_of) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    weft::scope s;
    s.go([&ours = ours] {
      std::array<char, 4> room{};
      asio::read(ours, asio::buffer(room));
    });
    s.go([] {
      until_waiting(1);
      throw std::runtime_error("the reason");
    });
    EXPECT_EQ(message_of([&] { s.join(); }), "the reason");
  });
}

TEST(beast, teardown_has_an_end_though_the_peer_has_none) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    boost::system::error_code error;
    teardown(beast::role_type::server, ours, error);
    EXPECT_EQ(error, asio::error::timed_out);
    ours.set_read_deadline(weft::clock::now() - 1ms);
    teardown(beast::role_type::server, ours, error);
    EXPECT_EQ(error, asio::error::timed_out);
    ours.set_read_deadline(weft::clock::time_point::max());
    EXPECT_THROW(weft::with_timeout(1ms, [&, &ours = ours] { teardown(beast::role_type::server, ours, error); }),
                 weft::timed_out);
  });
}

TEST(beast, teardown_ends_with_the_peers_end) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    boost::system::error_code error;
    write_text(peers, "not read by anybody");
    peers.shutdown_write();
    teardown(beast::role_type::server, ours, error);
    EXPECT_FALSE(error) << error.message();
  });
}

// One that goes on talking must not keep it, either.
TEST(beast, teardown_has_an_end_though_the_peer_goes_on) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    weft::scope s(weft::collect);
    s.go([&peers = peers] {
      const std::string block(100'000, 'x');
      for (std::error_code error; !error;) peers.write_all(std::span<const char>(block), error);
    });
    boost::system::error_code error;
    teardown(beast::role_type::client, ours, error);
    EXPECT_EQ(error, asio::error::timed_out);
    s.cancel();
    s.join();
  });
}

TEST(beast, speaks_http) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    weft::scope s;
    s.go([&peers = peers] {
      beast::flat_buffer buffer;
      for (bool open = true; open;) {
        http::request<http::string_body> request;
        http::read(peers, buffer, request);
        http::response<http::string_body> response(http::status::ok, request.version());
        response.keep_alive(request.keep_alive());
        response.body() = "you said: " + request.body();
        response.prepare_payload();
        http::write(peers, response);
        open = request.keep_alive();
      }
    });
    beast::flat_buffer buffer;
    for (int i = 0; i < 3; ++i) {
      http::request<http::string_body> request(http::verb::post, "/", 11);
      request.keep_alive(i < 2);
      request.body() = std::string(static_cast<std::size_t>(i) * 100'000, 'b');
      request.prepare_payload();
      http::write(ours, request);
      http::response_parser<http::string_body> response;
      http::read(ours, buffer, response);
      EXPECT_EQ(response.get().body(), "you said: " + request.body());
    }
    s.join();
  });
}

}  // namespace
