// SPDX-License-Identifier: Apache-2.0
// A UDP echo server: four fibers share one socket, and send each datagram back to whom it came from. Ends with status 0
// on SIGINT or SIGTERM.
//
//   udp_echo [--port N]
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <weft/net.hpp>
#include <weft/weft.hpp>

static std::string address_from(int argc, char** argv) {
  std::uint16_t port = 7007;
  if (argc != 1) {
    if (argc != 3 || std::string_view(argv[1]) != "--port") throw std::invalid_argument("usage: udp_echo [--port N]");
    const char* const end = argv[2] + std::strlen(argv[2]);
    const auto [rest, error] = std::from_chars(argv[2], end, port);
    if (error != std::errc{} || rest != end)
      throw std::invalid_argument("--port " + std::string(argv[2]) +
                                  ": expected a number from 0 (any free port) to 65535");
  }
  return "127.0.0.1:" + std::to_string(port);
}

static void echo(weft::net::udp_socket& socket) {
  std::vector<std::byte> buffer(weft::net::udp_socket::largest);
  std::error_code error;
  for (;;) {
    const auto got = socket.recv_from(buffer, error);
    if (error == std::errc::operation_canceled) return;  // closed
    if (error) throw std::system_error(error, "receive");
    // Whoever sent it may be gone, or behind a firewall: that is no reason to end.
    socket.send_to(std::span(buffer).first(got.bytes), got.from, error);
  }
}

static void serve(const std::string& address) {
  auto socket = weft::net::udp_socket::bind(address);
  const auto quit = weft::signals({SIGINT, SIGTERM});  // before anybody may know that we are there
  std::printf("listening on %s\n", socket.local_endpoint().to_string().c_str());
  std::fflush(stdout);
  weft::scope s;
  for (int fiber = 0; fiber < 4; ++fiber) s.go([&] { echo(socket); });
  quit.recv();
  socket.close();
  s.join();
}

int main(int argc, char** argv) {
  try {
    weft::run([&] { serve(address_from(argc, argv)); });
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "udp_echo: %s\n", e.what());
    return 2;
  }
}
