// SPDX-License-Identifier: Apache-2.0
// A TCP proxy: passes what comes to it on to a server, and the answers back. Each direction is a fiber of its own, and
// an end in one of them is passed on as an end, so that a client that has finished sending still gets its answer.
//
// On SIGINT or SIGTERM it takes no new connections, lets those that stand finish for a while (10 s, or --grace), cuts
// off the rest, and ends with status 0.
//
//   tcp_proxy --to HOST:PORT [--listen HOST:PORT] [--grace SECONDS]
#include <charconv>
#include <chrono>
#include <csignal>
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

struct settings {
  std::string listen = "127.0.0.1:7070";
  std::string to;
  std::chrono::seconds grace{10};
};

static settings settings_from(int argc, char** argv) {
  settings result;
  const auto usage = std::invalid_argument("usage: tcp_proxy --to HOST:PORT [--listen HOST:PORT] [--grace SECONDS]");
  if (argc % 2 == 0) throw usage;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i], value = argv[i + 1];
    if (name == "--to") {
      result.to = value;
    } else if (name == "--listen") {
      result.listen = value;
    } else if (name == "--grace") {
      unsigned seconds = 0;
      const auto [rest, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
      if (error != std::errc{} || rest != value.data() + value.size())
        throw std::invalid_argument("--grace " + std::string(value) + ": expected a number of seconds");
      result.grace = std::chrono::seconds(seconds);
    } else {
      throw usage;
    }
  }
  if (result.to.empty()) throw usage;
  return result;
}

static void serve_one(weft::net::tcp_stream client, const settings& how) {
  std::error_code error;
  auto server = weft::net::connect(how.to, error);
  if (error) {
    std::fprintf(stderr, "tcp_proxy: no connection to %s: %s\n", how.to.c_str(), error.message().c_str());
    return;
  }
  // An error ends both directions, since each would wait for answers to what never arrived; then both streams go.
  weft::io::copy_both(client, server, error);
}

static void serve(const settings& how) {
  auto listener = weft::net::listen(how.listen);
  const auto quit = weft::signals({SIGINT, SIGTERM});  // before anybody may know that we are there
  std::printf("listening on %s\n", listener.local_endpoint().to_string().c_str());
  std::fflush(stdout);

  weft::scope connections(weft::collect, {.limit = 10'000});
  weft::scope on_signal;
  on_signal.go([&] {
    quit.recv();
    listener.close();
  });
  while (auto client = listener.accept())
    connections.go([&how, client = std::move(*client)]() mutable { serve_one(std::move(client), how); });
  try {
    weft::with_timeout(how.grace, [&] { connections.join(); });
  } catch (const weft::timed_out&) {
    connections.cancel();
    connections.join();
  }
}

int main(int argc, char** argv) {
  try {
    const settings how = settings_from(argc, argv);
    weft::run([&] { serve(how); });
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "tcp_proxy: %s\n", e.what());
    return 2;
  }
}
