// SPDX-License-Identifier: Apache-2.0
// An echo server, a fiber a connection: what comes in goes back, until the peer has finished. Ends with status 0 on
// SIGINT or SIGTERM.
//
//   echo_server [--port N]
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <weft/net.hpp>
#include <weft/weft.hpp>

static std::string address_from(int argc, char** argv) {
  std::uint16_t port = 7007;
  if (argc != 1) {
    if (argc != 3 || std::string_view(argv[1]) != "--port")
      throw std::invalid_argument("usage: echo_server [--port N]");
    const char* const end = argv[2] + std::strlen(argv[2]);
    const auto [rest, error] = std::from_chars(argv[2], end, port);
    if (error != std::errc{} || rest != end)
      throw std::invalid_argument("--port " + std::string(argv[2]) +
                                  ": expected a number from 0 (any free port) to 65535");
  }
  return "127.0.0.1:" + std::to_string(port);
}

static void serve(const std::string& address) {
  auto listener = weft::net::listen(address);
  const auto quit = weft::signals({SIGINT, SIGTERM});  // before anybody may know that we are there
  std::printf("listening on %s\n", listener.local_endpoint().to_string().c_str());
  std::fflush(stdout);

  weft::scope connections(weft::collect, {.limit = 10'000});
  connections.go([&] {
    quit.recv();
    listener.close();
  });
  while (auto stream = listener.accept())
    connections.go([stream = std::move(*stream)]() mutable {
      weft::io::copy(stream, stream);
      stream.shutdown_write();
    });
  connections.cancel();  // whoever is still connected is cut off
  connections.join();
}

int main(int argc, char** argv) {
  try {
    weft::run([&] { serve(address_from(argc, argv)); });
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "echo_server: %s\n", e.what());
    return 2;
  }
}
