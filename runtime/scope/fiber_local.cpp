// SPDX-License-Identifier: Apache-2.0
#include "runtime/scope/fiber_local.hpp"

#include <cstdint>
#include <utility>

#include <weft/fiber_local.hpp>

#include "runtime/fiber/stack.hpp"
#include "runtime/sched/m.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

// Taken off before its destructor runs: that may ask for a value, and makes another one then.
void destroy_all(detail::local_value*& head) noexcept {
  while (head != nullptr) {
    detail::local_value* const value = std::exchange(head, head->older);
    value->destroy(value);
  }
}

struct locals_of_thread {
  detail::local_value* head = nullptr;
  ~locals_of_thread() { destroy_all(head); }
};

// Not inline: a compiler may keep the address of a thread_local across a switch.
[[gnu::noinline]] detail::local_value*& newest_of_thread() noexcept {
  thread_local locals_of_thread mine;
  return mine.head;
}

}  // namespace

namespace detail {

std::uint64_t new_local_key() noexcept {
  static atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

local_value*& newest_local() noexcept {
  const G* g = current_fiber();
  if (g == nullptr) return newest_of_thread();
  return reinterpret_cast<local_value*&>(g->stk->locals());
}

}  // namespace detail

}  // namespace v0

void rt::destroy_locals(G* g) noexcept { destroy_all(reinterpret_cast<detail::local_value*&>(g->stk->locals())); }

}  // namespace weft
