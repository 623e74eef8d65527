// SPDX-License-Identifier: Apache-2.0
// The announcement that a fiber is about to block its thread: its P may be taken at the monitor's next look.
#pragma once

#include "runtime/sched/monitor.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

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
