// SPDX-License-Identifier: Apache-2.0
//
// What every stress test shares: a seed that is known when it fails, counts that fit the build, accounting that is
// exact, and an end to a hang.
//
// The fixture prints the seed first, so that it is on the screen however the process ends; WEFT_STRESS_SEED replays it
// (the choices that the program makes; those of the machine are not in it). A test that hangs is ended with a dump of
// all fibers.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <utility>

#include "tests/support/watchdog.hpp"

namespace weft_test {

#if defined(__has_feature)  // clang's way to say it
#if __has_feature(thread_sanitizer)
#define WEFT_TEST_TSAN 1
#elif __has_feature(address_sanitizer)
#define WEFT_TEST_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(WEFT_TEST_TSAN)
inline constexpr bool under_tsan = true;
#else
inline constexpr bool under_tsan = false;
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(WEFT_TEST_ASAN)
inline constexpr int slowdown = 4;
#else
inline constexpr int slowdown = under_tsan ? 5 : 1;
#endif

/// A count for a plain build, made smaller where everything is slower.
constexpr int scaled(int count) { return count / slowdown > 1 ? count / slowdown : 1; }

inline std::uint64_t stress_seed() {
  static const std::uint64_t seed = [] {
    const char* text = std::getenv("WEFT_STRESS_SEED");
    return text != nullptr ? std::strtoull(text, nullptr, 0) : std::uint64_t{std::random_device{}()};
  }();
  return seed;
}

/// One actor's choices: the same for the same seed and the same `actor`, whatever the others do.
class choices {
 public:
  explicit choices(std::uint64_t actor) : state_(stress_seed() + actor * 0x9e3779b97f4a7c15u) {}

  std::uint64_t next() noexcept {  // splitmix64
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  unsigned below(unsigned n) noexcept { return static_cast<unsigned>(next() % n); }
  bool one_in(unsigned n) noexcept { return below(n) == 0; }
  std::chrono::nanoseconds up_to(std::chrono::nanoseconds most) noexcept {
    return std::chrono::nanoseconds(next() % (static_cast<std::uint64_t>(most.count()) + 1));
  }

 private:
  std::uint64_t state_;
};

/// Every number below `size` is to be marked exactly once.
class ledger {
 public:
  explicit ledger(std::size_t size) : size_(size), marks_(new std::atomic<std::uint8_t>[size]()) {}

  void mark(std::size_t number) {
    if (number >= size_ || marks_[number].fetch_add(1, std::memory_order_relaxed) != 0)
      strange_.fetch_add(1, std::memory_order_relaxed);
  }
  bool marked(std::size_t number) const { return marks_[number].load(std::memory_order_relaxed) != 0; }
  std::size_t strange() const { return strange_.load(std::memory_order_relaxed); }  ///< marked twice, or never issued
  std::size_t missing() const {
    std::size_t count = 0;
    for (std::size_t i = 0; i < size_; ++i) count += marks_[i].load(std::memory_order_relaxed) == 0;
    return count;
  }

 private:
  std::size_t size_;
  std::unique_ptr<std::atomic<std::uint8_t>[]> marks_;
  std::atomic<std::size_t> strange_{0};
};

/// A value that can only be moved and knows how many of its kind hold something.
class parcel {
 public:
  explicit parcel(std::size_t number) noexcept : number_(number), full_(true) {
    held.fetch_add(1, std::memory_order_relaxed);
  }
  parcel(parcel&& other) noexcept : number_(other.number_), full_(other.full_) { other.full_ = false; }
  parcel& operator=(parcel&& other) noexcept {
    std::swap(number_, other.number_);
    std::swap(full_, other.full_);
    return *this;
  }
  ~parcel() {
    if (full_) held.fetch_sub(1, std::memory_order_relaxed);
  }

  std::size_t number() const noexcept { return number_; }
  bool full() const noexcept { return full_; }

  inline static std::atomic<std::int64_t> held{0};

 private:
  std::size_t number_;
  bool full_;
};

class stress : public testing::Test {
 protected:
  void SetUp() override {
    std::printf("WEFT_STRESS_SEED=%llu\n", static_cast<unsigned long long>(stress_seed()));
    std::fflush(stdout);
    parcel::held.store(0, std::memory_order_relaxed);
    watchdog_ = std::make_unique<watchdog>(std::chrono::seconds(slowdown > 1 ? 300 : 90));
  }
  void TearDown() override { watchdog_.reset(); }

 private:
  std::unique_ptr<watchdog> watchdog_;
};

}  // namespace weft_test
