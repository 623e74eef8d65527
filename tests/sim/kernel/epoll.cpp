// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/kernel/epoll.hpp"

#include <algorithm>
#include <utility>

#include "tests/sim/kernel/troubles.hpp"

namespace sim::kernel {

namespace {

constexpr std::uint32_t ways = static_cast<std::uint32_t>(EPOLLET) | EPOLLONESHOT;  // how, not what

std::vector<epoll_set*> sets;
instant latest = 0;

void list(item* i) noexcept {
  if (i->listed) return;
  i->listed = true;
  i->since = now();
  i->by->ready.push_back(i);
}

std::uint32_t mask_of(const epoll_event& event) noexcept { return event.events | EPOLLERR | EPOLLHUP; }

int wait_for_events(int number, epoll_event* out, int room, instant timeout) noexcept {
  enter();
  auto* const e = file_of<epoll_set>(number);
  if (e == nullptr) return say(EINVAL);
  const in_use here(e);
  const instant until = timeout < 0 ? -1 : now() + timeout;
  for (;;) {
    if (const int n = e->harvest(out, room)) return n;
    if (until >= 0 && now() >= until) return 0;
    instant most = until < 0 ? -1 : until - now();
    const bool interrupted = one_in(trouble().interrupted_one_in);
    if (interrupted) {
      const instant some = choose(1'000'000);
      if (most < 0 || some < most) most = some;
    }
    sim::wait(
        e, [](const void* word, std::uint32_t) { return static_cast<const epoll_set*>(word)->ready.empty(); }, 0, most);
    if (interrupted && e->ready.empty()) return say(EINTR);
  }
}

}  // namespace

void epoll_set::release() noexcept {
  for (item* i : all) std::erase(i->of->items, i);
}

int epoll_set::harvest(epoll_event* out, int room) noexcept {
  int n = 0;
  for (std::size_t left = ready.size(); left > 0 && n < room; --left) {
    item* const i = ready.front();
    ready.pop_front();
    i->listed = false;
    const std::uint32_t gone = std::exchange(i->for_nothing, false) ? EPOLLIN | EPOLLRDNORM : 0u;
    const std::uint32_t what = (i->of->state() | gone) & i->mask;
    if (what == 0) continue;
    out[n].events = what;
    out[n++].data = i->data;
    const bool edge = (i->mask & EPOLLET) != 0;
    if (edge) latest = std::max(latest, now() - i->since);
    if ((i->mask & EPOLLONESHOT) != 0) {
      i->mask &= ways;
    } else if (!edge) {
      i->listed = true;
      i->since = now();
      ready.push_back(i);
    }
  }
  // What is left is for the next one that sleeps here.
  if (!ready.empty()) wake_now(this, false);
  return n;
}

void arrive(item* i, std::uint32_t what) noexcept {
  if ((i->mask & ~ways) == 0) return;  // a one-shot item that is silent
  if (what != 0 && (what & i->mask) == 0) return;
  list(i);
  wake_now(i->by, false);
}

void report_some_for_nothing() noexcept {
  std::vector<item*> these;
  for (const epoll_set* e : sets)
    for (item* i : e->all)
      if ((i->mask & EPOLLET) != 0 && (i->mask & EPOLLIN) != 0) these.push_back(i);
  if (these.empty()) return;
  item* const i = these[choose(static_cast<std::uint32_t>(these.size()))];
  i->for_nothing = true;
  arrive(i, EPOLLIN);
}

void forget(file* f) noexcept {
  for (item* i : f->items) {
    std::erase(i->by->all, i);
    std::erase(i->by->ready, i);
  }
  f->items.clear();
}

int epoll_create1(int) noexcept {
  enter();
  auto* const e = new epoll_set;
  sets.push_back(e);
  return static_cast<int>(said(give_number(e, false)));
}

int epoll_ctl(int epoll, int what, int fd, epoll_event* event) noexcept {
  enter();
  auto* const e = file_of<epoll_set>(epoll);
  if (e == nullptr) return say(EINVAL);
  file* const f = file_of<file>(fd);
  const auto found =
      std::find_if(f->items.begin(), f->items.end(), [=](item* i) { return i->by == e && i->number == fd; });
  item* i = found == f->items.end() ? nullptr : *found;
  switch (what) {
    case EPOLL_CTL_DEL:
      if (i == nullptr) fail("EPOLL_CTL_DEL of what is not there");
      std::erase(f->items, i);
      std::erase(e->all, i);
      std::erase(e->ready, i);
      return 0;
    case EPOLL_CTL_ADD:
      if (i != nullptr) return say(EEXIST);
      i = new item{e, f, fd, mask_of(*event), event->data};
      f->items.push_back(i);
      e->all.push_back(i);
      break;
    default:
      if (i == nullptr) return say(ENOENT);
      i->mask = mask_of(*event);
      i->data = event->data;
  }
  if ((f->state() & i->mask) != 0 && !i->listed) {
    list(i);
    wake_now(e, false);
  }
  return 0;
}

int epoll_wait(int epoll, epoll_event* out, int room, int milliseconds) noexcept {
  return wait_for_events(epoll, out, room, milliseconds < 0 ? -1 : milliseconds * instant{1'000'000});
}
int epoll_pwait2(int epoll, epoll_event* out, int room, const timespec* timeout) noexcept {
  return wait_for_events(epoll, out, room, timeout->tv_sec * instant{1'000'000'000} + timeout->tv_nsec);
}

instant latest_edge() noexcept { return latest; }
instant oldest_edge() noexcept {
  instant oldest = -1;
  for (const epoll_set* e : sets)
    for (const item* i : e->ready)
      if ((i->mask & EPOLLET) != 0 && (oldest < 0 || i->since < oldest)) oldest = i->since;
  return oldest;
}

}  // namespace sim::kernel
