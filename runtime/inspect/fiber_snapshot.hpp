// SPDX-License-Identifier: Apache-2.0
// A fiber as it was at one moment, copied without stopping it.
//
// Protocol of a copy: read id, `on_cpu`, wait word, stack and saved context; follow the frames; a full fence; read them
// again. Equal values mean that the fiber was off its CPU all the while, or left and came back to the very same place.
// Otherwise it is copied again, and after some attempts shown as running, which it then usually is. A fiber that ends
// meanwhile is left out.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "runtime/inspect/frames.hpp"
#include "runtime/sched/g.hpp"

namespace weft::rt {

enum class fiber_state : std::uint8_t { running, runnable, unstarted, waiting };

struct fiber_snapshot {
  std::uint64_t id = 0;
  char name[G::name_size] = {};  ///< printable, terminated
  fiber_state state = fiber_state::runnable;
  wait_reason reason = wait_reason::none;  ///< if it waits
  nanoseconds_t since = 0;                 ///< if it waits
  bool locked_to_thread = false;
  bool blocking = false;  ///< it runs, inside blocking(f)
  pid_t thread = 0;       ///< it runs there; 0: not known
  const void* spawn_site = nullptr;
  frame_list frames;  ///< of a fiber that is off its CPU
};

/// Copies `g`. Returns false if it is not a live fiber. Allocates nothing, takes no lock. Any thread.
bool look_at_fiber(const G& g, fiber_snapshot& out) noexcept;

/// What an M's thread, asleep in the kernel, is doing there.
struct blocked_call {
  const char* name = nullptr;      ///< of the system call, if `number` has one that fibers are likely to meet
  long number = -1;                ///< -1: it is not in the kernel, or it cannot be known
  std::uintptr_t called_from = 0;  ///< return address in code that is not the C library's; 0: not found
};
/// `on`: the stack of the fiber that runs there.
blocked_call find_blocked_call(pid_t thread, const stack* on) noexcept;

}  // namespace weft::rt
