// SPDX-License-Identifier: Apache-2.0
//
// TLS on fibers by boost::asio::ssl::stream, unchanged: who is believed and who is refused, ends that are told from
// cuts, sessions that move between threads, a thousand handshakes at once on ordinary stacks, and handshakes that are
// cancelled, timed out or cut off anywhere.

#include <gtest/gtest.h>

#include <utility>

#include <weft/asio.hpp>
#include <weft/weft.hpp>

#include <boost/asio/read.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/netpoll/certificates.hpp"
#include "tests/netpoll/loopback.hpp"
#include "tests/support/stress.hpp"
#include "tests/support/threads.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using namespace std::chrono_literals;
using namespace weft_test;
using boost::system::error_code;
using weft::net::tcp_stream;
using tls_stream = ssl::stream<tcp_stream>;

class tls : public stress {
 protected:
  tls() {
    for (ssl::context* each : {&server_context_, &client_context_})
      SSL_CTX_set_min_proto_version(each->native_handle(), TLS1_2_VERSION);
    host_.use_in(server_context_);
    authority_.trust_in(client_context_);
    client_context_.set_verify_mode(ssl::verify_peer);
    client_context_.set_verify_callback(ssl::host_name_verification("server.test"));
  }

  /// Two ends of a connection that have not shaken hands yet.
  struct pair {
    std::unique_ptr<tls_stream> server, client;
  };
  pair connected() {
    auto [ours, peers] = connected_pair();
    return {std::make_unique<tls_stream>(std::move(peers), server_context_),
            std::make_unique<tls_stream>(std::move(ours), client_context_)};
  }

  struct outcome {
    error_code server, client;
    long verdict = 0;  ///< X509_V_...: what the client thought of the server
  };
  static outcome shake_hands(const pair& both) {
    outcome end;
    weft::scope s;
    s.go([&] { both.server->handshake(tls_stream::server, end.server); });
    both.client->handshake(tls_stream::client, end.client);
    if (end.client) both.client->next_layer().close();  // or the server would wait for more
    s.join();
    end.verdict = SSL_get_verify_result(both.client->native_handle());
    return end;
  }
  static pair shaken(pair both) {
    const outcome end = shake_hands(both);
    EXPECT_FALSE(end.server) << end.server.message();
    EXPECT_FALSE(end.client) << end.client.message();
    return both;
  }

  /// A handshake with a server that shows `shown`, to a client that looks for "server.test" and trusts `authority_`.
  outcome against(const identity& shown) {
    shown.use_in(server_context_);
    return shake_hands(connected());
  }

  identity authority_ = identity::authority();
  identity host_{"server.test", &authority_};
  ssl::context server_context_{ssl::context::tls_server}, client_context_{ssl::context::tls_client};
};

bool is_tls_error(const error_code& error, int reason) {
  return error.category() == asio::error::get_ssl_category() &&
         ERR_GET_REASON(static_cast<unsigned long>(error.value())) == reason;
}

/// How many this process may have open; as many as it can get.
int descriptors() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 1 << 20);
  setrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int>(limit.rlim_cur);
}

