// SPDX-License-Identifier: Apache-2.0
#include "netpoll/ring_engine.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <span>
#include <utility>

#include <weft/detail/atomic.hpp>

#include "runtime/base/fatal.hpp"
#include "runtime/sched/futex.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/signal_mask.hpp"

namespace weft::rt {

namespace {

/// Larger copies from the page cache are left to the kernel's workers: made by the ring's thread they would come one
/// after the other, and nothing else would be served until then.
constexpr std::size_t most_copied_by_the_thread = std::size_t{64} << 10;
constexpr std::size_t most_per_entry = std::size_t{1} << 30;

constexpr std::uint64_t whose = 7;  // the low bits of user_data
constexpr std::uint64_t of_a_file_op = 0;
constexpr std::uint64_t of_the_wake = 1;
constexpr std::uint64_t of_a_watch = 2;
constexpr std::uint64_t of_an_unwatch = 3;
constexpr unsigned index_shift = 3;
constexpr unsigned generation_shift = 32;

std::uint64_t tag_of(const file_op& op) noexcept { return reinterpret_cast<std::uintptr_t>(&op) | of_a_file_op; }
static_assert(alignof(file_op) > whose && alignof(unwatch_request) > whose);

std::uint64_t tag_of(const descriptor& d) noexcept {
  return std::uint64_t{d.generation()} << generation_shift | std::uint64_t{d.index} << index_shift | of_a_watch;
}
descriptor& descriptor_of(std::uint64_t tag) noexcept {
  return descriptor_at(static_cast<std::uint32_t>(tag) >> index_shift);
}
std::uint32_t generation_of(std::uint64_t tag) noexcept { return static_cast<std::uint32_t>(tag >> generation_shift); }
static_assert(std::uint64_t{most_descriptors} << index_shift < std::uint64_t{1} << generation_shift);

constexpr unsigned every_edge = POLLIN | POLLPRI | POLLOUT | POLLRDHUP;

// The kernel passes on the mask of the wake, which names POLLPRI with all data that comes. Whether some of it is urgent
// would take a call to find out: so short reads say nothing after that, which also costs a call.
readiness readiness_of(int events) noexcept {
  readiness now;
  now.hangup_or_error = (events & (POLLRDHUP | POLLHUP | POLLERR | POLLPRI)) != 0;
  now.readable = (events & (POLLIN | POLLPRI | POLLRDHUP | POLLHUP | POLLERR)) != 0;
  now.writable = (events & (POLLOUT | POLLHUP | POLLERR)) != 0;
  return now;
}

/// epoll refuses what is always ready; io_uring would not. Some devices are, some are not, and so are regular files
/// (those of /proc that tell of changes, a pidfd in some kernels): only epoll tells.
[[gnu::noinline]] int check_pollable(int fd) noexcept {
  struct stat found {};
  if (fstat(fd, &found) != 0) return errno;
  if (S_ISDIR(found.st_mode) || S_ISBLK(found.st_mode)) return EPERM;
  if (!S_ISCHR(found.st_mode) && !S_ISREG(found.st_mode)) return 0;
  const int judge = epoll_create1(EPOLL_CLOEXEC);
  if (judge < 0) return errno;
  epoll_event event{};
  const int error = epoll_ctl(judge, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
  close(judge);
  return error;
}

void prepare(io_uring_sqe* sqe, const file_op& op) noexcept {
  const std::span<const iovec> pieces = op.pieces_of_a_call();
  const auto count = static_cast<unsigned>(pieces.size());
  const auto size = count == 1 ? static_cast<unsigned>(std::min(pieces[0].iov_len, most_per_entry)) : 0;
  switch (op.action) {
    case file_action::read:
      if (count == 1)
        io_uring_prep_read(sqe, op.fd, pieces[0].iov_base, size, op.offset);
      else
        io_uring_prep_readv(sqe, op.fd, pieces.data(), count, op.offset);
      break;
    case file_action::write:
      if (count == 1)
        io_uring_prep_write(sqe, op.fd, pieces[0].iov_base, size, op.offset);
      else
        io_uring_prep_writev(sqe, op.fd, pieces.data(), count, op.offset);
      break;
    case file_action::sync:
      io_uring_prep_fsync(sqe, op.fd, 0);
      break;
    case file_action::sync_data:
      io_uring_prep_fsync(sqe, op.fd, IORING_FSYNC_DATASYNC);
      break;
    case file_action::allocate:
      io_uring_prep_fallocate(sqe, op.fd, op.mode, static_cast<off_t>(op.offset), static_cast<off_t>(op.left));
      break;
  }
  io_uring_sqe_set_data64(sqe, tag_of(op));
  const bool long_copy = op.moves_bytes() && !op.direct && op.left > most_copied_by_the_thread;
  if (op.blocks || long_copy) sqe->flags |= IOSQE_ASYNC;
}

}  // namespace

bool ring_engine::start(const ring_calls& calls, const ring_limits& limits, ring_refusal& refusal) noexcept {
  calls_ = &calls;
  limits_ = limits;
  refusal_ = &refusal;
  state_.store(static_cast<std::uint32_t>(state::starting), std::memory_order_relaxed);
  const int error = os::start_detached_thread(thread_main, this);
  if (error != 0) {
    refusal.error = error;
    std::snprintf(refusal.why, sizeof refusal.why, "no thread can be started for it: error %d; raise ulimit -u", error);
    return false;
  }
  std::uint32_t now = 0;
  while ((now = state_.load(std::memory_order_acquire)) == static_cast<std::uint32_t>(state::starting))
    futex_wait(state_, now);
  return now == static_cast<std::uint32_t>(state::works);
}

void ring_engine::forget() noexcept {
  if (state_.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(state::works)) return;
  gone_.store(true, std::memory_order_relaxed);
  ::close(ring_.ring_fd);  // its memory is not here (MADV_DONTFORK)
  ::close(wake_);
}

void ring_engine::push(request& r) noexcept {
  if (!inbox_.push(&r)) return;
  const std::uint64_t one = 1;
  while (write(wake_, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void* ring_engine::thread_main(void* self) noexcept {
  block_foreign_signals();
  pthread_setname_np(pthread_self(), "weft-ring");
  auto& engine = *static_cast<ring_engine*>(self);
  const bool works = engine.open();
  const state verdict = works ? state::works : state::refused;
  engine.state_.store(static_cast<std::uint32_t>(verdict), std::memory_order_release);
  futex_wake(engine.state_);
  if (works) engine.serve();
  return nullptr;
}

bool ring_engine::open() noexcept {
  if (!open_ring(ring_, *calls_, limits_, shape_, *refusal_)) return false;
  wake_ = eventfd(0, EFD_CLOEXEC);  // blocking: a READ on a non-blocking one would fail at once
  if (wake_ >= 0) return true;
  refusal_->error = errno;
  std::snprintf(refusal_->why, sizeof refusal_->why, "eventfd: error %d; raise ulimit -n", refusal_->error);
  io_uring_queue_exit(&ring_);
  return false;
}

void ring_engine::serve() noexcept {
  for (;;) {
    take();
    prepare_submissions();
    const bool nothing_to_prepare = controls_.empty() && (files_.empty() || in_flight_ >= limits_.credit);
    const bool sleep = wake_armed_ && nothing_to_prepare && ready_.head == nullptr && inbox_.fall_asleep();
    enter(sleep ? 1 : 0);
    reap();
  }
}

void ring_engine::take() noexcept {
  for (request* r = inbox_.take(); r != nullptr;) {
    request* const next = r->next;
    switch (r->kind) {
      case request_kind::file:
        files_.push_back(*r);
        break;
      case request_kind::watch:
        static_cast<watch_request*>(r)->now = watch_request::state::queued;
        controls_.push_back(*r);
        break;
      case request_kind::unwatch:
        unwatch(*static_cast<unwatch_request*>(r));
        break;
    }
    r = next;
  }
}

void ring_engine::unwatch(unwatch_request& u) noexcept {
  u.of.leaving = &u;
  switch (u.of.now) {
    case watch_request::state::none:
      end_of(u.of);
      break;
    case watch_request::state::queued:
      break;
    case watch_request::state::armed:
      u.under_way = true;
      controls_.push_back(u);
      break;
  }
}

// As many as there is room for: the rest is prepared in the next turn, when these are submitted.
void ring_engine::prepare_submissions() noexcept {
  if (!wake_armed_ && !prepare_wake()) return;
  while (!controls_.empty()) {
    request& r = *controls_.front();
    if (!prepare_control(r)) return;
  }
  while (!files_.empty() && in_flight_ < limits_.credit) {
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) return;
    rt::prepare(sqe, static_cast<file_op&>(files_.pop_front()));
    ++in_flight_;
  }
  if (in_flight_ > most_in_flight_.load(std::memory_order_relaxed))
    most_in_flight_.store(in_flight_, std::memory_order_relaxed);
}

// Prepares the first of the line. Returns false if there is no room.
bool ring_engine::prepare_control(request& r) noexcept {
  const bool watches = r.kind == request_kind::watch;
  watch_request& watch = watches ? static_cast<watch_request&>(r) : static_cast<unwatch_request&>(r).of;
  const bool needed = watches ? watch.leaving == nullptr : watch.now == watch_request::state::armed;
  io_uring_sqe* const sqe = needed ? io_uring_get_sqe(&ring_) : nullptr;
  if (needed && sqe == nullptr) return false;
  controls_.pop_front();
  if (!needed) {
    if (!watches) static_cast<unwatch_request&>(r).under_way = false;
    end_of(watch);
  } else if (watches) {
    io_uring_prep_poll_multishot(sqe, watch.of.fd(), every_edge);
    io_uring_sqe_set_data64(sqe, tag_of(watch.of));
    watch.now = watch_request::state::armed;
  } else {
    io_uring_prep_poll_remove(sqe, tag_of(watch.of));
    io_uring_sqe_set_data64(sqe, reinterpret_cast<std::uintptr_t>(&r) | of_an_unwatch);
  }
  return true;
}

bool ring_engine::prepare_wake() noexcept {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) return false;
  io_uring_prep_read(sqe, wake_, &wakes_, sizeof wakes_, 0);
  io_uring_sqe_set_data64(sqe, of_the_wake);
  wake_armed_ = true;
  return true;
}

void ring_engine::enter(unsigned wait_for) noexcept {
  const int result = calls_->enter(&ring_, wait_for);
  if (result >= 0 || result == -EINTR) return;
  if (result == -EAGAIN || result == -EBUSY) {
    // No memory for requests, or too many completions: reap, and try again; what was not submitted still stands in the
    // queue. With nothing to reap, memory must come from elsewhere.
    if (io_uring_cq_ready(&ring_) == 0) calls_->pause();
    return;
  }
  if (result == -EBADR)
    fatal(
        "weft: the kernel had no memory to keep completions of the runtime's own ring, and dropped some; what waits "
        "for them would wait for ever. Give the process more memory, or start with WEFT_NETPOLL=epoll");
  fatal(
      "weft: io_uring_enter failed on the runtime's own ring: did the program close it, or install a seccomp filter "
      "after weft::run began? Start with WEFT_NETPOLL=epoll");
}

void ring_engine::reap() noexcept {
  unsigned head = 0;
  unsigned count = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    ++count;
    completed(cqe->user_data, cqe->res, cqe->flags);
  }
  io_uring_cq_advance(&ring_, count);
  g_list ready;
  std::swap(ready, ready_);
  wake_all(ready);
  if (std::exchange(memory_is_short_, false)) calls_->pause();
}

void ring_engine::completed(std::uint64_t user_data, int result, unsigned flags) noexcept {
  switch (user_data & whose) {
    case of_a_file_op:
      file_completed(*reinterpret_cast<file_op*>(user_data), result);
      return;
    case of_the_wake:
      wake_armed_ = false;  // whatever it said: a new one is prepared before the next sleep
      return;
    case of_a_watch:
      watched(user_data, result, (flags & IORING_CQE_F_MORE) != 0);
      return;
    case of_an_unwatch:
      unwatched(*reinterpret_cast<unwatch_request*>(user_data & ~whose), result);
      return;
    default:
      return;
  }
}

void ring_engine::watched(std::uint64_t user_data, int events, bool more) noexcept {
  descriptor& d = descriptor_of(user_data);
  watch_request& watch = d.watch;
  // An error that is no end of the poll for reasons of its own is the file's: the fiber that waits hears of it from its
  // call.
  const bool failed = events < 0 && events != -ECANCELED && events != -EAGAIN && events != -ENOMEM;
  if (events >= 0 || failed) d.event(generation_of(user_data), readiness_of(failed ? POLLERR : events), ready_);
  if (more) return;
  if (watch.leaving != nullptr || failed) {
    end_of(watch);
  } else {
    if (events == -ENOMEM) memory_is_short_ = true;
    rearmed_.fetch_add(1, std::memory_order_relaxed);
    watch.now = watch_request::state::queued;
    controls_.push_back(watch);
  }
}

void ring_engine::unwatched(unwatch_request& u, int result) noexcept {
  u.under_way = false;
  if (u.of.now == watch_request::state::none)
    end_of(u.of);
  else if (result != 0 && result != -ENOENT)  // EALREADY: it was just reporting, and goes on
    unwatch(u);
}

// Wakes the fiber that waits for it, unless its request is still under way.
void ring_engine::end_of(watch_request& watch) noexcept {
  watch.now = watch_request::state::none;
  if (watch.leaving != nullptr && !watch.leaving->under_way) complete(*std::exchange(watch.leaving, nullptr), ready_);
}

int ring_engine::add(descriptor& d) noexcept {
  if (const int error = check_pollable(d.fd())) return error;
  if (!note_number(d.fd())) return EEXIST;
  push(d.watch);
  return 0;
}

void ring_engine::remove(descriptor& d) noexcept {
  forget_number(d.fd());  // the number is still ours, and not given out again
  if (gone_.load(std::memory_order_relaxed)) return;
  unwatch_request u(d.watch);
  hand_over_and_wait(u, [this, &u]() noexcept { push(u); });
}

void ring_engine::file_completed(file_op& op, int result) noexcept {
  --in_flight_;
  // The kernel could make no worker (ulimit -u, pids.max): nothing was done, and nothing says that it can soon.
  op.unserved = result == -ECANCELED;
  if (op.unserved || op.advance(result))
    complete(op, ready_);
  else
    files_.push_back(op);
}

}  // namespace weft::rt
