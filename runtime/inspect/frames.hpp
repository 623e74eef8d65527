// SPDX-License-Identifier: Apache-2.0
// Finding the return addresses on a stack.
//
// The caller's own stack is unwound by the tables that exceptions use: exact, also through code without frame pointers
// (the C++ library between a throw and the terminate handler). A parked fiber's stack cannot be, without running on it;
// its frame pointers are followed instead, from the context that the switch has saved. That stack may come to life
// meanwhile: every word is read as it is, must lie within the stack, and each caller above its callee, so that the walk
// ends whatever it finds; whether it found the truth is for the reader of the G to say (fiber_snapshot.cpp).
#pragma once

#include <cstdint>

#include "runtime/fiber/stack.hpp"

namespace weft::rt {

/// Return addresses, innermost first. Of a deep stack the innermost and the outermost 50 are kept, as Go does.
class frame_list {
 public:
  static constexpr unsigned kept_at_each_end = 50;

  void add(std::uintptr_t pc) noexcept {
    if (count_ == 2 * kept_at_each_end) {
      for (unsigned i = kept_at_each_end; i + 1 < count_; ++i) pcs_[i] = pcs_[i + 1];
      --count_;
      ++left_out_;
    }
    pcs_[count_++] = pc;
  }
  void clear() noexcept { count_ = left_out_ = 0; }

  unsigned size() const noexcept { return count_; }
  std::uintptr_t operator[](unsigned i) const noexcept { return pcs_[i]; }
  /// How many are missing before the frame `kept_at_each_end`.
  unsigned left_out() const noexcept { return left_out_; }

 private:
  unsigned count_ = 0;
  unsigned left_out_ = 0;
  std::uintptr_t pcs_[2 * kept_at_each_end];
};

/// The caller's own, from the caller of this function outwards.
void unwind_own_stack(frame_list& out) noexcept;

/// Those of a stack that was left with its context at `sp`. False if that context is not on the stack.
bool walk_left_stack(const stack& on, const void* sp, frame_list& out) noexcept;

}  // namespace weft::rt
