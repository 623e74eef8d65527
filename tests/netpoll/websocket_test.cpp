// SPDX-License-Identifier: Apache-2.0
//
// WebSocket on fibers by Boost.Beast, unchanged, over plain connections and over TLS: text, binary, fragments, ping,
// orderly ends with their reason, and sessions that are cut.

#include <gtest/gtest.h>

#include <utility>

#include <weft/asio.hpp>
#include <weft/weft.hpp>

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>

#include <chrono>
#include <string>
#include <type_traits>

#include "tests/netpoll/certificates.hpp"
#include "tests/netpoll/loopback.hpp"

namespace {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
namespace beast = boost::beast;
namespace websocket = beast::websocket;
using namespace std::chrono_literals;
using namespace weft_test;
using weft::net::tcp_stream;

struct plain {
  using layer = tcp_stream;
  layer server(tcp_stream s) { return s; }
  layer client(tcp_stream s) { return s; }
};

struct secure {
  using layer = ssl::stream<tcp_stream>;
  secure() {
    host.use_in(server_context);
    host.trust_in(client_context);
    client_context.set_verify_mode(ssl::verify_peer);
  }
  layer server(tcp_stream s) {
    layer session(std::move(s), server_context);
    session.handshake(layer::server);
    return session;
  }
  layer client(tcp_stream s) {
    layer session(std::move(s), client_context);
    session.handshake(layer::client);
    return session;
  }

  identity host{"localhost"};
  ssl::context server_context{ssl::context::tls_server}, client_context{ssl::context::tls_client};
};

template <class Transport>
class websockets : public testing::Test {
 protected:
  using socket = websocket::stream<typename Transport::layer>;

  /// Runs the two sides against each other.
  template <class Server, class Client>
  void between(Server server_side, Client client_side) {
    weft::run([&] {
      auto [ours, peers] = connected_pair();
      weft::scope s;
      s.go([&, &peers = peers] {
        socket server(transport_.server(std::move(peers)));
        server.accept();
        server_side(server);
      });
      socket client(transport_.client(std::move(ours)));
      client.handshake("localhost", "/");
      client_side(client);
      s.join();
    });
  }

  /// Gives back what comes, as it came, until the end; the error that was the end.
  static beast::error_code echo(socket& server) {
    beast::flat_buffer buffer;
    beast::error_code error;
    while (server.read(buffer, error), !error) {
      server.text(server.got_text());
      server.write(buffer.data());
      buffer.consume(buffer.size());
    }
    return error;
  }
  static std::string read_message(socket& from) {
    beast::flat_buffer buffer;
    from.read(buffer);
    return beast::buffers_to_string(buffer.data());
  }

  Transport transport_;
};

using transports = testing::Types<plain, secure>;
TYPED_TEST_SUITE(websockets, transports);

TYPED_TEST(websockets, carry_text_and_binary) {
  this->between([](auto& server) { EXPECT_EQ(TestFixture::echo(server), websocket::error::closed); },
                [](auto& client) {
                  for (int i = 0; i < 40; ++i) {
                    const std::string sent(static_cast<std::size_t>(i) * 5000, i % 2 != 0 ? 'w' : '\0');
                    client.text(i % 2 != 0);
                    client.write(asio::buffer(sent));
                    EXPECT_EQ(TestFixture::read_message(client), sent);
                    EXPECT_EQ(client.got_text(), i % 2 != 0);
                  }
                  client.close(websocket::close_code::normal);
                });
}

TYPED_TEST(websockets, put_fragments_together) {
  this->between([](auto& server) { EXPECT_EQ(TestFixture::echo(server), websocket::error::closed); },
                [](auto& client) {
                  client.auto_fragment(true);
                  client.write_buffer_bytes(64);
                  const std::string sent(10'000, 'f');
                  client.write(asio::buffer(sent));
                  EXPECT_EQ(TestFixture::read_message(client), sent);
                  client.write_some(false, asio::buffer("one ", 4));
                  client.ping("between");
                  client.write_some(true, asio::buffer("message", 7));
                  EXPECT_EQ(TestFixture::read_message(client), "one message");
                  client.close(websocket::close_code::normal);
                });
}

TYPED_TEST(websockets, answer_pings) {
  this->between([](auto& server) { EXPECT_EQ(TestFixture::echo(server), websocket::error::closed); },
                [](auto& client) {
                  std::string answer;
                  client.control_callback([&](websocket::frame_type kind, beast::string_view text) {
                    if (kind == websocket::frame_type::pong) answer = std::string(text);
                  });
                  client.ping("are you there");
                  client.write(asio::buffer("then", 4));
                  EXPECT_EQ(TestFixture::read_message(client), "then");
                  EXPECT_EQ(answer, "are you there");
                  client.close(websocket::close_code::normal);
                });
}

TYPED_TEST(websockets, end_with_a_reason) {
  this->between(
      [](auto& server) {
        EXPECT_EQ(TestFixture::echo(server), websocket::error::closed);
        EXPECT_EQ(server.reason().code, websocket::close_code::going_away);
        EXPECT_EQ(server.reason().reason, "enough");
        EXPECT_FALSE(server.is_open());
      },
      [](auto& client) {
        beast::error_code error;
        client.close(websocket::close_reason(websocket::close_code::going_away, "enough"), error);
        EXPECT_FALSE(error) << error.message();
      });
}

// How the session is taken down then is TLS's own matter: what was not read may show as an error of its own. The reason
// arrives in any case.
TYPED_TEST(websockets, refuse_messages_that_are_too_large) {
  this->between(
      [](auto& server) {
        server.read_message_max(1000);
        const beast::error_code error = TestFixture::echo(server);
        EXPECT_TRUE((std::is_same_v<TypeParam, secure>) || error == websocket::error::message_too_big)
            << error.message();
      },
      [](auto& client) {
        beast::error_code error;
        client.write(asio::buffer(std::string(1001, 'x')), error);
        beast::flat_buffer buffer;
        client.read(buffer, error);
        EXPECT_TRUE(error);
        EXPECT_EQ(client.reason().code, websocket::close_code::too_big);
      });
}

TYPED_TEST(websockets, notice_a_cut) {
  this->between(
      [](auto& server) {
        const beast::error_code error = TestFixture::echo(server);
        EXPECT_TRUE(error == asio::error::eof || error == ssl::error::stream_truncated) << error.message();
      },
      [](auto& client) { beast::get_lowest_layer(client).close(); });
}

TYPED_TEST(websockets, are_cancelled_and_timed_out) {
  this->between(
      [](auto& server) {
        server.next_layer().lowest_layer().set_read_deadline(weft::clock::now() + 10ms);
        EXPECT_EQ(TestFixture::echo(server), asio::error::timed_out);
        server.next_layer().lowest_layer().close();
      },
      [](auto& client) {
        weft::cancel_scope stop;
        weft::scope s;
        s.go([&] {
          EXPECT_FALSE(stop.run([&] {
            beast::flat_buffer buffer;
            beast::error_code error;
            client.read(buffer, error);
            EXPECT_TRUE(error);
            stop.cancel();
            client.read(buffer, error);
            EXPECT_TRUE(error);
            weft::this_fiber::check_cancelled();
          }));
        });
        s.join();
      });
}

}  // namespace
