// SPDX-License-Identifier: Apache-2.0
// A plain thread's way in, for what starts something in the runtime that is no fiber: a timer.
#pragma once

#include <stdexcept>
#include <string>

#include "runtime/sched/fork.hpp"
#include "runtime/sched/gate.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// While it lives the end of run() does not pass. A fiber needs none: the end waits for it anyway.
class admission {
 public:
  /// `what` begins the message of the std::logic_error for a plain thread without a runtime.
  explicit admission(const char* what) : foreign_(current_fiber() == nullptr) {
    if (!foreign_ || start_gate.enter()) return;
    throw std::logic_error(forked_away.load(std::memory_order_relaxed)
                               ? std::string(forked_away_sentence)
                               : "weft: no runtime runs: " + std::string(what) +
                                     " needs one (weft::run), also on a plain thread");
  }
  ~admission() {
    if (foreign_) start_gate.leave();
  }
  admission(const admission&) = delete;
  admission& operator=(const admission&) = delete;

 private:
  const bool foreign_;
};

}  // namespace weft::rt
