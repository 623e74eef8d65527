// SPDX-License-Identifier: Apache-2.0
// How a fiber waits for the end of a request that lies on its frame, and how whoever serves it says that it has ended.
//
// The request is handed over in the commit hook of the park, when the fiber is off its stack: so whoever ends it never
// waits for that. `submit` is called there: it neither blocks nor allocates. The wait is ended by `complete` alone; it
// is neither cancellable nor timed, since the other side uses the frame until then.
#pragma once

#include "netpoll/requests.hpp"
#include "runtime/wait/env.hpp"
#include "runtime/wait/wait.hpp"

namespace weft::inline v0::rt {

/// The lock of a queue that nobody else knows of: what is let go with it is the request.
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

/// The last that is done with the request. Appends whoever waited, who is to be woken.
inline void complete(awaited_request& r, g_list& ready) noexcept {
  waiter<env>* const w = wait_queue<env>(r.waiters).pop_claimed();  // sole: it always is
  w->result = wait_result::ok;
  ready.push_back(w->g);
}

}  // namespace weft::inline v0::rt
