// SPDX-License-Identifier: Apache-2.0
#include "netpoll/backend.hpp"

#include <pthread.h>

#include <cerrno>
#include <cstdio>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include <weft/detail/atomic.hpp>

#include "netpoll/epoll.hpp"
#include "netpoll/file_pool.hpp"
#include "netpoll/ring_engine.hpp"
#include "runtime/base/os.hpp"
#include "runtime/sched/blocking.hpp"
#include "runtime/sched/poll.hpp"

namespace weft::rt {

namespace {

using service = debug::file_engine;

constexpr ring_limits process_limits{};

constinit os::mutex starting;                   // guards the making of what follows; no fiber parks while it holds it
constinit epoll_poller the_poller;              // never destroyed: statics of the program may hold sockets
constinit detail::atomic<bool> polling{false};  // the poller is open and the scheduler knows of it; release, acquire
constinit detail::atomic<ring_engine*> the_ring{nullptr};  // release when it works; acquired by users. Never freed
constinit ring_engine* candidate = nullptr;     // one that was refused, for the next attempt; under the mutex
constinit detail::atomic<bool> refused{false};  // in this run; under the mutex, and as a hint without
constinit file_pool the_pool;                   // never destroyed: statics of the program may hold files
// Written before the run's threads, so relaxed.
constinit detail::atomic<netpoll_backend> chosen{netpoll_backend::automatic};
constinit detail::atomic<service> files_by{service::none};  // release once it works; acquired by users
constinit detail::atomic<std::int64_t> refusals{0};         // relaxed: a figure
constinit bool tell = false;                                // written before the run's threads

void say_who_serves_files(service who, const char* detail) noexcept {
  if (files_by.exchange(who, std::memory_order_release) == who || !tell) return;
  if (who == service::io_uring)
    std::fprintf(stderr, "weft: netpoll: files by io_uring (%s)\n", detail);
  else
    std::fprintf(stderr, "weft: netpoll: files by threads, at most %d: %s\n", file_pool::most_threads, detail);
}

/// In the child, which has one thread. The parent's epoll instance would otherwise give its edges to the child.
void forget_all() noexcept {
  if (polling.exchange(false, std::memory_order_relaxed)) {
    the_poller.close();
    sched.net.store(nullptr, std::memory_order_relaxed);
  }
  if (ring_engine* ring = the_ring.exchange(nullptr, std::memory_order_relaxed)) ring->forget();
  the_pool.forget();
  files_by.store(service::none, std::memory_order_relaxed);
}

void watch_forks_once() noexcept {
  [[maybe_unused]] static const int once = pthread_atfork(nullptr, nullptr, forget_all);
}

[[gnu::noinline]] int start_poller() noexcept {
  const std::lock_guard guard(starting);
  if (polling.load(std::memory_order_relaxed)) return 0;
  if (const int error = the_poller.open()) return error;
  watch_forks_once();
  install_poller(the_poller);
  polling.store(true, std::memory_order_release);
  return 0;
}

/// The mutex must be held by the caller. Returns nullptr if there is none, and why in `refusal`.
ring_engine* start_ring(ring_refusal& refusal) noexcept {
  if (ring_engine* ring = the_ring.load(std::memory_order_relaxed)) return ring;
  if (candidate == nullptr) candidate = new (std::nothrow) ring_engine;
  if (candidate == nullptr) {
    refusal.error = ENOMEM;
    std::snprintf(refusal.why, sizeof refusal.why, "no memory");
    return nullptr;
  }
  watch_forks_once();
  if (!candidate->start(kernel_calls, process_limits, refusal)) {
    refusals.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
  ring_engine* const ring = std::exchange(candidate, nullptr);
  the_ring.store(ring, std::memory_order_release);
  return ring;
}

[[gnu::noinline]] file_engine& choose_engine() noexcept {
  const blocking_section announced;
  const std::lock_guard guard(starting);
  if (chosen.load(std::memory_order_relaxed) == netpoll_backend::epoll) {
    watch_forks_once();
    say_who_serves_files(service::threads, "options::netpoll or WEFT_NETPOLL says epoll, which means no io_uring");
    return the_pool;
  }
  ring_refusal refusal;
  if (ring_engine* const ring = refused.load(std::memory_order_relaxed) ? nullptr : start_ring(refusal)) {
    say_who_serves_files(service::io_uring, ring->shape().name);
    return *ring;
  }
  if (!refused.exchange(true, std::memory_order_relaxed)) say_who_serves_files(service::threads, refusal.why);
  return the_pool;
}

}  // namespace

void begin_netpoll(const resolved_options& how) {
  chosen.store(how.netpoll, std::memory_order_relaxed);
  tell = how.debug.netpoll != 0;
  refused.store(false, std::memory_order_relaxed);  // a limit may have been raised since
  files_by.store(service::none, std::memory_order_relaxed);
  if (tell && how.netpoll != netpoll_backend::io_uring) std::fputs("weft: netpoll: sockets by epoll\n", stderr);
  if (how.netpoll != netpoll_backend::io_uring) return;
  ring_refusal refusal;
  const std::lock_guard guard(starting);
  if (start_ring(refusal) == nullptr)
    throw std::system_error(refusal.error, std::system_category(),
                            std::string(how.netpoll_source) + ": io_uring cannot be had: " + refusal.why +
                                "; or choose automatic (WEFT_NETPOLL=auto)");
  if (tell) std::fputs("weft: netpoll: sockets by io_uring, with multishot polls\n", stderr);
}

readiness_reporter* reporter_for_sockets(int& error) noexcept {
  if (chosen.load(std::memory_order_relaxed) == netpoll_backend::io_uring) {
    ring_engine* const ring = the_ring.load(std::memory_order_acquire);
    error = ring != nullptr ? 0 : ECANCELED;  // in the child of a fork
    return ring;
  }
  error = polling.load(std::memory_order_acquire) ? 0 : start_poller();
  return error == 0 ? &the_poller : nullptr;
}

file_engine& engine_for_files() noexcept {
  switch (files_by.load(std::memory_order_acquire)) {
    case debug::file_engine::io_uring:
      return *the_ring.load(std::memory_order_relaxed);
    case debug::file_engine::threads:
      return the_pool;
    case debug::file_engine::none:
      break;
  }
  return choose_engine();
}

debug::file_engine serving_files() noexcept { return files_by.load(std::memory_order_relaxed); }
std::int64_t ring_refusals() noexcept { return refusals.load(std::memory_order_relaxed); }

}  // namespace weft::rt
