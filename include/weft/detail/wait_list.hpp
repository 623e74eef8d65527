// SPDX-License-Identifier: Apache-2.0
// The two ends of a list of waiters, as a public object holds them. What a waiter is, only the library knows
// (runtime/wait/waiter.hpp); the layout here is the same with and without NDEBUG and needs no constructor at run time.
#pragma once

namespace weft {
inline namespace v0 {
namespace detail {

struct wait_list {
  void* head = nullptr;
  void* tail = nullptr;
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
