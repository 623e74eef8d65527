// SPDX-License-Identifier: Apache-2.0
// The channel of the library: basic_chan in the scheduler's world, with its handles counted and its outcomes as
// exceptions.
//
// Memory: one block, the core and then the ring. The last handle's release drops what the ring still holds, with no
// lock held while the elements' destructors run; there are no waiters then, since each waits through a handle.
#include <weft/error.hpp>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "runtime/sched/thread_g.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/scope/outcome.hpp"
#include "runtime/sync/channel.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

using namespace rt;

chan_core* chan_make(const element_ops& ops, std::ptrdiff_t capacity) {
  const std::size_t alignment = std::max(ops.alignment, alignof(chan_core));
  const std::size_t core = (sizeof(chan_core) + ops.alignment - 1) / ops.alignment * ops.alignment;
  constexpr std::size_t most = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / 2;
  if (capacity < 0 || static_cast<std::size_t>(capacity) > most ||
      (ops.size != 0 && static_cast<std::size_t>(capacity) > (most - core) / ops.size))
    throw std::length_error("weft::chan: capacity " + std::to_string(capacity) + " of elements of " +
                            std::to_string(ops.size) + " bytes; expected 0 or more, and what fits into memory");
  const std::size_t bytes = core + static_cast<std::size_t>(capacity) * ops.size;
  void* block = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (block == nullptr) throw std::bad_alloc();
  return ::new (block) chan_core(ops, static_cast<std::size_t>(capacity), static_cast<std::byte*>(block) + core);
}

void chan_retain(chan_core* c) noexcept {
  // Relaxed: the caller has a handle, so the count cannot go to zero.
  if (c != nullptr) c->handles.fetch_add(1, std::memory_order_relaxed);
}

void chan_release(chan_core* c) noexcept {
  // Publishes the caller's last use, sees the others'.
  if (c == nullptr || c->handles.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (c->stop_source != nullptr) c->stop_source(*c);
  c->destroy_rest();
  c->~chan_core();
  std::free(c);
}

void chan_enter(chan_core* c, chan_side side) noexcept {
  if (c != nullptr) c->ends[static_cast<unsigned>(side)].fetch_add(1, std::memory_order_relaxed);  // as chan_retain
}

void chan_leave(chan_core* c, chan_side side) noexcept {
  // What this end did happens before what a thread does that sees the channel closed: close() takes the lock.
  if (c == nullptr || c->ends[static_cast<unsigned>(side)].fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (side == chan_side::receive) c->abandoned.store(true, std::memory_order_relaxed);  // published by the close
  c->close();
}

void chan_throw_closed(const chan_core* c) {
  throw channel_closed(c->abandoned.load(std::memory_order_relaxed) ? "send on a channel whose receivers are all gone"
                                                                    : "send on closed channel");
}

void chan_throw_past_the_end() {
  throw std::logic_error(
      "weft::chan: `*` of an iterator at the end: the channel is closed and drained; compare with end() first");
}

bool chan_is_sole(const chan_core* c) noexcept { return c->handles.load(std::memory_order_acquire) == 1; }

[[noreturn]] static void wait_for_ever(wait_reason why) {
  for (;;) throw_if_not_ok(wait_alone<env>({why, true, never}));
}

static chan_status status_of(wait_outcome how, chan_status when_timed_out) {
  throw_if_not_ok(how);
  if (how == wait_outcome::timed_out) return when_timed_out;
  return how == wait_outcome::closed ? chan_status::closed : chan_status::ok;
}

void chan_send(chan_core* c, void* value) {
  check_cancelled(current_g());
  if (c == nullptr) wait_for_ever(wait_reason::chan_send_nil);
  const wait_outcome how = c->send(value, {wait_reason::chan_send, true, never});
  if (how == wait_outcome::ok) [[likely]]
    return;
  throw_if_not_ok(how);
  chan_throw_closed(c);
}

bool chan_receive(chan_core* c, void* slot) {
  check_cancelled(current_g());
  if (c == nullptr) wait_for_ever(wait_reason::chan_receive_nil);
  const wait_outcome how = c->receive(slot, {wait_reason::chan_receive, true, never});
  if (how == wait_outcome::ok) [[likely]]
    return true;
  throw_if_not_ok(how);
  return false;
}

chan_status chan_try_send(chan_core* c, void* value) noexcept {
  return c != nullptr ? c->try_send(value) : chan_status::full;
}

chan_status chan_try_receive(chan_core* c, void* slot) noexcept {
  return c != nullptr ? c->try_receive(slot) : chan_status::empty;
}

chan_status chan_send_for(chan_core* c, void* value, any_duration patience) {
  check_cancelled(current_g());
  if (patience.ns() <= 0) return chan_try_send(c, value);
  const nanoseconds_t deadline = saturating_add(steady_now(), patience.ns());
  if (c == nullptr) return status_of(wait_alone<env>({wait_reason::chan_send_nil, true, deadline}), chan_status::full);
  return status_of(c->send(value, {wait_reason::chan_send, true, deadline}), chan_status::full);
}

chan_status chan_receive_for(chan_core* c, void* slot, any_duration patience) {
  check_cancelled(current_g());
  if (patience.ns() <= 0) return chan_try_receive(c, slot);
  const nanoseconds_t deadline = saturating_add(steady_now(), patience.ns());
  if (c == nullptr)
    return status_of(wait_alone<env>({wait_reason::chan_receive_nil, true, deadline}), chan_status::empty);
  return status_of(c->receive(slot, {wait_reason::chan_receive, true, deadline}), chan_status::empty);
}

select_entry chan_send_case(chan_core* c, void* value) noexcept {
  return {c != nullptr ? &chan_core::send_case : nullptr, static_cast<basic_chan<env>*>(c), value};
}

select_entry chan_receive_case(chan_core* c, void* slot) noexcept {
  return {c != nullptr ? &chan_core::receive_case : nullptr, static_cast<basic_chan<env>*>(c), slot};
}

void chan_close(chan_core* c) {
  if (c == nullptr) throw channel_closed("close of nil channel");
  if (!c->close()) throw channel_closed("close of closed channel");
}

std::size_t chan_size(const chan_core* c) noexcept {
  return c != nullptr && !c->shows_as_unbuffered ? const_cast<chan_core*>(c)->size() : 0;
}
std::size_t chan_capacity(const chan_core* c) noexcept {
  return c != nullptr && !c->shows_as_unbuffered ? c->capacity() : 0;
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
