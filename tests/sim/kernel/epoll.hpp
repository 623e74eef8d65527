// SPDX-License-Identifier: Apache-2.0
// epoll(7): items, the ready list, and what a wait takes from it.
//
// As Linux has it (fs/eventpoll.c):
//   an arrival  puts an item on the ready list if the item's mask wants something of it, whatever holds otherwise. The
//               item is on the list once, however many arrivals come. One that waits is woken each time.
//   ADD, MOD    put it there if something of its mask holds.
//   a wait      takes items off in their order and asks each file what holds now; nothing: no event. A level-triggered
//               item goes to the end of the list; a one-shot one is silent until MOD.
//   EPOLLERR and EPOLLHUP are always in the mask.
//   An item belongs to a file and a number, and goes with the file, not with the number.
// So an edge may find that the state has gone again, and two arrivals may be one edge. Under
// `troubles::spurious_readiness_one_in` an event may also tell of what is gone by the time of the call.
//
// Invariant: an item is on a ready list if and only if `listed`; `since` is when it came there.
//
// Not modelled: EPOLLEXCLUSIVE, EPOLLWAKEUP, an instance within another, the limit of watches (ENOSPC).
// EPOLL_CTL_DEL of what is not there fails the run: weft never asks for that.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "tests/sim/kernel/file.hpp"

namespace sim::kernel {

struct epoll_set;

struct item {
  epoll_set* by;
  file* of;
  int number;
  std::uint32_t mask;
  epoll_data_t data;
  bool listed = false;
  bool for_nothing = false;  ///< the next event says EPOLLIN, whatever holds
  instant since = 0;
};

struct epoll_set : file {
  std::deque<item*> ready;
  std::vector<item*> all;

  std::uint32_t state() noexcept override { return ready.empty() ? 0u : EPOLLIN; }
  mode_t format() const noexcept override { return 0; }
  void release() noexcept override;
  /// What epoll_wait takes at one moment. Returns how many events.
  int harvest(epoll_event* out, int room) noexcept;
};

/// Something of `what` has arrived; 0: a change of state.
void arrive(item* i, std::uint32_t what) noexcept;
/// A trouble: some edge-triggered item that wants EPOLLIN, if there is any.
void report_some_for_nothing() noexcept;
/// The file is no more.
void forget(file* f) noexcept;

}  // namespace sim::kernel
