// SPDX-License-Identifier: Apache-2.0
//
// A program whose containers are checked ones (_GLIBCXX_DEBUG), which are other types, on top of the ordinary library:
// so no container may stand in what the library compiles. It links, and what it passes to and fro is right.

#include <cstdio>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <weft/file.hpp>
#include <weft/net.hpp>
#include <weft/process.hpp>
#include <weft/weft.hpp>

#if !defined(_GLIBCXX_DEBUG)
#error "is to be compiled with _GLIBCXX_DEBUG"
#endif

int main() {
  return weft::run([] {
    const std::vector<weft::net::endpoint> found = weft::net::resolve("127.0.0.1:80");
    std::error_code error;
    const std::vector<weft::net::endpoint> none = weft::net::resolve("no port", error);
    const std::vector<weft::net::tcp_listener> passed = weft::net::inherited_listeners();

    weft::chan<int> numbers(4);
    weft::selector either;
    int received = 0;
    either.on_recv(numbers, [&](std::optional<int> i) { received = *i; });
    weft::fiber<std::vector<int>> list = weft::spawn({.name = "list"}, [] { return std::vector{1, 2, 3}; });
    numbers.send(7);
    either.run();
    weft::scope failing(weft::collect);
    failing.go([] { throw 1; });
    failing.join();

    const std::vector<std::string> variables{"A=b"};
    const weft::process_output listed = weft::process::output({"env"}, {.env = variables});
    const std::string status = weft::read_file("/proc/self/status");

    const bool right = found == std::vector{weft::net::endpoint::parse("127.0.0.1:80")} && none.empty() &&
                       passed.empty() && error == std::errc::invalid_argument && received == 7 &&
                       list.join().size() == 3 && failing.errors().size() == 1 && failing.error_count() == 1 &&
                       listed.out == "A=b\n" && status.find("Pid:") != std::string::npos;
    if (!right) std::fputs("what came back is not what was passed\n", stderr);
    return right ? 0 : 1;
  });
}
