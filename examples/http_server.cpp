// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 server: Boost.Beast, written as for blocking sockets, a fiber a connection.
//
//   GET /        plain text
//   GET /json    a document
//   GET /fibers  how many fibers there are, and how many run at once
//
// Connections are kept alive, requests may be pipelined. A client that is slow to send its request or to take its
// answer is cut off, as is one whose head or body is too large; what is no HTTP is answered with 400. On SIGINT and
// SIGTERM no more connections are taken in, those without a request end at once, and running requests have a limited
// time to finish; the exit status is then 0.
//
//   http_server [ADDRESS:PORT] [--port N] [--request-time SECONDS]
#include <utility>

#include <weft/asio.hpp>
#include <weft/weft.hpp>

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace {

namespace http = boost::beast::http;
using namespace std::chrono_literals;
using response = http::response<http::string_body>;
using request = http::request<http::string_body>;

constexpr std::uint32_t most_head = 8 * 1024;
constexpr std::uint64_t most_body = 1024 * 1024;
constexpr auto idle_time = 60s;   // between two requests of a connection
constexpr auto drain_time = 10s;  // for running requests, once the server is told to end

struct settings {
  std::string address = "127.0.0.1:8080";
  std::chrono::seconds request_time = 10s;  // to send a request, and again to take its answer
};

template <class Number>
Number number_from(std::string_view name, std::string_view text, unsigned long most) {
  unsigned long value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || rest != text.data() + text.size() || value > most)
    throw std::invalid_argument(std::string(name) + ' ' + std::string(text) + ": expected a number from 0 to " +
                                std::to_string(most));
  return static_cast<Number>(value);
}

settings settings_from(int argc, char** argv) {
  settings s;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    const bool has_value = i + 1 < argc;
    if (name == "--port" && has_value)
      s.address = "127.0.0.1:" + std::to_string(number_from<std::uint16_t>(name, argv[++i], 65535));
    else if (name == "--request-time" && has_value)
      s.request_time = std::chrono::seconds(number_from<int>(name, argv[++i], 3600));
    else if (i == 1 && !name.starts_with("--"))
      s.address = name;
    else
      throw std::invalid_argument("usage: http_server [ADDRESS:PORT] [--port N] [--request-time SECONDS]");
  }
  return s;
}

response text_response(http::status status, const request& r, std::string_view type, std::string body) {
  response answer(status, r.version());
  answer.set(http::field::server, "weft");
  answer.set(http::field::content_type, boost::beast::string_view(type.data(), type.size()));
  answer.keep_alive(r.keep_alive());
  answer.body() = std::move(body);
  answer.prepare_payload();
  return answer;
}

response handle(const request& r) {
  constexpr std::string_view text = "text/plain", json = "application/json";
  if (r.method() != http::verb::get && r.method() != http::verb::head) {
    response answer = text_response(http::status::method_not_allowed, r, text, "only GET and HEAD\n");
    answer.set(http::field::allow, "GET, HEAD");
    return answer;
  }
  if (r.target() == "/") return text_response(http::status::ok, r, text, "Hello, World!");
  if (r.target() == "/json") return text_response(http::status::ok, r, json, R"({"message":"Hello, World!"})");
  if (r.target() == "/fibers")
    return text_response(http::status::ok, r, json,
                         "{\"fibers\":" + std::to_string(weft::num_fibers()) +
                             ",\"maxprocs\":" + std::to_string(weft::maxprocs()) + "}");
  return text_response(http::status::not_found, r, text, "no such page\n");
}

class connection {
 public:
  connection(weft::net::tcp_stream stream, const settings& how, weft::cancel_scope& ending)
      : stream_(std::move(stream)), how_(how), ending_(ending) {
    buffer_.max_size(most_head + most_body);
  }