TEST_F(tls, carries_data_both_ways) {
  weft::run([&] {
    const pair both = shaken(connected());
    const std::string text(1'000'000, 's');
    weft::scope s;
    s.go([&] {  // reads and writes in turn, so that both sides are full at times
      std::vector<char> room(64 * 1024);
      for (std::size_t done = 0; done < text.size();) {
        const std::size_t n = both.server->read_some(asio::buffer(room));
        asio::write(*both.server, asio::buffer(room.data(), n));
        done += n;
      }
    });
    std::string back;
    for (std::size_t done = 0; done < text.size(); done += 50'000) {
      asio::write(*both.client, asio::buffer(text.data() + done, 50'000));
      std::string piece(50'000, '\0');
      asio::read(*both.client, asio::buffer(piece));
      back += piece;
    }
    s.join();
    EXPECT_EQ(back, text);
  });
}

TEST_F(tls, believes_only_whom_it_should) {
  const identity stranger = identity::authority("a stranger");
  weft::run([&] {
    const outcome good = against(host_);
    EXPECT_FALSE(good.client) << good.client.message();
    EXPECT_FALSE(good.server) << good.server.message();
    EXPECT_EQ(good.verdict, X509_V_OK);

    const struct {
      const char* what;
      identity shown;
      long verdict;  // X509_V_OK: the verification callback's refusal has no number of its own
    } refused[] = {
        {"another host's", identity("other.test", &authority_), X509_V_OK},
        {"an expired one", identity("server.test", &authority_, -60), X509_V_ERR_CERT_HAS_EXPIRED},
        {"one that vouches for itself", identity("server.test"), X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT},
        {"a stranger's", identity("server.test", &stranger), X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY},
    };
    for (const auto& each : refused) {
      const outcome end = against(each.shown);
      EXPECT_TRUE(is_tls_error(end.client, SSL_R_CERTIFICATE_VERIFY_FAILED)) << each.what << end.client.message();
      EXPECT_TRUE(end.server) << each.what << ": the server took no notice";
      if (each.verdict != X509_V_OK) {
        EXPECT_EQ(end.verdict, each.verdict) << each.what;
      }
    }
  });
}

TEST_F(tls, asks_the_client_who_it_is) {
  weft::run([&] {
    server_context_.set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert);
    authority_.trust_in(server_context_);
    EXPECT_TRUE(is_tls_error(shake_hands(connected()).server, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE));
    const identity user("user.test", &authority_);
    user.use_in(client_context_);
    EXPECT_FALSE(shake_hands(connected()).server);
  });
}

TEST_F(tls, refuses_old_versions) {
  weft::run([&] {
    const pair both = connected();
    SSL* const client = both.client->native_handle();
    SSL_set_security_level(client, 0);  // so that it would speak it
    SSL_set_security_level(both.server->native_handle(), 0);
    SSL_set_min_proto_version(client, TLS1_VERSION);
    SSL_set_max_proto_version(client, TLS1_1_VERSION);
    const outcome end = shake_hands(both);
    EXPECT_TRUE(is_tls_error(end.server, SSL_R_UNSUPPORTED_PROTOCOL)) << end.server.message();
    EXPECT_TRUE(end.client);
  });
}

TEST_F(tls, tells_an_end_from_a_cut) {
  weft::run([&] {
    std::array<char, 16> room{};
    error_code error;
    {
      const pair both = shaken(connected());
      weft::scope s;
      s.go([&] {
        asio::write(*both.server, asio::buffer("last", 4));
        error_code ended;
        both.server->shutdown(ended);  // sends close_notify, and waits for the client's
        EXPECT_FALSE(ended) << ended.message();
      });
      asio::read(*both.client, asio::buffer(room, 4));
      EXPECT_EQ(both.client->read_some(asio::buffer(room), error), 0u);
      EXPECT_EQ(error, asio::error::eof);
      both.client->shutdown(error);
      EXPECT_FALSE(error) << error.message();
      s.join();
    }
    {
      const pair both = shaken(connected());
      asio::write(*both.server, asio::buffer("last", 4));
      both.server->next_layer().close();  // the connection ends, the session does not
      asio::read(*both.client, asio::buffer(room, 4));
      both.client->read_some(asio::buffer(room), error);
      EXPECT_EQ(error, ssl::error::stream_truncated);
    }
    {
      const pair both = shaken(connected());
      reset_on_close(both.server->next_layer());
      both.server->next_layer().close();
      both.client->read_some(asio::buffer(room), error);
      EXPECT_EQ(error, asio::error::connection_reset);
    }
    {
      const pair both = shaken(connected());
      both.server->next_layer().close();
      both.client->shutdown(error);  // nobody answers our close_notify
      EXPECT_TRUE(error == ssl::error::stream_truncated || error == asio::error::connection_reset ||
                  error == asio::error::broken_pipe)
          << error.message();
    }
  });
}

TEST_F(tls, refuses_what_is_no_tls) {
  weft::run([&] {
    for (const char* text : {"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff garbage", "\r\n\r\n\r\n\r\n"}) {
      auto [ours, peers] = connected_pair();
      tls_stream server(std::move(peers), server_context_);
      write_text(ours, std::string_view(text));
      ours.shutdown_write();
      error_code error;
      server.handshake(tls_stream::server, error);
      EXPECT_TRUE(error) << text;
      EXPECT_NE(error, asio::error::timed_out);
    }
  });
}

// OpenSSL keeps its errors, and more, by thread.
TEST_F(tls, sessions_move_between_threads) {
  weft::run({.maxprocs = 4}, [&] {
    const pair both = connected();
    weft::scope s;
    s.go([&] {
      hop();
      both.server->handshake(tls_stream::server);
      for (int i = 0; i < 20; ++i) {
        std::array<char, 1000> room{};
        hop();
        asio::read(*both.server, asio::buffer(room));
        hop();
        asio::write(*both.server, asio::buffer(room));
      }
    });
    hop();
    both.client->handshake(tls_stream::client);
    for (int i = 0; i < 20; ++i) {
      const std::string text(1000, static_cast<char>('a' + i));
      std::string back(1000, '\0');
      hop();
      asio::write(*both.client, asio::buffer(text));
      hop();
      asio::read(*both.client, asio::buffer(back));
      EXPECT_EQ(back, text);
    }
    s.join();
  });
}

// All are connected before the first server begins, and all sessions stand before the first byte goes: what a fiber
// needs of its stack for a handshake, it needs a thousand times.
TEST_F(tls, shakes_a_thousand_hands_at_once) {
  const int count = std::min(scaled(1000), (descriptors() - 100) / 2);
  weft::run({.stack_size = std::size_t{256} << 10}, [&] {
    auto listener = weft::net::listen("127.0.0.1:0");
    const std::string address = listener.local_endpoint().to_string();
    weft::latch all_connected(count);
    weft::latch all_shaken(2 * count);
    std::atomic<int> answered{0};
    weft::scope s;
    s.go([&] {
      for (int i = 0; i < count; ++i)
        s.go([&, stream = *listener.accept()]() mutable {
          all_connected.arrive_and_wait();
          tls_stream server(std::move(stream), server_context_);
          server.handshake(tls_stream::server);
          all_shaken.arrive_and_wait();
          std::array<char, 5> room{};
          asio::read(server, asio::buffer(room));
          asio::write(server, asio::buffer(room));
          error_code error;
          server.shutdown(error);
        });
    });
    for (int i = 0; i < count; ++i)
      s.go([&] {
        tls_stream client(weft::net::connect(address), client_context_);
        client.handshake(tls_stream::client);
        all_shaken.arrive_and_wait();
        asio::write(client, asio::buffer("hello", 5));
        std::string back(5, '\0');
        asio::read(client, asio::buffer(back));
        if (back == "hello") ++answered;
        error_code error;
        client.shutdown(error);
      });
    s.join();
    EXPECT_EQ(answered.load(), count);
  });
}

TEST_F(tls, a_handshake_with_a_silent_peer_is_timed_out_cancelled_or_closed) {
  weft::run([&] {
    for (const bool as_server : {true, false}) {
      const auto kind = as_server ? tls_stream::server : tls_stream::client;
      auto [ours, silent] = connected_pair();
      tls_stream session(std::move(ours), as_server ? server_context_ : client_context_);
      error_code error;
      session.next_layer().set_deadline(weft::clock::now() + 10ms);
      session.handshake(kind, error);
      EXPECT_EQ(error, asio::error::timed_out);

      auto [others, quiet] = connected_pair();
      tls_stream cut_short(std::move(others), as_server ? server_context_ : client_context_);
      bool limit_hit = false;
      try {
        weft::with_timeout(10ms, [&] { cut_short.handshake(kind, error); });
      } catch (const weft::timed_out&) {
        limit_hit = true;
      }
      EXPECT_TRUE(limit_hit);

      auto [thirds, still] = connected_pair();
      tls_stream closed(std::move(thirds), as_server ? server_context_ : client_context_);
      auto waiter = weft::spawn([&] {
        error_code seen;
        closed.handshake(kind, seen);
        return seen;
      });
      until_waiting(1);
      closed.next_layer().close();
      EXPECT_EQ(waiter.join(), asio::error::operation_aborted);
    }
  });
}

// Both ends of each session are cancelled by somebody else at a moment of his own choice: before, in, or after the
// handshake, or in the conversation. Whatever that does to the sessions, everybody leaves.
TEST_F(tls, survives_cancellation_anywhere) {
  constexpr int rounds = scaled(300);
  weft::run([&] {
    std::atomic<int> talked{0};
    weft::scope rounds_at_once({.limit = 16});
    for (int round = 0; round < rounds; ++round)
      rounds_at_once.go([&, round] {
        choices mine(static_cast<std::uint64_t>(round));
        const pair both = connected();
        weft::cancel_scope stop;
        weft::scope s(weft::collect);
        const auto talk = [&](tls_stream& session, tls_stream::handshake_type kind) {
          stop.run([&] {
            error_code error;
            session.handshake(kind, error);
            std::array<char, 100> room{};
            for (int i = 0; i < 50 && !error; ++i) {
              asio::write(session, asio::buffer(room), error);
              if (!error) asio::read(session, asio::buffer(room), error);
            }
            if (!error) ++talked;
          });
          session.next_layer().close();  // or the other would wait, if it had been spared
        };
        s.go([&] { talk(*both.server, tls_stream::server); });
        s.go([&] { talk(*both.client, tls_stream::client); });
        if (!mine.one_in(8)) {
          weft::sleep_for(mine.up_to(4ms));
          stop.cancel();
        }
        s.join();
      });
    rounds_at_once.join();
    EXPECT_GT(talked.load(), 0);
  });
}

}  // namespace
