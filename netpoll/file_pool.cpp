// SPDX-License-Identifier: Apache-2.0
#include "netpoll/file_pool.hpp"

#include <pthread.h>

#include <new>

#include "netpoll/await.hpp"
#include "runtime/sched/futex.hpp"
#include "runtime/sched/signal_mask.hpp"

namespace weft::inline v0::rt {

bool file_pool::prepare() noexcept {
  {
    detail::spin_guard guard(lock_);
    ++wanted_;
    if (threads_ >= wanted_ || threads_ >= limit_) return true;
    ++threads_;
  }
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, thread_main, this);
  pthread_attr_destroy(&attributes);
  if (error == 0) return true;
  detail::spin_guard guard(lock_);
  if (--threads_ != 0) return true;
  --wanted_;
  return false;
}

void file_pool::submit(file_op& op) noexcept {
  bool wake = false;
  {
    detail::spin_guard guard(lock_);
    line_.push_back(op);
    submitted_.fetch_add(1, std::memory_order_relaxed);
    wake = idle_ != 0;
  }
  if (wake) futex_wake(submitted_);
}

int file_pool::threads() noexcept {
  detail::spin_guard guard(lock_);
  return threads_;
}

void file_pool::forget() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  lock_.~spin_lock();
  new (&lock_) detail::spin_lock;  // a thread that does not exist here may have held it
  line_ = {};
  wanted_ = threads_ = idle_ = 0;
}

void* file_pool::thread_main(void* self) noexcept {
  block_foreign_signals();
  pthread_setname_np(pthread_self(), "weft-file");
  static_cast<file_pool*>(self)->serve();
  return nullptr;
}

void file_pool::serve() noexcept {
  while (file_op* op = next_or_end()) {
    perform_here(*op);
    {
      detail::spin_guard guard(lock_);
      --wanted_;
    }
    g_list ready;
    complete(*op, ready);
    wake_all(ready);
  }
}

file_op* file_pool::next_or_end() noexcept {
  const nanoseconds_t began = steady_now();
  for (;;) {
    std::uint32_t seen = 0;
    {
      detail::spin_guard guard(lock_);
      if (!line_.empty()) return static_cast<file_op*>(&line_.pop_front());
      if (wanted_ == 0 && steady_now() - began >= patience_) {
        --threads_;
        return nullptr;
      }
      ++idle_;
      seen = submitted_.load(std::memory_order_relaxed);
    }
    futex_wait(submitted_, seen, patience_);
    detail::spin_guard guard(lock_);
    --idle_;
  }
}

}  // namespace weft::inline v0::rt
