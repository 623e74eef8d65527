// SPDX-License-Identifier: Apache-2.0
// One home for the exceptions' type information: a type caught in the library and thrown in the program must be the
// same type.
#include <weft/error.hpp>

#include <weft/detail/any_duration.hpp>

namespace weft {
inline namespace v0 {

channel_closed::~channel_closed() = default;
timed_out::~timed_out() = default;
fiber_cancelled::~fiber_cancelled() = default;

namespace detail {
void throw_not_a_duration() {
  throw std::invalid_argument("weft: a duration is not a number (NaN); expected a number of seconds, or infinity");
}
}  // namespace detail

}  // namespace v0
}  // namespace weft
