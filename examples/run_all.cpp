// SPDX-License-Identifier: Apache-2.0
// Runs commands side by side, a few at a time, and shows what they say line by line, as it comes.
//
//   run_all [--at-a-time N] COMMAND...
//
// Each COMMAND is a line for the shell. Its lines are shown with its number in front, on the stream that it wrote them
// to; a line of one is never mixed with another's. In the end those that failed are named. On SIGINT and SIGTERM those
// that still run are killed. Exit status: 0, or 1 if one failed or was stopped, or 2 if the arguments make no sense.
#include <weft/net.hpp>
#include <weft/process.hpp>
#include <weft/weft.hpp>

#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <string>
#include <system_error>
#include <vector>

namespace {

constexpr std::size_t longest_line = std::size_t{1} << 20;

void show(const std::string& prefix, weft::net::fd& from, std::FILE* to) {
  for (const std::string& line : weft::io::lines(from, longest_line)) {
    std::fputs((prefix + line + '\n').c_str(), to);  // in one piece
    std::fflush(to);
  }
}

weft::process_status run(const std::string& prefix, const std::string& command) {
  auto child = weft::process::start(
      {"/bin/sh", "-c", command}, {.in = weft::process::null, .out = weft::process::pipe, .err = weft::process::pipe});
  weft::scope streams;  // both at once: a child that fills one would wait for whoever reads the other
  streams.go([&] { show(prefix, child.err(), stderr); });
  show(prefix, child.out(), stdout);
  streams.join();
  return child.wait();
}  // whatever leaves this by an exception, a cancelled scope for one, kills the child

int run_all(const std::vector<std::string>& commands, std::size_t at_a_time) {
  std::vector<std::string> complaints(commands.size(), "stopped");
  weft::scope s({.limit = at_a_time});
  const auto until = weft::cancel_on({SIGINT, SIGTERM}, s);
  for (std::size_t i = 0; i < commands.size(); ++i)
    s.go([&, i] {
      try {
        const auto status = run(std::to_string(i + 1) + "| ", commands[i]);
        complaints[i] = status ? "" : status.to_string();
      } catch (const std::system_error& error) {
        complaints[i] = error.what();
      }
    });
  s.join();
  int status = 0;
  for (std::size_t i = 0; i < commands.size(); ++i) {
    if (complaints[i].empty()) continue;
    std::fprintf(stderr, "run_all: %zu: %s: %s\n", i + 1, commands[i].c_str(), complaints[i].c_str());
    status = 1;
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t at_a_time = 4;
  std::vector<std::string> commands(argv + 1, argv + argc);
  if (commands.size() >= 2 && commands[0] == "--at-a-time") {
    const std::string& n = commands[1];
    const auto [end, error] = std::from_chars(n.data(), n.data() + n.size(), at_a_time);
    if (error != std::errc{} || end != n.data() + n.size() || at_a_time == 0 || at_a_time > 1000) {
      std::fprintf(stderr, "run_all: --at-a-time takes a whole number from 1 to 1000, not '%s'\n", n.c_str());
      return 2;
    }
    commands.erase(commands.begin(), commands.begin() + 2);
  }
  if (commands.empty()) {
    std::fputs("usage: run_all [--at-a-time N] COMMAND...\n", stderr);
    return 2;
  }
  return weft::run([&] { return run_all(commands, at_a_time); });
}