  void serve() {
    while (await_request()) {
      http::request_parser<http::string_body> parser;
      parser.header_limit(most_head);
      parser.body_limit(most_body);
      stream_.set_read_deadline(weft::clock::now() +
                                how_.request_time);  // for all of the request, however it trickles in
      boost::beast::error_code error;
      http::read_header(stream_, buffer_, parser, error);
      if (!error && !parser.is_done() && boost::beast::iequals(parser.get()[http::field::expect], "100-continue"))
        answer(response(http::status::continue_, 11), error);
      if (!error) http::read(stream_, buffer_, parser, error);
      if (error) {
        refuse(error);
        return;
      }
      response reply = handle(parser.get());
      if (ending_.cancelled()) reply.keep_alive(false);
      if (!answer(std::move(reply), error, parser.get().method() == http::verb::head)) return;
    }
  }

 private:
  // Between requests, and only there, the end of the server ends the connection at once.
  bool await_request() {
    if (buffer_.size() != 0) return true;  // pipelined
    std::size_t n = 0;
    const bool completed = ending_.run([&] {
      stream_.set_read_deadline(weft::clock::now() + idle_time);
      const auto room = buffer_.prepare(2048);
      std::error_code error;
      n = stream_.read_some(std::span(static_cast<std::byte*>(room.data()), room.size()), error);
    });
    buffer_.commit(n);
    return completed && n != 0;
  }

  // Whether the connection goes on.
  bool answer(response reply, boost::beast::error_code& error, bool head_only = false) {
    stream_.set_write_deadline(weft::clock::now() + how_.request_time);
    http::response_serializer<http::string_body> serializer(reply);
    if (head_only)
      http::write_header(stream_, serializer, error);
    else
      http::write(stream_, serializer, error);
    return !error && !reply.need_eof();
  }

  void refuse(const boost::beast::error_code& why) {
    http::status status = http::status::bad_request;
    if (why == http::error::end_of_stream || why.category() == boost::system::system_category())
      return;  // the peer, or its time, is gone
    if (why == http::error::body_limit) status = http::status::payload_too_large;
    if (why == http::error::header_limit || why == http::error::buffer_overflow)
      status = http::status::request_header_fields_too_large;
    if (why == http::error::partial_message) return;
    request none;
    none.keep_alive(false);
    boost::beast::error_code error;
    answer(text_response(status, none, "text/plain", why.message() + '\n'), error);
    linger();
  }

  // To close while the client still sends would reset the connection, and the answer might be lost with it.
  void linger() {
    std::error_code error;
    stream_.shutdown_write(error);
    stream_.set_read_deadline(weft::clock::now() + 1s);
    std::array<std::byte, 4096> rest;
    for (int i = 0; i < 1024 && !error && stream_.read_some(std::span<std::byte>(rest), error) != 0; ++i) {
    }
  }

  weft::net::tcp_stream stream_;
  const settings& how_;
  weft::cancel_scope& ending_;
  boost::beast::flat_buffer buffer_;
};

void serve(const settings& how) {
  auto listener = weft::net::listen(how.address);
  std::printf("listening on http://%s\n", listener.local_endpoint().to_string().c_str());
  std::fflush(stdout);

  weft::cancel_scope ending;
  weft::scope connections(weft::collect, {.limit = 20'000});
  connections.go([&] {
    weft::signals({SIGINT, SIGTERM}).recv();
    ending.cancel();
    listener.close();
  });
  while (auto stream = listener.accept())
    connections.go(
        [stream = std::move(*stream), &how, &ending]() mutable { connection(std::move(stream), how, ending).serve(); });
  try {
    weft::with_timeout(drain_time, [&] { connections.join(); });
  } catch (const weft::timed_out&) {
    std::fprintf(stderr, "http_server: requests still ran after %d s and were cut off\n",
                 static_cast<int>(drain_time.count()));
    connections.cancel();
    connections.join();
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    weft::run([how = settings_from(argc, argv)] { serve(how); });
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "http_server: %s\n", e.what());
    return 2;
  }
}
