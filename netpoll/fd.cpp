// SPDX-License-Identifier: Apache-2.0
// Descriptors that the program brings. Others may also read them, so a short read says nothing.
#include <weft/net/fd.hpp>

#include <sys/stat.h>

#include <string>

#include "netpoll/calls.hpp"
#include "netpoll/open.hpp"
#include "netpoll/side.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

file_kind kind_now(int number) noexcept {
  switch (format_now(number)) {
    case S_IFSOCK:
      return file_kind::socket;
    case S_IFIFO:
      return file_kind::pipe;
    default:
      return file_kind::other;
  }
}

descriptor* adopt(int number, int& error) {
  need_runtime("fd");
  const int was_blocking = number < 0 ? -EBADF : set_blocking_now(number, false);
  if (was_blocking < 0) {
    error = -was_blocking;
    return nullptr;
  }
  descriptor* const d = adopt_descriptor(number, false, error);
  if (d == nullptr) {
    if (was_blocking != 0) set_blocking_now(number, true);
    return nullptr;
  }
  d->blocks_elsewhere = was_blocking != 0;
  d->kind = kind_now(number);
  return d;
}

const char* cure_of(int error) noexcept {
  switch (error) {
    case EPERM:
      return ": it cannot be polled (expected a pipe, a socket, a terminal or the like; weft::file is for regular "
             "files)";
    case EEXIST:
      return ": another object of the runtime has it (pass a duplicate: dup)";
    case EBADF:
      return ": it is not open";
    default:
      return "";
  }
}

}  // namespace

namespace net {

fd::fd(int number, std::error_code& error) {
  failure why;
  d_ = adopt(number, why.error);
  error = to_code(why);
}

fd::fd(int number) {
  failure why;
  d_ = adopt(number, why.error);
  if (why) raise(why, "fd(" + std::to_string(number) + ')' + cure_of(why.error));
}

void fd::wait_readable(std::error_code& error) {
  failure why;
  await_readiness(d_, direction::read, why);
  error = to_code(why);
}

void fd::wait_readable() {
  failure why;
  await_readiness(d_, direction::read, why);
  if (why) raise(why, "wait_readable on descriptor " + std::to_string(d_ != nullptr ? d_->fd() : -1));
}

void fd::wait_writable(std::error_code& error) {
  failure why;
  await_readiness(d_, direction::write, why);
  error = to_code(why);
}

void fd::wait_writable() {
  failure why;
  await_readiness(d_, direction::write, why);
  if (why) raise(why, "wait_writable on descriptor " + std::to_string(d_ != nullptr ? d_->fd() : -1));
}

int fd::release() noexcept { return d_ != nullptr ? detach_descriptor(*d_) : -1; }

}  // namespace net
}  // namespace v0
}  // namespace weft
