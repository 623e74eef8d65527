// SPDX-License-Identifier: Apache-2.0
#include "netpoll/file_pool.hpp"

#include <new>

#include "runtime/base/os.hpp"
#include "runtime/sched/futex.hpp"
#include "runtime/sched/ready.hpp"
#include "runtime/sched/signal_mask.hpp"

namespace weft::rt {

int make_thread(void* (*main)(void*), void* argument) noexcept { return os::start_detached_thread(main, argument); }

bool file_pool::prepare() noexcept {
  {
    detail::spin_guard guard(lock_);
    ++wanted_;
    const int all = running_ + starting_;
    if (running_ != 0 && (all >= wanted_ || all >= limit_)) return true;
    if (all >= limit_) {
      --wanted_;
      return false;
    }
    ++starting_;
  }
  const int error = make_(thread_main, this);
  detail::spin_guard guard(lock_);
  --starting_;
  if (error == 0) ++running_;  // it cannot have ended: our own operation is wanted
  if (running_ != 0) return true;
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
  return running_;
}

void file_pool::forget() noexcept WEFT_NO_THREAD_SAFETY_ANALYSIS {
  lock_.~spin_lock();
  new (&lock_) detail::spin_lock;  // a thread that does not exist here may have held it
  line_ = {};
  wanted_ = running_ = starting_ = idle_ = 0;
}

void* file_pool::thread_main(void* self) noexcept {
  block_foreign_signals();
  os::name_thread("weft-file");
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
        --running_;
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

}  // namespace weft::rt
