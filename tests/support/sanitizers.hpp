// SPDX-License-Identifier: Apache-2.0
//
// Which sanitizer the test was built with, for the few that must know: ThreadSanitizer has a thread of its own, holds signals back, and
// puts frames between a program and its system calls.
#pragma once

namespace weft_test {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool has_thread_sanitizer = true;
#elif defined(__has_feature)
inline constexpr bool has_thread_sanitizer = __has_feature(thread_sanitizer);
#else
inline constexpr bool has_thread_sanitizer = false;
#endif

}  // namespace weft_test
