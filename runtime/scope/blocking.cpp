// SPDX-License-Identifier: Apache-2.0
// The two ends of blocking(f): f runs as on a plain thread, and the P may go to another M meanwhile.
//
// Where no thread was to be had for others (`missed_wake`), the call begins with a yield. Fibers that come back from one
// call and begin the next never wait, so at the limit of threads they would keep all of these.
#include "runtime/sched/blocking.hpp"

#include <weft/runtime.hpp>

#include "runtime/sched/park.hpp"
#include "runtime/scope/cancel.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

using namespace rt;

void begin_blocking() {
  M* m = current_m();
  if (m == nullptr || m->cur == nullptr) return;
  rt::check_cancelled(m->cur);
  if (sched.missed_wake.load(std::memory_order_relaxed) && m->in_blocking == 0) [[unlikely]] {
    yield_now();
    m = current_m();
  }
  begin_blocking_on(m);
}

void end_blocking() noexcept {
  M* m = current_m();
  if (m == nullptr || m->cur == nullptr) return;
  end_blocking_on(m);
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
