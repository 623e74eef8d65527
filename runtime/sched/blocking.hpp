// SPDX-License-Identifier: Apache-2.0
// The announcement that a fiber is about to block its thread: its P may be taken at the monitor's next look.
#pragma once

#include "runtime/sched/monitor.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

/// Where no thread was to be had for others (`missed_wake`), yields to them: for the begin of calls that may block and hold
/// nothing. Fibers that come back from one and begin the next never wait, so at the limit of threads they would keep all
/// of these. Returns true if it has yielded.
inline bool give_way_where_threads_are_short() noexcept {
  if (!sched.missed_wake.load(std::memory_order_relaxed)) [[likely]]
    return false;
  yield_now();
  return true;
}

/// Of the calling thread, which must run a fiber. Nests.
inline void begin_blocking_on(M* m) noexcept {
  if (m->in_blocking++ == 0) m->blocking_now.store(true, std::memory_order_relaxed);  // read by the monitor, a hint
  if (sched.monitor_is_slow.load(std::memory_order_relaxed)) [[unlikely]]
    ask_for_attention();
}
inline void end_blocking_on(M* m) noexcept {
  if (--m->in_blocking == 0) m->blocking_now.store(false, std::memory_order_relaxed);
}

/// For a few lines that neither park nor switch; nothing on a plain thread. Looks at no cancellation.
class blocking_section {
 public:
  blocking_section() noexcept : m_(current_m()) {
    if (m_ != nullptr && m_->cur == nullptr) m_ = nullptr;
    if (m_ != nullptr) begin_blocking_on(m_);
  }
  ~blocking_section() {
    if (m_ != nullptr) end_blocking_on(m_);
  }
  blocking_section(const blocking_section&) = delete;
  blocking_section& operator=(const blocking_section&) = delete;

 private:
  M* m_;
};

}  // namespace weft::rt
