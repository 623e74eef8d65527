// SPDX-License-Identifier: Apache-2.0
// The cases of a select that ask whether a descriptor is ready.
//
// The kernel knows, and is not asked under a lock. So ahead of the select each look begins and its descriptor is polled;
// the select itself takes what was found, or waits for edges as for anything else. A case that an edge has ended is asked
// for once more, since another reader may have been quicker: then all begins again, with the same deadlines. The
// descriptors are kept open from the first question to the end of the select, so a `close` wakes the select and returns
// after it.
//
// The deadline of a side counts among those of the select, as its case: past it, a try fails at once.
#include <weft/detail/net_object.hpp>
#include <weft/detail/select_run.hpp>

#include <new>

#include "netpoll/access.hpp"
#include "netpoll/readiness.hpp"
#include "runtime/sync/run_select.hpp"

namespace weft {
namespace rt {

namespace {

/// Begins the look and asks the kernel. `ready`: a try would not wait, if only to fail.
void ask(descriptor::look& l) noexcept {
  bool worth = l.of->begin_look(l) != wait_outcome::ok;
  if (!worth) {
    int error = 0;
    const net::readiness wanted = l.which == direction::read ? net::readable : net::writable;
    worth = ready_now(l.of->fd(), wanted, error) || error != 0;
  }
  l.ready = worth;
}

class looks_of_a_select {
 public:
  looks_of_a_select(const detail::select_entry* entries, std::uint32_t count) noexcept
      : entries_(entries), count_(count) {
    for_each([](descriptor::look& l, std::uint32_t) { l.held = l.of->hold(); });
  }
  ~looks_of_a_select() {
    for_each([](descriptor::look& l, std::uint32_t) {
      if (l.held) l.of->drop();
    });
  }
  looks_of_a_select(const looks_of_a_select&) = delete;
  looks_of_a_select& operator=(const looks_of_a_select&) = delete;

  template <class F>
  void for_each(F f) {
    for (std::uint32_t i = 0; i < count_; ++i)
      if (descriptor::look* const l = descriptor::look_of(entries_[i])) f(*l, i);
  }

 private:
  const detail::select_entry* entries_;
  std::uint32_t count_;
};

detail::select_result select_with_looks(const detail::select_entry* entries, std::uint32_t count,
                                        const detail::select_plan& plan, void* room) {
  looks_of_a_select looks(entries, count);
  for (;;) {
    detail::select_plan now = plan;
    looks.for_each([&now](descriptor::look& l, std::uint32_t index) {
      ask(l);
      if (!l.ready && l.deadline != never) now.add_deadline(index, l.deadline);
    });
    const detail::select_result found = run_select<net_traits>(entries, count, now, room);
    descriptor::look* const l = found.index < count ? descriptor::look_of(entries[found.index]) : nullptr;
    if (l == nullptr || found.closed || l->ready) return found;
    ask(*l);
    if (l->ready) return found;
  }
}

}  // namespace

}  // namespace rt

inline namespace v0 {

using namespace rt;

detail::select_entry detail::ready_entry(ready_look& look, select_plan& plan) noexcept {
  static descriptor never_open;  // stands for an object without one: as a closed one it is ready, and the try tells
  static_assert(sizeof(descriptor::look) <= sizeof look.room && alignof(descriptor::look) <= alignof(void*));
  descriptor* const d = net_access::of(*look.of);
  auto* const l = ::new (static_cast<void*>(look.room)) descriptor::look;
  l->of = d != nullptr ? d : &never_open;
  l->which = look.to_write ? direction::write : direction::read;
  plan.runner = &select_with_looks;
  return descriptor::case_of(*l);
}

}  // namespace v0
}  // namespace weft
