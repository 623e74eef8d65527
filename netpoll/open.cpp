// SPDX-License-Identifier: Apache-2.0
// fork: a child shares the parent's epoll instance, and would eat its edges. So the child's copies are closed at once.
// To open a descriptor in a child of a running runtime, without exec, ends it: it has none of the threads.
#include "netpoll/open.hpp"

#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>

#include "netpoll/calls.hpp"
#include "runtime/inspect/fatal.hpp"
#include "runtime/run/fork.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::inline v0::rt {

namespace {

constinit epoll_poller the_poller;  // never destroyed: statics of the program may hold sockets
constinit std::mutex starting;      // no fiber parks while it holds it
constinit std::atomic<bool> started{false};

int start_poller() noexcept {
  if (started.load(std::memory_order_acquire)) return 0;  // pairs with the release below
  const std::lock_guard guard(starting);
  if (started.load(std::memory_order_relaxed)) return 0;
  if (const int error = the_poller.open()) return error;
  // A child that was forked while no runtime ran may have its own: it starts anew.
  [[maybe_unused]] static const int once = pthread_atfork(nullptr, nullptr, [] {
    the_poller.close();
    sched.net.store(nullptr, std::memory_order_relaxed);  // the child has one thread
    started.store(false, std::memory_order_relaxed);
  });
  install_poller(the_poller);
  started.store(true, std::memory_order_release);
  return 0;
}

}  // namespace

epoll_poller& net_poller() noexcept { return the_poller; }

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
  error = start_poller();
  if (error == 0) {
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
    error = the_poller.add(*d);
    if (error == 0) return d;
    d->close();
    give_back_descriptor(d);
  }
  return nullptr;
}

descriptor* open_descriptor(int fd, bool short_reads_tell, int& error) noexcept {
  descriptor* const d = adopt_descriptor(fd, short_reads_tell, error);
  if (d == nullptr) ::close(fd);
  return d;
}

bool detach_descriptor(descriptor& d) noexcept {
  if (!d.close()) return false;
  the_poller.remove(d.fd());
  if (d.blocks_elsewhere) set_blocking_now(d.fd(), true);
  return true;
}

void close_descriptor(descriptor& d) noexcept {
  if (detach_descriptor(d)) ::close(d.fd());
}

void release_descriptor(descriptor* d) noexcept {
  close_descriptor(*d);
  give_back_descriptor(d);
}

}  // namespace weft::inline v0::rt
