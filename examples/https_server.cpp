// SPDX-License-Identifier: Apache-2.0
// An HTTPS server: boost::asio::ssl and Boost.Beast on fibers, a fiber a connection.
//
//   GET /            plain text
//   GET /connection  which version of TLS, which cipher, whether the session was resumed
//
// TLS 1.2 and 1.3 only. One time limit covers the handshake, another each request, so that a client that says nothing,
// or says it slowly, costs little. On SIGHUP certificate and key are read anew, for new connections; if that fails, the
// old ones stay. On SIGINT and SIGTERM running requests are finished, and the exit status is 0. What http_server.cpp
// has besides (files, drain time, limits spelled out in answers) fits in here as it is there.
//
//   https_server --cert CHAIN.pem --key KEY.pem [--port N] [--patience SECONDS]
#include <utility>

#include <weft/asio.hpp>
#include <weft/weft.hpp>

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace {

namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using namespace std::chrono_literals;
using request = http::request<http::string_body>;
using response = http::response<http::string_body>;
using tls_stream = ssl::stream<weft::net::tcp_stream>;

struct settings {
  std::string certificate, key;
  std::uint16_t port = 8443;
  std::chrono::seconds patience = 10s;  // with a handshake, with a request, with a client that takes its answer
};

settings settings_from(int argc, char** argv) {
  settings s;
  const auto number = [](std::string_view name, std::string_view text, unsigned long most) {
    unsigned long value = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc{} && rest == text.data() + text.size() && value <= most) return value;
    throw std::invalid_argument(std::string(name) + ' ' + std::string(text) + ": expected a number from 0 to " +
                                std::to_string(most));
  };
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    if (name == "--cert" && !value.empty())
      s.certificate = value;
    else if (name == "--key" && !value.empty())
      s.key = value;
    else if (name == "--port" && !value.empty())
      s.port = static_cast<std::uint16_t>(number(name, value, 65535));
    else if (name == "--patience" && !value.empty())
      s.patience = std::chrono::seconds(number(name, value, 3600));
    else
      s.key.clear(), i = argc;
  }
  if (s.certificate.empty() || s.key.empty())
    throw std::invalid_argument("usage: https_server --cert CHAIN.pem --key KEY.pem [--port N] [--patience SECONDS]");
  return s;
}

std::shared_ptr<ssl::context> context_from(const settings& how) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  context->set_options(ssl::context::default_workarounds | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_RENEGOTIATION);
  const auto check = [](const boost::system::error_code& error, const std::string& file) {
    if (error) throw std::runtime_error(file + ": " + error.message());
  };
  boost::system::error_code error;
  context->use_certificate_chain_file(how.certificate, error);
  check(error, how.certificate);
  context->use_private_key_file(how.key, ssl::context::pem, error);
  check(error, how.key);
  return context;
}

/// The context for new connections. Sessions hold on to the one that they began with.
class current_context {
 public:
  explicit current_context(std::shared_ptr<ssl::context> first) : context_(std::move(first)) {}
  std::shared_ptr<ssl::context> get() const {
    const std::lock_guard lock(mutex_);
    return context_;
  }
  void set(std::shared_ptr<ssl::context> next) {
    const std::lock_guard lock(mutex_);
    context_ = std::move(next);
  }

 private:
  mutable weft::mutex mutex_;
  std::shared_ptr<ssl::context> context_;
};

class connection {
 public:
  connection(weft::net::tcp_stream stream, std::shared_ptr<ssl::context> context, const settings& how,
             weft::cancel_scope& ending)
      : context_(std::move(context)), session_(std::move(stream), *context_), how_(how), ending_(ending) {
    buffer_.max_size(64 * 1024);
  }

  void serve() {
    boost::system::error_code error;
    limit_time();
    session_.handshake(tls_stream::server, error);
    if (error) return;  // no TLS, one that is too old, or a client that does not trust us
    while (await_request()) {
      http::request_parser<http::string_body> parser;
      parser.body_limit(1024 * 1024);
      limit_time();
      http::read(session_, buffer_, parser, error);
      if (error) {
        refuse(error);
        break;
      }
      if (!answer(handle(parser.get()))) break;
    }
    limit_time();
    session_.shutdown(error);  // the client sees an end, not a cut; whether it says so, too, does not matter
  }

