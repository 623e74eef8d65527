// SPDX-License-Identifier: Apache-2.0
#include "runtime/sched/thread_g.hpp"

#include <pthread.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include <weft/detail/atomic.hpp>

namespace weft::rt {

namespace {

struct stand_in {
  G g;
  stand_in* all = nullptr;   // never changes once it is published
  stand_in* free = nullptr;  // under `lock`
};

constinit detail::atomic<stand_in*> everyone{nullptr};
constinit detail::spin_lock lock;
constinit stand_in* unused WEFT_GUARDED_BY(lock) = nullptr;

stand_in* take() noexcept {
  {
    detail::spin_guard guard(lock);
    if (stand_in* s = unused) {
      unused = s->free;
      return s;
    }
  }
  auto* s = new (std::nothrow) stand_in;
  if (s == nullptr) {
    std::fputs("fatal: weft: no memory for a thread that wants to wait\n", stderr);
    std::abort();
  }
  s->g.kind = g_kind::thread;
  s->g.cancel.store(1, std::memory_order_relaxed);  // published with it below
  s->g.thread.futex.store(0, std::memory_order_relaxed);
  s->g.thread.deadline = never;
  s->g.thread.plain_waits.store(0, std::memory_order_relaxed);
  stand_in* head = everyone.load(std::memory_order_relaxed);
  do {
    s->all = head;
  } while (!everyone.compare_exchange_weak(head, s, std::memory_order_release, std::memory_order_relaxed));
  return s;
}

stand_in*& mine() noexcept {
#if defined(WEFT_SIMULATED)
  return reinterpret_cast<stand_in*&>(sim::slot(sim::slot_of::stand_in));
#else
  thread_local constinit stand_in* of_this_thread = nullptr;
  return of_this_thread;
#endif
}

void give_back(void* it) noexcept {
  mine() = nullptr;
  auto* s = static_cast<stand_in*>(it);
  detail::spin_guard guard(lock);
  s->free = unused;
  unused = s;
}

// Without a key, or without memory for its value, the stand-in is lost when the thread ends.
void give_back_at_thread_end(stand_in* s) noexcept {
#if defined(WEFT_SIMULATED)
  sim::at_thread_end(give_back, s);
#else
  static pthread_key_t key;
  static const bool usable = pthread_key_create(&key, give_back) == 0;
  if (usable) pthread_setspecific(key, s);
#endif
}

}  // namespace

constinit detail::atomic<std::uint32_t> plain_waits{0};

[[gnu::noinline]] G* thread_g() noexcept {
  if (mine() == nullptr) give_back_at_thread_end(mine() = take());
  G* g = &mine()->g;
  asm volatile("" : "+r"(g)::"memory");  // as in current_m: nobody may cache a thread_local's address across a switch
  return g;
}

void for_each_thread_g(void (*f)(G&, void*), void* arg) noexcept {
  for (stand_in* s = everyone.load(std::memory_order_acquire); s != nullptr; s = s->all) f(s->g, arg);
}

}  // namespace weft::rt
