// SPDX-License-Identifier: Apache-2.0
#include "netpoll/file_engine.hpp"

#include <algorithm>
#include <cerrno>

#include "netpoll/file_calls.hpp"
#include "runtime/sched/blocking.hpp"

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
  if (action == file_action::sync) return true;
  if (result == 0) {
    if (action == file_action::write) error = EIO;  // no file of ours takes nothing and says so politely
    return true;
  }
  const auto n = std::min(static_cast<std::size_t>(result), left);
  at += n;
  offset += n;
  done += n;
  left -= n;
  return left == 0;
}

void perform_here(file_op& op) noexcept {
  const blocking_section announced;
  for (ssize_t result = 0;;) {
    switch (op.action) {
      case file_action::read:
        result = read_file_now(op.fd, op.at, op.left, op.offset, false);
        break;
      case file_action::write:
        result = write_file_now(op.fd, op.at, op.left, op.offset, false);
        break;
      case file_action::sync:
        result = sync_file_now(op.fd);
        break;
    }
    if (op.advance(result)) return;
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
