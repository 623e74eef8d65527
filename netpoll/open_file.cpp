// SPDX-License-Identifier: Apache-2.0
// From a path or a number to an open file, and back. Opening and closing are announced as blocking.
#include "netpoll/open_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <system_error>
#include <utility>

#include "netpoll/accept.hpp"
#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/file_calls.hpp"
#include "netpoll/open.hpp"
#include "runtime/sched/blocking.hpp"
#include "runtime/sched/park.hpp"
#include "runtime/sched/thread_g.hpp"

namespace weft::rt {

namespace {

constexpr std::uint16_t most_in_a_row = 128;  // before others get a turn

}  // namespace

failure file_call_begins() noexcept {
  refuse_after_fork("use of a file");
  G* const g = current_g();
  const bool cancelled = cancel_pending_at_entry(g) || net_traits::cancel_pending(g);
  return cancelled ? failure_of(wait_outcome::cancelled) : failure{};
}

inside_file::inside_file(open_file* f, failure& why) noexcept {
  if (f == nullptr)
    why = {EBADF};
  else if (why = file_call_begins(); !why && !f->gate.hold())
    why = failure_of(wait_outcome::closed);
  if (!why) f_ = f;
}

inside_file::~inside_file() {
  if (f_ == nullptr) return;
  const auto in_a_row = static_cast<std::uint16_t>(f_->in_a_row.load(std::memory_order_relaxed) + 1);
  const bool enough = in_a_row >= most_in_a_row;
  f_->in_a_row.store(enough ? std::uint16_t{0} : in_a_row, std::memory_order_relaxed);
  f_->gate.drop();
  if (enough && current_fiber() != nullptr) yield_now();
}

int open_number(const std::string& path, int flags, mode_t mode) noexcept {
  give_way_where_threads_are_short();
  const blocking_section announced;
  int number = 0;
  while ((number = open_file_now(path.c_str(), flags, mode)) == -EINTR) {
  }
  return number;
}

open_file* wrap_file(int number, int flags, std::string name) {
  auto* const f = new open_file;
  f->name = std::move(name);
  f->fd = number;
  f->gate.open(number, false);
  f->direct = (flags & O_DIRECT) != 0;
  f->appends = (flags & O_APPEND) != 0;
  if (f->direct) f->reads.store(file_way::engine, std::memory_order_relaxed);
  if (f->direct || (flags & O_DSYNC) != 0)  // O_SYNC has the bit, too
    f->writes.store(file_way::engine, std::memory_order_relaxed);
  else if (f->appends)
    f->writes.store(file_way::here, std::memory_order_relaxed);
  // On a file it would only turn waits of the engine into errors.
  if ((flags & O_NONBLOCK) != 0) set_nonblocking_now(number, false);
  return f;
}

open_file* open_path(std::string_view path, int flags, mode_t mode, failure& why) {
  why = file_call_begins();
  if (!why && path.find('\0') != std::string_view::npos) why = {EINVAL};
  if (why) return nullptr;
  const std::string terminated(path);
  std::string name = quoted(path);
  const int number = open_number(terminated, flags, mode);
  if (number < 0) {
    why.error = -number;
    return nullptr;
  }
  try {
    return wrap_file(number, flags, std::move(name));
  } catch (...) {
    close_file_now(number);
    throw;
  }
}

open_file* adopt_file(int number, failure& why) {
  const int flags = number < 0 ? -EBADF : open_flags_now(number);
  if (flags < 0 || (flags & O_PATH) != 0) {
    why.error = EBADF;
    return nullptr;
  }
  switch (format_now(number)) {
    case S_IFREG:
    case S_IFBLK:
      break;
    case S_IFDIR:
      why.error = EISDIR;
      return nullptr;
    default:
      why.error = ESPIPE;
      return nullptr;
  }
  open_file* const f = wrap_file(number, flags, "descriptor " + std::to_string(number));
  f->was_nonblocking = (flags & O_NONBLOCK) != 0;
  return f;
}

// Between the gate's close and `close_finished` no other thread destroys the file.
static bool detach(open_file& f) noexcept {
  if (!f.gate.close()) return false;
  if (f.was_nonblocking) set_nonblocking_now(f.fd, true);
  return true;
}

int detach_file(open_file& f) noexcept {
  if (!detach(f)) return -1;
  const int number = f.fd;
  f.close_finished.set();
  return number;
}

void close_file(open_file& f) noexcept {
  if (!detach(f)) return;
  {
    const blocking_section announced;
    close_file_now(f.fd);
    descriptor_came_free();
  }
  f.close_finished.set();
}

void destroy_file(open_file* f) noexcept {
  close_file(*f);
  f->close_finished.wait();
  delete f;
}

[[gnu::cold]] void raise_for_file(const failure& why, const char* verb, std::string_view name) {
  if (why.cancelled) throw_cancelled();
  throw std::system_error(to_code(why), std::string("weft::file: ") + verb + ' ' + std::string(name));
}

[[gnu::cold]] void file_failed_to::operator()(const failure& why) const {
  raise_for_file(why, verb, f != nullptr ? std::string_view(f->name) : std::string_view("\"(no file)\""));
}

}  // namespace weft::rt
