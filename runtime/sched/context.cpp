// SPDX-License-Identifier: Apache-2.0
// What the switch needs to know before the first one: which sanitizers listen, and where a thread's own stack lies.
#include "runtime/sched/context.hpp"

#include <pthread.h>

namespace weft::rt {

bool sanitizer_hooks = false;

void probe_sanitizer_hooks() noexcept {
  sanitizer_hooks = __sanitizer_start_switch_fiber != nullptr || __tsan_switch_to_fiber != nullptr;
}

void describe_thread_stack(sanitizer_context& view) noexcept {
  if (!sanitizer_hooks) return;
  pthread_attr_t attributes;
  void* bottom = nullptr;
  std::size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
    pthread_attr_getstack(&attributes, &bottom, &size);
    pthread_attr_destroy(&attributes);
  }
  view.bottom = bottom;
  view.size = size;
  if (__tsan_get_current_fiber != nullptr) view.tsan_fiber = __tsan_get_current_fiber();
}

}  // namespace weft::rt
