// SPDX-License-Identifier: Apache-2.0
// The two walks: by unwind tables on the own stack, by frame pointers on one that was left.
#include "runtime/inspect/frames.hpp"

#include <unwind.h>

#include <cstddef>

#include "runtime/inspect/racy_load.hpp"

namespace weft::rt {

namespace {

// Where Boost.Context's jump_fcontext has saved the frame pointer and the address at which the execution goes on.
#if defined(__x86_64__)
constexpr std::size_t saved_fp = 0x30;
constexpr std::size_t saved_pc = 0x38;
#elif defined(__aarch64__)
constexpr std::size_t saved_fp = 0x90;
constexpr std::size_t saved_pc = 0xa0;
#else
#error "weft runs on x86-64 and arm64"
#endif
constexpr std::size_t context_size = saved_pc + sizeof(std::uintptr_t);

struct bounds {
  std::uintptr_t lo;
  std::uintptr_t hi;

  bool hold(std::uintptr_t address, std::size_t size) const noexcept {
    return address % alignof(std::uintptr_t) == 0 && lo <= address && address <= hi - size;
  }
};

std::uintptr_t word_at(std::uintptr_t address) noexcept {
  return racy_load(*reinterpret_cast<const std::uintptr_t*>(address));
}

struct unwinding {
  frame_list& out;
  unsigned to_skip;
};

}  // namespace

[[gnu::noinline]] void unwind_own_stack(frame_list& out) noexcept {
  unwinding state{out, 1};
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* arg) -> _Unwind_Reason_Code {
        auto& walk = *static_cast<unwinding*>(arg);
        const std::uintptr_t pc = _Unwind_GetIP(context);
        if (pc == 0) return _URC_END_OF_STACK;
        if (walk.to_skip != 0)
          --walk.to_skip;
        else
          walk.out.add(pc);
        return _URC_NO_REASON;
      },
      &state);
}

bool walk_left_stack(const stack& on, const void* sp, frame_list& out) noexcept {
  const auto lo = reinterpret_cast<std::uintptr_t>(on.lo);
  const bounds inside{lo, lo + on.size};
  const auto context = reinterpret_cast<std::uintptr_t>(sp);
  if (!inside.hold(context, context_size)) return false;
  out.add(word_at(context + saved_pc));
  constexpr std::size_t frame_size = 2 * sizeof(std::uintptr_t);
  std::uintptr_t callee = context;
  for (std::uintptr_t fp = word_at(context + saved_fp); fp > callee && inside.hold(fp, frame_size); fp = word_at(fp)) {
    callee = fp;
    const std::uintptr_t pc = word_at(fp + sizeof(std::uintptr_t));
    if (pc == 0) break;
    out.add(pc);
  }
  return true;
}

}  // namespace weft::rt
