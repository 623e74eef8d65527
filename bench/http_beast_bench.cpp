// SPDX-License-Identifier: Apache-2.0
//
// Plaintext HTTP through Boost.Beast's full parser and serialiser on weft's streams, unchanged synchronous Beast code
// in a fiber a connection. Prints "port N" and serves until it is killed.
//
//   http_beast_bench [--w N]
#include <utility>

#include <weft/asio.hpp>
#include <weft/weft.hpp>

#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

namespace http = boost::beast::http;

void serve(weft::net::tcp_stream stream) {
  boost::beast::flat_buffer buffer;
  for (;;) {
    http::request<http::empty_body> request;
    boost::system::error_code error;
    http::read(stream, buffer, request, error);
    if (error) return;  // the peer went away, or sent what is no HTTP
    http::response<http::string_body> response(http::status::ok, request.version());
    response.set(http::field::content_type, "text/plain");
    response.keep_alive(request.keep_alive());
    response.body() = "Hello, World!";
    response.prepare_payload();
    http::write(stream, response, error);
    if (error || response.need_eof()) return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  int width = 1;
  for (int i = 1; i + 1 < argc; ++i)
    if (std::string_view(argv[i]) == "--w") width = std::atoi(argv[i + 1]);
  return weft::run({.maxprocs = width}, [] {
    auto listener = weft::net::listen("127.0.0.1:0");
    std::printf("port %d\n", static_cast<int>(listener.local_endpoint().port()));
    std::fflush(stdout);
    weft::scope connections(weft::collect);
    while (auto stream = listener.accept())
      connections.go([stream = std::move(*stream)]() mutable { serve(std::move(stream)); });
    connections.join();
    return 0;
  });
}
