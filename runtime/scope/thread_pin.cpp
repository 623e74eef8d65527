// SPDX-License-Identifier: Apache-2.0
#include <system_error>

#include <weft/runtime.hpp>

#include "runtime/base/fatal.hpp"
#include "runtime/sched/fork.hpp"
#include "runtime/sched/m.hpp"
#include "runtime/sched/pinned.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

thread_pin::thread_pin() {
  G* g = current_fiber();
  if (g == nullptr) return;
  if (!pin(g))
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again),
                            "weft::thread_pin: this thread is another pinned fiber's, and not one more is to be had "
                            "(raise the limit on threads: ulimit -u, the cgroup's pids.max, options::max_threads)");
  fiber_ = g->id.load(std::memory_order_relaxed);
}

thread_pin::~thread_pin() {
  if (fiber_ == 0) return;
  G* g = current_fiber();
  if (g == nullptr && forked_away.load(std::memory_order_relaxed)) return;
  if (g == nullptr || g->id.load(std::memory_order_relaxed) != fiber_)
    fatal("weft::thread_pin: destroyed in another fiber than the one it pins; keep it in a local variable");
  unpin(g);
}

}  // namespace v0
}  // namespace weft
