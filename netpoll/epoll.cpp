// SPDX-License-Identifier: Apache-2.0
#include "netpoll/epoll.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "netpoll/os.hpp"
#include "runtime/base/fatal.hpp"

namespace weft::rt {

namespace {

constexpr int batch_size = 128;
constexpr std::uint64_t wake_tag = 0;  // no descriptor has index 0

std::uint64_t tag_of(const descriptor& d) noexcept { return std::uint64_t{d.generation()} << 32 | d.index; }

}  // namespace

int epoll_poller::open() noexcept {
  epoll_ = os::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return errno;
  wake_ = os::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;  // level-triggered: see the head of epoll.hpp
  event.data.u64 = wake_tag;
  if (wake_ >= 0 && os::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) == 0) return 0;
  const int error = errno;
  close();
  return error;
}

void epoll_poller::close() noexcept {
  if (epoll_ >= 0) os::close(epoll_);
  if (wake_ >= 0) os::close(wake_);
  epoll_ = wake_ = -1;
  wake_pending_.store(0, std::memory_order_relaxed);
}

int epoll_poller::add(descriptor& d) noexcept {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = tag_of(d);
  if (!note_number(d.fd())) return EEXIST;  // also one that an object keeps beside the file that it uses (fd.cpp)
  if (os::epoll_ctl(epoll_, EPOLL_CTL_ADD, d.fd(), &event) != 0) {
    const int error = errno;
    forget_number(d.fd());
    return error;
  }
  descriptors_.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

void epoll_poller::remove(descriptor& d) noexcept {
  forget_number(d.fd());  // the number is still ours, and not given out again
  epoll_event unused{};
  os::epoll_ctl(epoll_, EPOLL_CTL_DEL, d.fd(), &unused);
  descriptors_.fetch_sub(1, std::memory_order_relaxed);
}

int epoll_poller::wait(void* events, int room, nanoseconds_t timeout) noexcept {
  auto* const out = static_cast<epoll_event*>(events);
  if (timeout == 0 || timeout == never) return os::epoll_wait(epoll_, out, room, timeout == 0 ? 0 : -1);
#ifdef SYS_epoll_pwait2
  if (has_pwait2_.load(std::memory_order_relaxed)) {
    const timespec limit{static_cast<time_t>(timeout / 1'000'000'000), static_cast<long>(timeout % 1'000'000'000)};
    const int n = os::epoll_pwait2(epoll_, out, room, &limit);
    if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;  // seccomp filters that do not know it say EPERM
    has_pwait2_.store(false, std::memory_order_relaxed);
  }
#endif
  const nanoseconds_t rounded_up = (timeout - 1) / 1'000'000 + 1;
  return os::epoll_wait(epoll_, out, room,
                        static_cast<int>(std::min<nanoseconds_t>(rounded_up, std::numeric_limits<int>::max())));
}

void epoll_poller::poll(nanoseconds_t timeout, g_list& ready) noexcept {
  epoll_event events[batch_size];
  const int n = wait(events, batch_size, timeout);
  if (n < 0) {
    if (errno != EINTR) fatal("weft: epoll_wait failed on the runtime's own descriptor: did the program close it?");
    return;  // back to the scheduler, which computes the next time-out again
  }
  for (int i = 0; i < n; ++i) {
    const std::uint64_t tag = events[i].data.u64;
    const std::uint32_t what = events[i].events;
    if (tag == wake_tag) {
      if (timeout == 0) continue;
      std::uint64_t count = 0;
      // EAGAIN: another sleeper was quicker.
      [[maybe_unused]] const ssize_t unused = os::read(wake_, &count, sizeof count);
      wake_pending_.exchange(0, std::memory_order_acq_rel);
      continue;
    }
    readiness now;
    now.hangup_or_error = (what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)) != 0;
    now.readable = (what & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    now.writable = (what & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
    descriptor& d = descriptor_at(static_cast<std::uint32_t>(tag));
    if (!d.event(static_cast<std::uint32_t>(tag >> 32), now, ready)) stale_.fetch_add(1, std::memory_order_relaxed);
  }
}

void epoll_poller::wake() noexcept {
  if (wake_pending_.exchange(1, std::memory_order_acq_rel) != 0) return;
  const std::uint64_t one = 1;
  while (os::write(wake_, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

}  // namespace weft::rt
