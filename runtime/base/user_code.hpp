// SPDX-License-Identifier: Apache-2.0
// Users' code that runs under one of weft's locks: move constructors and destructors of elements, which are asked to use
// no channel and to wait for nothing. One that does would spin for its own lock for ever, or take the lock along to
// where it parks; both places look here first and end the process with a sentence.
#pragma once

namespace weft::rt {

/// The lock under which this thread runs users' code, or null. Written and read by its own thread only, which neither
/// parks nor changes while it is set.
[[gnu::tls_model("initial-exec")]] inline constinit thread_local const void* lock_over_user_code = nullptr;

class user_code_under {
 public:
  explicit user_code_under(const void* lock) noexcept { lock_over_user_code = lock; }
  ~user_code_under() { lock_over_user_code = nullptr; }
  user_code_under(const user_code_under&) = delete;
  user_code_under& operator=(const user_code_under&) = delete;
};

}  // namespace weft::rt
