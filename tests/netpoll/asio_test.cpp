// SPDX-License-Identifier: Apache-2.0
//
// Boost.Asio's and Boost.Beast's synchronous code on fibers: buffer sequences, HTTP, WebSocket and TLS.

#include <gtest/gtest.h>

#include <utility>

#include <weft/asio.hpp>
#include <weft/weft.hpp>

#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/stream_traits.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

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

TEST(beast, speaks_websocket) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    weft::scope s;
    s.go([&peers = peers] {
      beast::websocket::stream<tcp_stream> server(std::move(peers));
      server.accept();
      beast::flat_buffer buffer;
      beast::error_code error;
      while (server.read(buffer, error), !error) {
        server.text(server.got_text());
        server.write(buffer.data());
        buffer.consume(buffer.size());
      }
      EXPECT_EQ(error, beast::websocket::error::closed);
    });
    beast::websocket::stream<tcp_stream> client(std::move(ours));
    client.handshake("localhost", "/");
    for (int i = 0; i < 20; ++i) {
      const std::string text(static_cast<std::size_t>(i) * 5000, 'w');
      client.write(asio::buffer(text));
      beast::flat_buffer buffer;
      client.read(buffer);
      EXPECT_EQ(beast::buffers_to_string(buffer.data()), text);
    }
    client.close(beast::websocket::close_code::normal);
    s.join();
  });
}

/// A context with a key and a certificate that it signed itself.
void use_own_certificate(asio::ssl::context& context) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  ASSERT_TRUE(key && certificate);
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* const name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  ASSERT_NE(X509_sign(certificate.get(), key.get(), EVP_sha256()), 0);
  ASSERT_EQ(SSL_CTX_use_certificate(context.native_handle(), certificate.get()), 1);
  ASSERT_EQ(SSL_CTX_use_PrivateKey(context.native_handle(), key.get()), 1);
}

TEST(asio, speaks_tls) {
  weft::run([] {
    asio::ssl::context server_context(asio::ssl::context::tls_server), client_context(asio::ssl::context::tls_client);
    use_own_certificate(server_context);
    auto [ours, peers] = connected_pair();
    weft::scope s;
    s.go([&, &peers = peers] {
      asio::ssl::stream<tcp_stream> server(std::move(peers), server_context);
      server.handshake(asio::ssl::stream_base::server);
      std::vector<char> room(200'000);
      asio::read(server, asio::buffer(room));
      asio::write(server, asio::buffer(room));
      boost::system::error_code error;
      server.shutdown(error);
    });
    asio::ssl::stream<tcp_stream> client(std::move(ours), client_context);
    client.handshake(asio::ssl::stream_base::client);
    const std::string text(200'000, 's');
    asio::write(client, asio::buffer(text));
    std::string back(text.size(), '\0');
    asio::read(client, asio::buffer(back));
    EXPECT_EQ(back, text);
    boost::system::error_code error;
    client.shutdown(error);
    s.join();
  });
}

}  // namespace
