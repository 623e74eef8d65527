// SPDX-License-Identifier: Apache-2.0
// The tag of constructors that take an open descriptor over.
#pragma once

namespace weft {
inline namespace v0 {
namespace net {

struct from_fd_t {
  explicit from_fd_t() = default;
};
inline constexpr from_fd_t from_fd{};

}  // namespace net
}  // namespace v0
}  // namespace weft
