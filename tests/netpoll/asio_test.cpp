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
#include <boost/beast/core/stream_traits.hpp>
#include <boost/beast/http.hpp>

#include <array>
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

TEST(asio, is_cancelled) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    auto reader = weft::spawn([&ours = ours] {
      std::array<char, 4> room{};
      boost::system::error_code error;
      asio::read(ours, asio::buffer(room), error);
      EXPECT_EQ(error, asio::error::operation_aborted);
      bool thrown = false;
      try {
        ours.read_some(asio::buffer(room));
      } catch (const weft::cancelled&) {
        thrown = true;
      }
      EXPECT_TRUE(thrown);
    });
    until_waiting(1);
    reader.cancel();
    reader.join();
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
