// SPDX-License-Identifier: Apache-2.0
// A parameter type for durations: takes any of std::chrono's, in nanoseconds. What does not fit becomes the longest
// there is (std::chrono's own conversion would overflow); what is not a number is refused.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <ratio>
#include <type_traits>

#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {
namespace detail {

/// Throws std::invalid_argument: a duration is NaN.
[[noreturn]] WEFT_EXPORT void throw_not_a_duration();

class any_duration {
 public:
  template <class Rep, class Period>
  constexpr any_duration(  // NOLINT(google-explicit-constructor): a parameter type
      std::chrono::duration<Rep, Period> d) noexcept(std::is_integral_v<Rep>)
      : ns_(to_ns(d)) {}

  constexpr std::int64_t ns() const noexcept { return ns_; }

 private:
  template <class Rep, class Period>
  static constexpr std::int64_t to_ns(std::chrono::duration<Rep, Period> d) {
    using limits = std::numeric_limits<std::int64_t>;
    using scale = std::ratio_divide<Period, std::nano>;
    if constexpr (std::is_floating_point_v<Rep>) {
      const auto ns = static_cast<long double>(d.count()) * scale::num / scale::den;
      if (ns != ns) throw_not_a_duration();
      if (!(ns < static_cast<long double>(limits::max()))) return limits::max();
      if (ns < static_cast<long double>(limits::min())) return limits::min();
      return static_cast<std::int64_t>(ns);
    } else if constexpr (!std::is_integral_v<Rep>) {
      return std::chrono::duration_cast<std::chrono::nanoseconds>(d).count();
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
