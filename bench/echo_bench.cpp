// SPDX-License-Identifier: Apache-2.0
//
// Echo server, a fiber a connection: prints "port N" and serves until it is killed. The driver starts echo_load against
// it and measures its CPU time from outside, as it does with the peers' servers.
//
//   echo_bench [--w N]
#include <weft/net.hpp>
#include <weft/weft.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <utility>

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
      connections.go([stream = std::move(*stream)]() mutable {
        std::array<char, 4096> buffer;
        while (const auto n = stream.read_some(std::span<char>(buffer)))
          stream.write_all(std::span<const char>(buffer.data(), n));
      });
    connections.join();
    return 0;
  });
}
