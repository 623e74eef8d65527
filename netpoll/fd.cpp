// SPDX-License-Identifier: Apache-2.0
// Descriptors that the program brings. Others may also read them, so a short read says nothing.
//
// O_NONBLOCK is never set on what is found blocking: the open file may be others' too, and a program may end without
// giving anything back. So no call on it may wait by itself:
//
//   socket                    MSG_DONTWAIT
//   pipe                      RWF_NOWAIT
//   FIFO, terminal, and a     found blocking: opened again by /proc/self/fd, for an open file of our own that has
//   pipe of an older kernel   O_NONBLOCK; the program's number is kept, for `release` and `close`
//   the same, where that      RWF_NOWAIT; without it poll(2) first, then one call: between the two another reader may
//   cannot be had; the rest   take what was there, and then the call waits, on a thread whose P goes on elsewhere
//   always ready              netpoll/byte_stream.cpp
#include <weft/net/fd.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <string>

#include "netpoll/calls.hpp"
#include "netpoll/open.hpp"
#include "netpoll/os.hpp"
#include "netpoll/readiness.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

file_kind kind_of(int format) noexcept {
  switch (format) {
    case S_IFSOCK:
      return file_kind::socket;
    case S_IFIFO:
      return file_kind::pipe;
    default:
      return file_kind::other;
  }
}

/// Returns an open file of our own for the same pipe or terminal, or -1: `number` is to be used itself.
int open_of_our_own(int number, int format) noexcept {
  if (format != S_IFIFO && format != S_IFCHR) return -1;
  const int flags = file_flags_now(number);
  if (flags < 0 || (flags & O_NONBLOCK) != 0) return -1;
  if (format == S_IFIFO && pipe_knows_nowait_now(number))
    return -1;  // which is one call less than with a file of our own
  const int own = open_again_now(number, flags);
  if (own < 0) return -1;
  // A FIFO that nobody writes any more is at its end for `number` only: a file opened now waits for the next writer.
  const int seen = format == S_IFIFO ? events_now(number, POLLIN) : 0;
  if (seen <= 0 || (seen & POLLHUP) == 0) return own;
  os::close(own);
  return -1;
}

descriptor* adopt_by_our_own(int number, int own, int& error) noexcept {
  if (!note_number(number)) {
    error = EEXIST;
    os::close(own);
    return nullptr;
  }
  descriptor* const d = open_descriptor(own, false, error);
  if (d != nullptr)
    d->programs_number = number;
  else
    forget_number(number);
  return d;
}

descriptor* adopt(int number, int& error) {
  need_runtime("fd");
  const int format = number < 0 ? -EBADF : format_now(number);
  if (format < 0) {
    error = -format;
    return nullptr;
  }
  const int own = open_of_our_own(number, format);
  descriptor* d = own >= 0 ? adopt_by_our_own(number, own, error) : adopt_descriptor(number, false, error);
  if (d == nullptr && error == EPERM) return adopt_always_ready(number, error);
  if (d != nullptr) d->kind = kind_of(format);
  return d;
}

const char* cure_of(int error) noexcept {
  switch (error) {
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

readiness fd::wait(readiness wanted, std::error_code& error) {
  return or_code(error, [&](failure& why) { return await_readiness(d_, wanted, why); });
}

readiness fd::wait(readiness wanted) {
  return or_throw(failed_wait{"wait", d_}, [&](failure& why) { return await_readiness(d_, wanted, why); });
}

static std::pair<fd, fd> make_pipe(failure& why) {
  need_runtime("pipe");
  int ends[2];
  std::pair<fd, fd> result;
  why.error = -pipe_now(ends);
  if (why) return result;
  std::error_code error;
  result.first = fd(ends[0], error);
  if (error) os::close(ends[0]);
  if (!error) result.second = fd(ends[1], error);
  if (!result.second) os::close(ends[1]);
  why.error = error.value();
  return why ? std::pair<fd, fd>() : std::move(result);
}

std::pair<fd, fd> pipe(std::error_code& error) {
  return or_code(error, [](failure& why) { return make_pipe(why); });
}

std::pair<fd, fd> pipe() {
  return or_throw([](const failure& why) { raise(why, "pipe"); }, [](failure& why) { return make_pipe(why); });
}

}  // namespace net
}  // namespace v0
}  // namespace weft
