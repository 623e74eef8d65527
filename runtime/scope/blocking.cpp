// SPDX-License-Identifier: Apache-2.0
// The two ends of blocking(f): f runs as on a plain thread, and the P may go to another M meanwhile.
#include "runtime/sched/blocking.hpp"

#include <weft/runtime.hpp>

#include "runtime/scope/cancel.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

using namespace rt;

void begin_blocking() {
  M* m = current_m();
  if (m == nullptr || m->cur == nullptr) return;
  rt::check_cancelled(m->cur);
  if (m->in_blocking == 0 && give_way_where_threads_are_short()) {
    m = current_m();
    rt::check_cancelled(m->cur);  // nothing has begun yet
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
