// SPDX-License-Identifier: Apache-2.0
#include "netpoll/accept.hpp"

#include <algorithm>
#include <cerrno>
#include <optional>

#include <weft/detail/atomic.hpp>
#include <weft/detail/spin_lock.hpp>

#include "netpoll/calls.hpp"
#include "netpoll/open.hpp"
#include "netpoll/os.hpp"
#include "netpoll/side.hpp"

namespace weft::rt {

namespace {

constexpr nanoseconds_t first_pause = 5'000'000;
constexpr nanoseconds_t longest_pause = 1'000'000'000;
constexpr int passed_over_at_once = 64;  ///< in a row; then it pauses as it does in want

bool scarce(int error) noexcept { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

/// What accept(2) says of a connection that is gone already.
bool passed_over(int error) noexcept { return error == EINTR || error == ECONNABORTED || error == EPROTO; }

// Those who pause for want of descriptors. Whoever closes one looks at `in_want` after the close; they are down here from
// their first pause on. So either a close came before the last try, or it finds them (both calls take the lock of the
// process's descriptors), and ends the pause that follows the try; one that came before the first pause is noticed at its
// end.
// Lock order: `lock_of_want` < a descriptor's lock.
struct in_want_of_descriptors;
constinit detail::spin_lock lock_of_want;
constinit in_want_of_descriptors* first_in_want WEFT_GUARDED_BY(lock_of_want) = nullptr;
constinit detail::atomic<int> in_want{0};

struct in_want_of_descriptors {
  explicit in_want_of_descriptors(descriptor& d) noexcept : listener(d) {
    listener.forget_hurry(direction::read);
    detail::spin_guard guard(lock_of_want);
    next = first_in_want;
    if (next != nullptr) next->before = this;
    first_in_want = this;
    in_want.fetch_add(1, std::memory_order_relaxed);
  }
  ~in_want_of_descriptors() {
    detail::spin_guard guard(lock_of_want);
    (before != nullptr ? before->next : first_in_want) = next;
    if (next != nullptr) next->before = before;
    in_want.fetch_sub(1, std::memory_order_relaxed);
  }
  in_want_of_descriptors(const in_want_of_descriptors&) = delete;
  in_want_of_descriptors& operator=(const in_want_of_descriptors&) = delete;

  descriptor& listener;
  in_want_of_descriptors* next = nullptr;
  in_want_of_descriptors* before = nullptr;
};

[[gnu::noinline]] [[gnu::cold]] void hurry_those_in_want() noexcept {
  descriptor::batch woken;
  {
    detail::spin_guard guard(lock_of_want);
    for (in_want_of_descriptors* each = first_in_want; each != nullptr; each = each->next)
      each->listener.hurry(direction::read, woken);
  }
  net_traits::wake_all(woken);
}

}  // namespace

void descriptor_came_free() noexcept {
  if (in_want.load(std::memory_order_relaxed) != 0) [[unlikely]]
    hurry_those_in_want();
}

accepted accept_one(descriptor* listener, bool short_reads_tell) noexcept {
  accepted result;
  held_side side(listener, direction::read, result.why);
  std::optional<in_want_of_descriptors> want;
  nanoseconds_t pause = first_pause;
  int passed = 0;
  int fd = -1;  // taken in, and not yet a descriptor of ours
  while (side) {
    int error = 0;
    if (want) listener->forget_hurry(direction::read);
    if (fd < 0) {
      // Another owner may have made it blocking.
      const bool none = listener->lent.load(std::memory_order_relaxed) && poll_now(side.fd(), POLLIN) == -EAGAIN;
      fd = none ? -EAGAIN : accept_now(side.fd(), result.peer);
      if (fd < 0) error = -fd;
    }
    if (fd >= 0) {
      result.d = adopt_descriptor(fd, short_reads_tell, error);
      if (result.d != nullptr) return result;
      if (error == ENOSPC) error = ENOMEM;  // the limit of what epoll may watch
    }
    const bool in_vain = passed_over(error);
    if (in_vain && ++passed < passed_over_at_once) continue;
    if (in_vain || scarce(error)) {
      if (!in_vain && !want) want.emplace(*listener);
      result.why = failure_of(side.it().pause(direction::read, steady_now() + pause));
      pause = std::min(2 * pause, longest_pause);
      if (result.why) break;
    } else if (!side.again(-error, result.why)) {
      break;
    }
  }
  if (fd >= 0) {
    os::close(fd);
    want.reset();
    descriptor_came_free();
  }
  result.closed = result.why.error == ECANCELED && !result.why.cancelled;
  return result;
}

}  // namespace weft::rt
