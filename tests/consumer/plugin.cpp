// SPDX-License-Identifier: Apache-2.0
//
// A shared object that has libweft.a in it, for a host that knows nothing of weft (plugin_host.cpp).

#include <chrono>
#include <stdexcept>
#include <thread>

#include <weft/net.hpp>
#include <weft/weft.hpp>

/// Returns 0 if everything was as it should be: fibers, exceptions, a thread of its own, a socket.
extern "C" int plugin_work() {
  using namespace std::chrono_literals;
  return weft::run([] {
    weft::chan<int> numbers;
    weft::scope s;
    s.go([=] {
      for (int i = 0; i < 100; ++i) numbers.send(i);
      numbers.close();
    });
    int sum = 0;
    std::thread receiver([&] {
      for (const int i : numbers) sum += i;
    });
    weft::blocking([&] { receiver.join(); });
    bool late = false;
    try {
      weft::with_timeout(1ms, [] { weft::sleep_for(1h); });
    } catch (const weft::timed_out&) {
      late = true;
    }
    auto listener = weft::net::listen("127.0.0.1:0");
    s.go([&] { weft::net::connect(listener.local_endpoint().to_string()).write_all(std::string_view("x")); });
    char c = 0;
    listener.accept()->read_exactly(std::span(&c, 1));
    s.join();
    return sum == 4950 && late && c == 'x' ? 0 : 1;
  });
}
