// SPDX-License-Identifier: Apache-2.0
// How an operation on a descriptor failed, on its way to one of the two forms: an exception or a std::error_code.
//
// All codes are in std::system_category: there, and not in generic_category, EPIPE equals what Asio calls broken_pipe.
#pragma once

#include <cerrno>
#include <string>
#include <system_error>

#include "runtime/sched/thread_g.hpp"
#include "runtime/scope/cancel.hpp"
#include "runtime/wait/wait.hpp"

namespace weft::rt {

struct failure {
  int error = 0;
  bool cancelled = false;  ///< by the scope, or the end of the runtime: the throwing form throws as other waits do

  explicit operator bool() const noexcept { return error != 0; }
};

inline failure failure_of(wait_outcome how) noexcept {
  switch (how) {
    case wait_outcome::ok:
      return {};
    case wait_outcome::timed_out:
      return {ETIMEDOUT};
    case wait_outcome::cancelled:
      return {ECANCELED, true};
    case wait_outcome::closed:
      break;
  }
  return {ECANCELED};
}

/// The first check of every call: a cancelled wait fails at its entry, even if it could go on.
inline failure cancelled_at_entry() noexcept {
  return cancel_pending_at_entry(current_g()) ? failure_of(wait_outcome::cancelled) : failure{};
}

inline std::error_code to_code(const failure& why) noexcept { return {why.error, std::system_category()}; }

/// Throws it, with the message "weft::net: `what`".
[[noreturn]] inline void raise(const failure& why, const std::string& what) {
  if (why.cancelled) throw_cancelled();
  throw std::system_error(to_code(why), "weft::net: " + what);
}

/// The throwing form of a call: returns what `act(why)` returns. If that has set `why`, `fail(why)` throws.
template <class Fail, class Act>
auto or_throw(const Fail& fail, Act act) {
  failure why;
  auto result = act(why);
  if (why) [[unlikely]]
    fail(why);
  return result;
}

/// The other form: `error` says how it went.
template <class Act>
auto or_code(std::error_code& error, Act act) {
  failure why;
  auto result = act(why);
  error = to_code(why);
  return result;
}

}  // namespace weft::rt
