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

descriptor* adopt_descriptor(int fd, bool short_reads_tell, int& error) noexcept {
  descriptor* d = nullptr;
  readiness_reporter* const reporter = reporter_for_sockets(error);
  if (reporter != nullptr) {
    try {
      d = take_descriptor();
    } catch (const std::bad_alloc&) {
      error = ENOMEM;
    }
  }
  if (d != nullptr) {
    d->open(fd, short_reads_tell);
    d->kind = file_kind::other;
    d->blocks_elsewhere = false;
    d->ask_first[0] = d->ask_first[1] = false;
    d->lent.store(false, std::memory_order_relaxed);
    d->in_doubt.store(0, std::memory_order_relaxed);
    d->connects.store(1, std::memory_order_relaxed);
    d->sifted = 0;
    d->longest_segment = descriptor::unknown;
    d->reporter = reporter;
    error = reporter->add(*d);
    if (error == 0) return d;
    d->close();
    d->finish_close();
    give_back_descriptor(d);
  }
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
  d.reporter->remove(d);
  if (d.blocks_elsewhere) set_blocking_now(d.fd(), true);
  return true;
}

int detach_descriptor(descriptor& d) noexcept {
  if (!detach(d)) return -1;
  const int fd = d.fd();
  d.finish_close();
  return fd;
}

bool close_descriptor(descriptor& d) noexcept {
  if (!detach(d)) return false;
  os::close(d.fd());
  descriptor_came_free();
  d.finish_close();
  return true;
}

void release_descriptor(descriptor* d) noexcept {
  if (!close_descriptor(*d)) d->wait_until_closed();
  give_back_descriptor(d);
}

}  // namespace weft::rt
