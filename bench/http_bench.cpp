// SPDX-License-Identifier: Apache-2.0
//
// Plaintext HTTP over keep-alive connections with the least parser that serves wrk honestly: a request ends at an empty
// line, pipelined ones are answered in one write. What is left is the cost of the network layer; http_beast_bench.cpp
// shows the same with a full parser. Prints "port N" and serves until it is killed.
//
//   http_bench [--w N]
#include <weft/net.hpp>
#include <weft/weft.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace {

constexpr std::string_view response =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

void serve(weft::net::tcp_stream stream) {
  std::array<char, 8192> buffer;
  std::size_t held = 0;
  std::string out;
  while (const auto n = stream.read_some(std::span<char>(buffer.data() + held, buffer.size() - held))) {
    held += n;
    std::string_view unread(buffer.data(), held);
    out.clear();
    for (std::size_t end; (end = unread.find("\r\n\r\n")) != unread.npos;) {
      unread.remove_prefix(end + 4);
      out += response;
    }
    if (!out.empty()) stream.write_all(std::span<const char>(out));
    held = unread.size();
    if (held == buffer.size()) return;  // a head that does not fit: close, as any server with a limit does
    std::memmove(buffer.data(), unread.data(), held);
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
