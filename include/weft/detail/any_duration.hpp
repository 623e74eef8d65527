// SPDX-License-Identifier: Apache-2.0
// A parameter type for durations: takes any of std::chrono's, in nanoseconds, and what does not fit becomes the longest
// there is
// (std::chrono's own conversion would overflow).
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <ratio>
#include <type_traits>

namespace weft {
inline namespace v0 {
namespace detail {

class any_duration {
 public:
  template <class Rep, class Period>
  constexpr any_duration(
      std::chrono::duration<Rep, Period> d) noexcept  // NOLINT(google-explicit-constructor): a parameter type
      : ns_(to_ns(d)) {}

  constexpr std::int64_t ns() const noexcept { return ns_; }

 private:
  template <class Rep, class Period>
  static constexpr std::int64_t to_ns(std::chrono::duration<Rep, Period> d) noexcept {
    using limits = std::numeric_limits<std::int64_t>;
    using scale = std::ratio_divide<Period, std::nano>;
    if constexpr (std::is_floating_point_v<Rep>) {
      const auto ns = static_cast<long double>(d.count()) * scale::num / scale::den;
      if (!(ns < static_cast<long double>(limits::max()))) return limits::max();
      if (ns < static_cast<long double>(limits::min())) return limits::min();
      return static_cast<std::int64_t>(ns);
    } else {
      std::int64_t scaled = 0;
      if (__builtin_mul_overflow(d.count(), scale::num, &scaled)) return d.count() < 0 ? limits::min() : limits::max();
      return scaled / scale::den;
    }
  }

  std::int64_t ns_;
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