 private:
  void limit_time() { session_.next_layer().set_deadline(weft::clock::now() + how_.patience); }

  // Between requests, and only there, the end of the server ends the connection at once.
  bool await_request() {
    if (buffer_.size() != 0) return true;  // pipelined
    std::size_t n = 0;
    const bool completed = ending_.run([&] {
      session_.next_layer().set_deadline(weft::clock::now() + 60s);
      boost::system::error_code error;
      n = session_.read_some(buffer_.prepare(2048), error);
    });
    buffer_.commit(n);
    return completed && n != 0;
  }

  response handle(const request& r) {
    const auto reply = [&](http::status status, std::string_view type, std::string body) {
      response made(status, r.version());
      made.set(http::field::server, "weft");
      made.set(http::field::content_type, boost::beast::string_view(type.data(), type.size()));
      made.set(http::field::strict_transport_security, "max-age=31536000");
      made.keep_alive(r.keep_alive() && !ending_.cancelled());
      made.body() = std::move(body);
      made.prepare_payload();
      if (r.method() == http::verb::head) made.body().clear();  // the head says how long it would be
      return made;
    };
    if (r.method() != http::verb::get && r.method() != http::verb::head)
      return reply(http::status::method_not_allowed, "text/plain", "only GET and HEAD\n");
    if (r.target() == "/") return reply(http::status::ok, "text/plain", "Hello, World!");
    if (r.target() == "/connection") {
      SSL* const ssl = session_.native_handle();
      return reply(http::status::ok, "application/json",
                   std::string(R"({"version":")") + SSL_get_version(ssl) + R"(","cipher":")" +
                       SSL_get_cipher_name(ssl) + R"(","resumed":)" + (SSL_session_reused(ssl) ? "true" : "false") +
                       "}");
    }
    return reply(http::status::not_found, "text/plain", "no such page\n");
  }

  // Whether the connection goes on.
  bool answer(const response& reply) {
    limit_time();
    boost::system::error_code error;
    http::write(session_, reply, error);
    return !error && !reply.need_eof();
  }

  void refuse(const boost::system::error_code& why) {
    if (why.category() != boost::system::error_code(http::error::bad_method).category() ||
        why == http::error::end_of_stream || why == http::error::partial_message)
      return;  // not HTTP's doing: the peer, or its time, is gone
    response reply(why == http::error::body_limit ? http::status::payload_too_large : http::status::bad_request, 11);
    reply.body() = why.message() + '\n';
    reply.keep_alive(false);
    reply.prepare_payload();
    answer(reply);
  }

  std::shared_ptr<ssl::context> context_;
  tls_stream session_;
  const settings& how_;
  weft::cancel_scope& ending_;
  boost::beast::flat_buffer buffer_;
};

void serve(const settings& how) {
  current_context context(context_from(how));
  const auto signals = weft::signals({SIGINT, SIGTERM, SIGHUP});  // from here on they do not end the process
  auto listener = weft::net::listen("127.0.0.1:" + std::to_string(how.port));
  std::printf("listening on https://%s\n", listener.local_endpoint().to_string().c_str());
  std::fflush(stdout);

  weft::cancel_scope ending;
  weft::scope connections(weft::collect, {.limit = 20'000});
  connections.go([&] {
    while (signals.recv() == SIGHUP) try {
        context.set(weft::blocking([&] { return context_from(how); }));
        std::printf("read %s and %s anew\n", how.certificate.c_str(), how.key.c_str());
        std::fflush(stdout);
      } catch (const std::exception& e) {
        std::fprintf(stderr, "https_server: the old certificate stays: %s\n", e.what());
      }
    ending.cancel();
    listener.close();
  });
  while (auto stream = listener.accept())
    connections.go([&, stream = std::move(*stream)]() mutable {
      connection(std::move(stream), context.get(), how, ending).serve();
    });
  connections.join();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    weft::run([how = settings_from(argc, argv)] { serve(how); });
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "https_server: %s\n", e.what());
    return 2;
  }
}
