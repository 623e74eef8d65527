// SPDX-License-Identifier: Apache-2.0
// Operations on open files: what can be done at once is done by the caller, the rest by the engine.
//
//   read, buffered        preadv2(RWF_NOWAIT) until it is full, at the end, or says EAGAIN; then the rest to the engine
//   read, no RWF_NOWAIT   remembered; here, announced as blocking, where data lives in memory (tmpfs, /proc); else the
//                         engine
//   write, buffered       pwritev2(RWF_NOWAIT), where the file system has it; EAGAIN: the rest to the engine
//   write, no RWF_NOWAIT  remembered; here, announced as blocking (ext4: a fifth of what a worker of the kernel costs)
//   write, O_APPEND       here, announced as blocking: in one call, or another's record might land within it
//   O_DIRECT, O_SYNC      engine; with O_APPEND where it may block from the start, for the same reason
//   fsync, allocate       engine
//   size, truncate        here, announced as blocking
//
// A short count says nothing: the page after it may not be in the cache, or the file may end there. So the call is made
// again, and that says EAGAIN or 0.
//
// Long copies: the caller's thread copies a MiB at a time (0.1 ms), and other fibers get a turn after each.
//
// Locked instructions of a cached read: 2, to keep the file open around it. System calls of a cached write: 2, one
// of them to learn whether SIGXFSZ is to be held back.
#include <fcntl.h>

#include <cerrno>

#include "netpoll/backend.hpp"
#include "netpoll/file_calls.hpp"
#include "netpoll/open_file.hpp"
#include "netpoll/pieces.hpp"
#include "runtime/fiber/overflow.hpp"
#include "runtime/sched/blocking.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/thread_g.hpp"

