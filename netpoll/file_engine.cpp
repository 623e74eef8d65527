// SPDX-License-Identifier: Apache-2.0
#include "netpoll/file_engine.hpp"

#include <algorithm>
#include <cerrno>

#include "netpoll/file_calls.hpp"
#include "runtime/sched/blocking.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/thread_g.hpp"

namespace weft::rt {

bool file_op::advance(ssize_t result) noexcept {
  if (result == -EINTR) return false;
  // Where it may block it has no reason to say EAGAIN; a file that does (FUSE passes on what its server says) would
  // forever.
  if (result == -EAGAIN && !blocks) {
    blocks = true;
    return false;
  }
  if (result < 0) {
    // The file's size is no multiple of what O_DIRECT insists on, so what is left begins at no place it accepts.
    const bool past_the_end = result == -EINVAL && direct && action == file_action::read && done != 0;
    if (!past_the_end) error = static_cast<int>(-result);
    return true;
  }
  if (!moves_bytes()) return true;
  if (result == 0) {
    if (action == file_action::write) error = EIO;  // no file of ours takes nothing and says so politely
    return true;
  }
  std::size_t n = std::min(static_cast<std::size_t>(result), left);
  offset += n;
  done += n;
  left -= n;
  while (!pieces.empty() && n >= pieces.front().iov_len) {
    n -= pieces.front().iov_len;
    pieces = pieces.subspan(1);
  }
  if (n != 0) {
    iovec& begun = pieces.front();
    begun = {static_cast<std::byte*>(begun.iov_base) + n, begun.iov_len - n};
  }
  return left == 0;
}

ssize_t call_for(file_op& op, std::size_t most, bool at_once) noexcept {
  switch (op.action) {
    case file_action::read:
    case file_action::write:
      break;
    case file_action::sync:
      return sync_file_now(op.fd);
    case file_action::sync_data:
      return sync_data_now(op.fd);
    case file_action::allocate:
      return allocate_now(op.fd, op.mode, op.offset, op.left);
  }
  std::size_t count = 0, bytes = 0;
  while (count < op.pieces_of_a_call().size() && bytes < most) bytes += op.pieces[count++].iov_len;
  const std::size_t surplus = bytes > most ? bytes - most : 0;
  iovec* const last = surplus != 0 ? &op.pieces[count - 1] : nullptr;
  if (last != nullptr) last->iov_len -= surplus;
  const ssize_t result = op.action == file_action::read
                             ? read_file_now(op.fd, op.pieces.data(), count, op.offset, at_once)
                             : write_file_now(op.fd, op.pieces.data(), count, op.offset, at_once);
  if (last != nullptr) last->iov_len += surplus;
  return result;
}

void perform_here(file_op& op, std::size_t most) noexcept {
  for (;;) {
    ssize_t result = 0;
    {
      const blocking_section announced;
      result = call_for(op, most, false);
    }
    if (op.advance(result)) return;
    const bool long_copy = result >= 0 && static_cast<std::size_t>(result) >= most;
    if (long_copy && current_fiber() != nullptr) yield_now();
  }
}

void perform(file_engine& engine, file_op& op) noexcept {
  if (!engine.prepare()) {
    perform_here(op);
    return;
  }
  hand_over_and_wait(op, [&engine, &op]() noexcept { engine.submit(op); });
  if (op.unserved) perform_here(op);
}

}  // namespace weft::rt
