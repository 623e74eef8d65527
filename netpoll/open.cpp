// SPDX-License-Identifier: Apache-2.0
#include "netpoll/open.hpp"

#include <cerrno>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>

#include "netpoll/accept.hpp"
#include "netpoll/backend.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/os.hpp"
#include "runtime/base/fatal.hpp"
#include "runtime/sched/fork.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

void refuse_after_fork(const char* what) noexcept {
  if (!forked_away.load(std::memory_order_relaxed)) return;
  char sentence[192];
  std::snprintf(sentence, sizeof sentence,
                "weft: %s in a child process after fork(): the runtime's threads stayed with the parent; call exec "
                "first",
                what);
  fatal(sentence);
}

void need_runtime(const char* what) {
  refuse_after_fork(what);
  if (sched.procs.load(std::memory_order_acquire) == 0)
    throw std::logic_error(std::string("weft: no runtime runs: ") + what +
                           " needs one (weft::run), also from plain threads");
}

// Nothing reports it yet.
static descriptor* new_descriptor(int fd, bool short_reads_tell, int& error) noexcept {
  descriptor* d = nullptr;
  try {
    d = take_descriptor();
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
    return nullptr;
  }
  d->open(fd, short_reads_tell);
  d->kind = file_kind::other;
  d->programs_number = -1;
  d->ask_first[0] = d->ask_first[1] = false;
  d->lent.store(false, std::memory_order_relaxed);
  d->in_doubt.store(0, std::memory_order_relaxed);
  d->connects.store(1, std::memory_order_relaxed);
  d->sifted = 0;
  d->longest_segment = descriptor::unknown;
  d->reporter = nullptr;
  return d;
}

static void drop_new_descriptor(descriptor* d) noexcept {
  d->close();
  d->finish_close();
  give_back_descriptor(d);
}

descriptor* adopt_descriptor(int fd, bool short_reads_tell, int& error) noexcept {
  readiness_reporter* const reporter = reporter_for_sockets(error);
  descriptor* const d = reporter != nullptr ? new_descriptor(fd, short_reads_tell, error) : nullptr;
  if (d == nullptr) return nullptr;
  d->reporter = reporter;
  error = reporter->add(*d);
  if (error == 0) return d;
  drop_new_descriptor(d);
  return nullptr;
}

descriptor* adopt_always_ready(int fd, int& error) noexcept {
  descriptor* const d = new_descriptor(fd, false, error);
  if (d == nullptr) return nullptr;
  d->kind = file_kind::always_ready;
  error = note_number(fd) ? 0 : EEXIST;
  if (error == 0) return d;
  drop_new_descriptor(d);
  return nullptr;
}

descriptor* open_descriptor(int fd, bool short_reads_tell, int& error) noexcept {
  descriptor* const d = adopt_descriptor(fd, short_reads_tell, error);
  if (d == nullptr) os::close(fd);
  return d;
}

// Between `close` and `finish_close` no other thread gives the slot back.
static bool detach(descriptor& d) noexcept {
  if (!d.close()) return false;
  if (d.reporter != nullptr) d.reporter->remove(d);
  if (d.programs_number >= 0 || d.reporter == nullptr) forget_number(d.number());
  return true;
}

int detach_descriptor(descriptor& d) noexcept {
  if (!detach(d)) return -1;
  const int number = d.number();
  if (number != d.fd()) os::close(d.fd());
  d.finish_close();
  return number;
}

bool close_descriptor(descriptor& d) noexcept {
  if (!detach(d)) return false;
  os::close(d.fd());
  if (d.programs_number >= 0) os::close(d.programs_number);
  descriptor_came_free();
  d.finish_close();
  return true;
}

void release_descriptor(descriptor* d) noexcept {
  if (!close_descriptor(*d)) d->wait_until_closed();
  give_back_descriptor(d);
}

}  // namespace weft::rt
