// SPDX-License-Identifier: Apache-2.0
// A rate limiter: a bucket of tokens that a ticker refills. Who wants to send a request takes a token, and waits while
// there is none; a burst is let through as far as the bucket holds.
//
// The bucket is a channel with room for the burst. The ticker never overfills it: a token for which there is no room is
// dropped, as the ticks are for which the refilling fiber has no time.
//
//   rate_limiter [REQUESTS]
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <weft/weft.hpp>

using namespace std::chrono_literals;

class rate_limiter {
 public:
  /// One token each `period`, and at most `burst` at once, which are there at the start.
  rate_limiter(std::size_t burst, std::chrono::nanoseconds period)
      : tokens_(burst), refill_(period), refilling_(weft::spawn({.name = "refill"}, [this] { refill(); })) {
    while (tokens_.try_send() == weft::chan_status::ok) {
    }
  }

  /// Waits for a token; a cancellation ends the wait.
  void take() { tokens_.recv(); }
  bool try_take() { return tokens_.try_recv() == weft::chan_status::ok; }

 private:
  void refill() {
    for ([[maybe_unused]] const weft::clock::time_point due : refill_.chan())
      (void)tokens_.try_send();  // full: nobody has come for a while
  }

  weft::chan<void> tokens_;
  weft::ticker refill_;
  weft::fiber<void> refilling_;  // last: its destructor cancels and joins the fiber, which uses the others
};

static std::size_t requests_from(int argc, char** argv) {
  if (argc == 1) return 25;
  const std::string_view text = argv[1];
  std::size_t n = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (argc != 2 || error != std::errc{} || rest != text.data() + text.size() || n > 10'000)
    throw std::invalid_argument("usage: rate_limiter [REQUESTS], a number from 0 to 10000, not '" + std::string(text) +
                                "'");
  return n;
}

static int send_requests(std::size_t requests) {
  constexpr std::size_t burst = 5;
  constexpr auto period = 2ms;
  const auto start = weft::clock::now();
  rate_limiter limiter(burst, period);
  std::vector<weft::clock::time_point> sent;
  weft::mutex guard;

  weft::scope clients;
  for (int client = 0; client < 3; ++client) {
    clients.go([&] {
      for (;;) {
        limiter.take();
        const std::lock_guard lock(guard);
        if (sent.size() == requests) return;
        sent.push_back(weft::clock::now());  // the request
      }
    });
  }
  clients.join();

  bool right = true;
  for (std::size_t i = 0; i < sent.size(); ++i) {
    const auto at = sent[i] - start;
    std::printf("request %2zu after %6.2f ms\n", i + 1, std::chrono::duration<double, std::milli>(at).count());
    if (i >= burst) right = right && at >= static_cast<int>(i - burst + 1) * period;  // no token is early
  }
  return right ? 0 : 1;
}

int main(int argc, char** argv) {
  try {
    return weft::run([requests = requests_from(argc, argv)] { return send_requests(requests); });
  } catch (const std::exception& e) {
    std::fprintf(stderr, "rate_limiter: %s\n", e.what());
    return 2;
  }
}
