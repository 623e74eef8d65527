// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/fiber_limit.hpp"

#include <algorithm>
#include <limits>
#include <system_error>

#include <weft/detail/atomic.hpp>

#include "runtime/fiber/stack.hpp"
#include "runtime/sched/g_pool.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

namespace {

constexpr std::size_t part = 64;

constinit std::size_t limit = 0;
constinit detail::spin_lock credit_lock;  // a leaf
constinit detail::atomic<std::uint32_t> epoch{0};
constinit detail::atomic<std::size_t> base{0};  // written under credit_lock
constinit std::uint32_t with_credit = 0;        // so many Ps have had some in this epoch; guarded by credit_lock

bool begins_epoch(std::size_t room) noexcept {
  const std::size_t now = base.load(std::memory_order_relaxed);
  return room < now / 2 || room / 2 > now;
}

// `seen`: the epoch before the walk that found `room`.
void note_room(std::size_t room, std::uint32_t seen, P* p) noexcept {
  if ((p == nullptr || room < part) && !begins_epoch(room)) return;
  detail::spin_guard guard(credit_lock);
  std::uint32_t now = epoch.load(std::memory_order_relaxed);
  if (now != seen) return;
  if (begins_epoch(room)) {
    epoch.store(++now, std::memory_order_relaxed);
    base.store(room, std::memory_order_relaxed);
    with_credit = 0;
  }
  if (p == nullptr) return;
  if (p->credit.epoch != now) ++with_credit;
  const std::size_t share = base.load(std::memory_order_relaxed) / (part * with_credit);
  p->credit = {static_cast<std::uint32_t>(std::min<std::size_t>(share, std::numeric_limits<std::uint32_t>::max())),
               now};
}

}  // namespace

void set_fiber_limit(std::size_t most) noexcept {
  detail::spin_guard guard(credit_lock);
  limit = most;
  epoch.store(epoch.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  base.store(0, std::memory_order_relaxed);
  with_credit = 0;
}

bool may_start_fiber(P* p) noexcept {
  if (limit == 0) return true;
  const std::uint32_t seen = epoch.load(std::memory_order_acquire);  // before what a walk reads
  if (p != nullptr && p->credit.left != 0 && p->credit.epoch == seen) {
    --p->credit.left;
    return true;
  }
  const auto live = static_cast<std::size_t>(std::max<std::int64_t>(live_fibers(), 0));
  if (live >= limit) return false;
  note_room(limit - live, seen, p);
  return true;
}

void throw_fiber_limit() {
  const std::size_t guards = guard_limit();
  throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again),
                          guards != 0 && guards <= limit
                              ? guard_limit_message()
                              : "weft: options.max_fibers is reached; raise it, or spawn fewer");
}

}  // namespace weft::rt
