// SPDX-License-Identifier: Apache-2.0
// The call behind select and selector, and what its cases are made of.
//
// A case is anything with two members, and there is no other interface:
//   select_entry entry(std::uint32_t index, select_plan& plan)   what is waited for, or a word in the plan (time-outs,
//   default)
//   void finish(bool closed)                                     after the decision, if it is the one: with no lock
//   held; may throw
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include <weft/detail/export.hpp>
#include <weft/detail/select_entry.hpp>

namespace weft {
inline namespace v0 {
namespace detail {

class net_object;
struct select_plan;
struct select_result;

/// Runs a select in place of `select_run`.
using select_runner = select_result (*)(const select_entry* entries, std::uint32_t count, const select_plan& plan,
                                        void* room);

/// What a select is besides its objects.
struct select_plan {
  static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
  static constexpr std::int64_t passed = 0;
  static constexpr std::uint32_t absent = std::numeric_limits<std::uint32_t>::max();

  std::int64_t deadline = never;  ///< of the clock, in ns: the nearest
  std::uint32_t timeout = absent;
  std::uint32_t otherwise = absent;  ///< the default
  bool biased = false;
  select_runner runner = nullptr;  ///< for cases that have to be asked for outside of the protocol (`ready_look`)

  void add_deadline(std::uint32_t index, std::int64_t when) noexcept {
    if (timeout != absent && when >= deadline) return;
    deadline = when;
    timeout = index;
  }
};

struct select_result {
  std::uint32_t index;
  bool closed;
};

/// Room for each case that `select_run` needs, aligned as a pointer.
inline constexpr std::size_t select_room = 104;

/// Waits until one of the cases was done. Throws `cancelled`, and std::system_error on a plain thread when the runtime
/// ends.
WEFT_EXPORT select_result select_run(const select_entry* entries, std::uint32_t count, const select_plan& plan,
                                     void* room);

/// The same by the runner that a case has asked for.
inline select_result select_run_as_planned(const select_entry* entries, std::uint32_t count, const select_plan& plan,
                                           void* room) {
  return (plan.runner != nullptr ? plan.runner : select_run)(entries, count, plan, room);
}

/// What a case of readiness has of its own: which side of what, and room for the look (rt::basic_look).
struct ready_look {
  net_object* of;
  bool to_write;
  alignas(void*) std::byte room[40];
};

/// The entry of such a case; the plan is run by another runner from then on.
WEFT_EXPORT select_entry ready_entry(ready_look& look, select_plan& plan) noexcept;

/// A deadline in the plan's terms: `patience` from now, or at a time of the clock; in ns.
WEFT_EXPORT std::int64_t select_deadline_in(std::int64_t patience) noexcept;
WEFT_EXPORT std::int64_t select_deadline_at(std::int64_t when) noexcept;

}  // namespace detail
}  // namespace v0
}  // namespace weft
