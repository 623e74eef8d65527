// SPDX-License-Identifier: Apache-2.0
// The concurrent prime sieve: a chain of fibers, one for each prime found so far. Each takes the multiples of its prime
// out of the stream; the first number that gets through all of them is the next prime.
//
//   prime_sieve [HOW_MANY]
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <weft/weft.hpp>

static std::size_t how_many_from(int argc, char** argv) {
  if (argc == 1) return 500;
  const std::string_view text = argv[1];
  std::size_t n = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (argc != 2 || error != std::errc{} || rest != text.data() + text.size() || n < 1 || n > 10'000)
    throw std::invalid_argument("usage: prime_sieve [HOW_MANY], a number from 1 to 10000, not '" + std::string(text) +
                                "'");
  return n;
}

static void generate(const weft::send_chan<int>& to) {
  for (int n = 2;; ++n) to.send(n);  // without an end: the cancellation gets it out of `send`
}

static void filter(int prime, const weft::recv_chan<int>& from, const weft::send_chan<int>& to) {
  for (int n : from)
    if (n % prime != 0) to.send(n);
}

static std::vector<int> primes(std::size_t how_many) {
  std::vector<int> found;
  weft::scope chain;
  weft::chan<int> numbers;
  chain.go([=] { generate(numbers); });
  for (;;) {
    const int prime = numbers.recv().value();
    found.push_back(prime);
    if (found.size() == how_many) break;
    weft::chan<int> fewer;
    chain.go([=] { filter(prime, numbers, fewer); });
    numbers = fewer;
  }
  chain.cancel();  // enough: all of the chain waits in some send or receive, which throws now
  chain.join();
  return found;
}

static std::vector<int> primes_by_division(std::size_t how_many) {
  std::vector<int> found;
  for (int n = 2; found.size() < how_many; ++n) {
    bool is_prime = true;
    for (int p : found) is_prime = is_prime && n % p != 0;
    if (is_prime) found.push_back(n);
  }
  return found;
}

static int sieve(std::size_t how_many) {
  const std::vector<int> found = primes(how_many);
  std::printf("prime number %zu is %d\n", how_many, found.back());
  return found == primes_by_division(how_many) ? 0 : 1;
}

int main(int argc, char** argv) {
  try {
    return weft::run([how_many = how_many_from(argc, argv)] { return sieve(how_many); });
  } catch (const std::exception& e) {
    std::fprintf(stderr, "prime_sieve: %s\n", e.what());
    return 2;
  }
}
