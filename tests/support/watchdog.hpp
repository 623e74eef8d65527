// SPDX-License-Identifier: Apache-2.0
//
// An end to a hang: a test that takes too long dumps all fibers to stderr and aborts, so that whoever reads the log
// sees who waits for whom. Its thread bears a name of weft's own, so that the deadlock report does not take it for one
// that could wake a fiber.
#pragma once

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include <weft/debug.hpp>

namespace weft_test {

class watchdog {
 public:
  explicit watchdog(std::chrono::seconds patience) : thread_([this, patience] { watch(patience); }) {}
  ~watchdog() {
    {
      const std::lock_guard lock(mutex_);
      called_off_ = true;
    }
    gone_.notify_one();
    thread_.join();
  }
  watchdog(const watchdog&) = delete;
  watchdog& operator=(const watchdog&) = delete;

 private:
  void watch(std::chrono::seconds patience) {
    pthread_setname_np(pthread_self(), "weft-watchdog");
    std::unique_lock lock(mutex_);
    if (gone_.wait_for(lock, patience, [this] { return called_off_; })) return;
    std::fprintf(stderr, "watchdog: no end after %lld s; all fibers:\n\n", static_cast<long long>(patience.count()));
    weft::debug::dump_fibers(stderr);
    std::abort();
  }

  std::mutex mutex_;
  std::condition_variable gone_;
  bool called_off_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace weft_test
