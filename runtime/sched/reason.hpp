// SPDX-License-Identifier: Apache-2.0
// Why a fiber waits, in the words that Go's tracebacks use where Go has the same wait, and who ended a wait.
#pragma once

#include <cstdint>

namespace weft::rt {

/// Who claimed a wait that ended without a result.
enum class wait_cause : std::uint8_t { woken, timeout, cancelled };

enum class wait_reason : std::uint8_t {
  none,
  chan_receive,
  chan_receive_nil,
  chan_send,
  chan_send_nil,
  select,
  select_no_cases,
  sleep,
  io_wait,
  signal,
  join,
  scope_join,
  scope_limit,
  wait_group,
  mutex_lock,
  semaphore,
  shared_mutex_lock,
  shared_mutex_lock_shared,
  condition_variable,
  latch,
  barrier,
  call_once,
  event,
  shutdown,
  count_
};

constexpr const char* to_string(wait_reason r) noexcept {
  constexpr const char* words[] = {"running",
                                   "chan receive",
                                   "chan receive (nil chan)",
                                   "chan send",
                                   "chan send (nil chan)",
                                   "select",
                                   "select (no cases)",
                                   "sleep",
                                   "IO wait",
                                   "signal",
                                   "join",
                                   "scope.join",
                                   "scope limit",
                                   "wait_group.wait",
                                   "mutex.lock",
                                   "semaphore.acquire",
                                   "shared_mutex.lock",
                                   "shared_mutex.lock_shared",
                                   "condition_variable.wait",
                                   "latch.wait",
                                   "barrier.wait",
                                   "call_once",
                                   "event.wait",
                                   "shutdown"};
  static_assert(sizeof(words) / sizeof(words[0]) == static_cast<unsigned>(wait_reason::count_));
  return words[static_cast<unsigned>(r)];
}

}  // namespace weft::rt