namespace weft::rt {

namespace {

bool cannot_tell(ssize_t result) noexcept {
  // ENOSYS, EPERM: a seccomp filter that does not know the call.
  return result == -EOPNOTSUPP || result == -ENOSYS || result == -EPERM;
}

/// Moves bytes the way that the file says, and finds out what way that is. Returns how many.
std::size_t transfer(open_file& f, file_op& op, failure& why) noexcept {
  const bool reads = op.action == file_action::read;
  detail::atomic<file_way>& way = reads ? f.reads : f.writes;
  op.direct = f.direct;
  op.blocks = f.appends && !reads;
  bool done = op.left == 0;
  while (!done && way.load(std::memory_order_relaxed) == file_way::at_once_first) {
    const ssize_t n = call_for(op, most_copied_at_once, true);
    if (n == -EAGAIN) break;
    if (cannot_tell(n)) {
      const bool here = !reads || lives_in_memory_now(op.fd);
      way.store(here ? file_way::here : file_way::engine, std::memory_order_relaxed);
      continue;
    }
    done = op.advance(n);
    const bool long_copy = n == static_cast<ssize_t>(most_copied_at_once);
    if (long_copy && !done && current_fiber() != nullptr) yield_now();
  }
  if (!done) {
    if (way.load(std::memory_order_relaxed) == file_way::here) {
      perform_here(op, op.blocks ? std::numeric_limits<std::size_t>::max() : most_copied_at_once);
    } else {
      f.in_a_row.store(0, std::memory_order_relaxed);
      perform(engine_for_files(), op);
    }
  }
  why.error = op.error;
  if (op.error == EFAULT) [[unlikely]]
    for (const iovec& each : op.pieces) fault_on_guard(each.iov_base, each.iov_len);
  return op.done;
}

iovec piece_of(std::span<std::byte> to) noexcept { return {to.data(), to.size()}; }
iovec piece_of(std::span<const std::byte> from) noexcept { return {const_cast<std::byte*>(from.data()), from.size()}; }

template <class Pieces>
std::size_t transfer_pieces(open_file* f, file_action what, std::uint64_t offset, Pieces all, failure& why) noexcept {
  const inside_file inside(f, why);
  if (!why && offset > last_offset) why = {EINVAL};
  pieces_of_a_call room(all.size());
  iovec* const pieces = room.get();
  std::size_t total = 0, next = 0;
  while (!why) {
    std::size_t count = 0;
    for (; next < all.size() && count < room.room(); ++next)
      if (!all[next].empty()) pieces[count++] = piece_of(all[next]);
    if (count == 0) break;
    file_op op(what, f->fd, std::span(pieces, count), offset + total);
    const std::size_t wanted = op.left;
    const std::size_t moved = transfer(*f, op, why);
    total += moved;
    if (moved != wanted) break;
  }
  return total;
}

}  // namespace

std::size_t read_file_at(open_file* f, std::uint64_t offset, std::span<std::byte> to, failure& why) noexcept {
  const inside_file inside(f, why);
  if (!why && offset > last_offset) why = {EINVAL};
  if (why) return 0;
  file_op op(file_action::read, f->fd, to.data(), to.size(), offset);
  return transfer(*f, op, why);
}

std::size_t write_file_at(open_file* f, std::uint64_t offset, std::span<const std::byte> from, failure& why) noexcept {
  const inside_file inside(f, why);
  if (!why && offset > last_offset) why = {EINVAL};
  if (why) return 0;
  file_op op(file_action::write, f->fd, const_cast<std::byte*>(from.data()), from.size(), offset);
  return transfer(*f, op, why);
}

std::size_t read_file_at(open_file* f, std::uint64_t offset, pieces_to_fill to, failure& why) noexcept {
  return transfer_pieces(f, file_action::read, offset, to, why);
}

std::size_t write_file_at(open_file* f, std::uint64_t offset, pieces_to_write from, failure& why) noexcept {
  return transfer_pieces(f, file_action::write, offset, from, why);
}

failure sync_file(open_file* f, file_action how) noexcept {
  failure why;
  const inside_file inside(f, why);
  if (why) return why;
  file_op op(how, f->fd, std::span<iovec>(), 0);
  perform(engine_for_files(), op);
  return {op.error};
}

std::uint64_t size_of_file(open_file* f, failure& why) noexcept {
  const inside_file inside(f, why);
  std::uint64_t size = 0;
  if (why) return size;
  const blocking_section announced;
  why.error = -file_size_now(f->fd, size);
  return size;
}

failure truncate_file(open_file* f, std::uint64_t size) noexcept {
  failure why;
  const inside_file inside(f, why);
  if (!why && size > last_offset) why = {EINVAL};
  if (why) return why;
  const blocking_section announced;
  int result = 0;
  while ((result = truncate_now(f->fd, size)) == -EINTR) {
  }
  return {-result};
}

namespace {

int allocate(const open_file& f, int mode, std::uint64_t offset, std::uint64_t length) noexcept {
  file_op op(file_action::allocate, f.fd, std::span<iovec>(), offset);
  op.mode = mode;
  op.left = length;
  perform(engine_for_files(), op);
  return op.error;
}

}  // namespace

// First the space, then the size, which then wants none: so a file whose space cannot be had does not grow. What was
// taken past its end goes back with a cut to the size that it has anyway.
failure allocate_in_file(open_file* f, std::uint64_t offset, std::uint64_t length) noexcept {
  failure why;
  const inside_file inside(f, why);
  if (!why && (offset > last_offset || length > last_offset - offset)) why = {EFBIG};
  if (why) return why;
  std::uint64_t before = 0;
  {
    const blocking_section announced;
    why.error = -file_size_now(f->fd, before);
  }
  if (why) return why;
  const bool grows = offset + length > before;
  why.error = allocate(*f, FALLOC_FL_KEEP_SIZE, offset, length);
  if (why.error == EOPNOTSUPP || (!why && grows)) why.error = allocate(*f, 0, offset, length);
  if (grows && (why.error == ENOSPC || why.error == EDQUOT || why.error == EFBIG || why.error == EIO)) {
    const blocking_section announced;
    std::uint64_t now = 0;
    if (file_size_now(f->fd, now) == 0 && now == before) truncate_now(f->fd, before);
  }
  return why;
}

}  // namespace weft::rt
