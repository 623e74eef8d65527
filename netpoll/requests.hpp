// SPDX-License-Identifier: Apache-2.0
// Requests to another thread, the ring's or one of the file pool's, and how a fiber waits for the end of one.
//
// A request that a fiber waits for lies on the fiber's frame. It is handed over in the commit hook of the park, when
// the fiber is off its stack, so the thread that completes it never waits for that. `submit` is called there: it
// neither blocks nor allocates. Only `complete` ends the wait, which is neither cancellable nor timed, since the other
// thread uses the frame until then.
#pragma once

#include <cstdint>

#include <weft/detail/wait_list.hpp>

#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft::rt {

enum class request_kind : std::uint8_t {
  file,     ///< a file_op (netpoll/file_engine.hpp)
  watch,    ///< report a descriptor's readiness from here on
  unwatch,  ///< no more; the asking fiber waits until nothing is reported any more
};

struct request {
  explicit request(request_kind what) noexcept : kind(what) {}
  request* next = nullptr;  ///< the inbox's, then the engine's
  request_kind kind;
};

/// Requests in the order in which they came.
class request_line {
 public:
  bool empty() const noexcept { return first_ == nullptr; }
  request* front() const noexcept { return first_; }
  void push_back(request& r) noexcept {
    r.next = nullptr;
    if (first_ == nullptr)
      first_ = &r;
    else
      last_->next = &r;
    last_ = &r;
  }
  /// Must not be empty.
  request& pop_front() noexcept {
    request& r = *first_;
    first_ = r.next;
    return r;
  }

 private:
  request* first_ = nullptr;
  request* last_ = nullptr;
};

/// A request on the frame of a fiber that waits for its end.
struct awaited_request : request {
  explicit awaited_request(request_kind what) noexcept : request(what) {}
  detail::wait_list waiters;  ///< that fiber
};

/// The lock of a queue that only one fiber knows of. What its unlock releases is the request.
template <class Submit>
struct submission {
  Submit submit;
  void lock() noexcept {}
  void unlock(int /*grown_by*/) noexcept { submit(); }
};

template <class Submit>
void hand_over_and_wait(awaited_request& r, Submit submit) noexcept {
  waiter<env> w;
  wait_in_queue<env>(submission<Submit>{submit}, r.waiters, w, {wait_reason::io_wait, false, never});
}

/// The last access to the request. Appends the fiber that waited to `ready`; the caller wakes it.
inline void complete(awaited_request& r, g_list& ready) noexcept {
  waiter<env>* const w = wait_queue<env>(r.waiters).pop_claimed();  // sole: it always is
  w->result = wait_result::ok;
  ready.push_back(w->g);
}

struct descriptor;
struct unwatch_request;

/// Of a descriptor, for the ring's thread. It lies in the descriptor's slot, which is not given back before an
/// `unwatch` has ended.
struct watch_request : request {
  enum class state : std::uint8_t { none, queued, armed };

  explicit watch_request(descriptor& its) noexcept : request(request_kind::watch), of(its) {}
  descriptor& of;
  // The thread's own.
  state now = state::none;
  unwatch_request* leaving = nullptr;  ///< waits for the end of it
};

struct unwatch_request : awaited_request {
  explicit unwatch_request(watch_request& what) noexcept : awaited_request(request_kind::unwatch), of(what) {}
  watch_request& of;
  bool under_way = false;  ///< the thread's own: it waits for its turn, or for its completion
};

}  // namespace weft::rt
