// SPDX-License-Identifier: Apache-2.0
// The child of a fork has one thread: the runtime that ran in its parent has neither Ms nor a monitor there, and its
// locks may be held by threads that do not exist. So in the child it is off, from a fiber as from a plain thread: `go`,
// `spawn` and `run` throw std::logic_error that says why, and a wake starts nobody. exec, _exit and exit work. Forked
// while no runtime runs, a child may have its own.
//
// A child that returns from the fiber it was forked in has nowhere to return to, and is ended with a sentence.
#pragma once

#include <weft/detail/atomic.hpp>

namespace weft::rt {

/// Whether this process is such a child. Relaxed: it is written while there is one thread.
extern detail::atomic<bool> forked_away;
inline constexpr const char* forked_away_sentence =
    "weft: this process was forked while a runtime ran and has only one thread of it; call exec or _exit, or fork "
    "before weft::run";

/// Called by each run; takes effect once.
void watch_forks() noexcept;

}  // namespace weft::rt
