// SPDX-License-Identifier: Apache-2.0
//
// Which sanitizer the test was built with, for the few that must know: both put frames between a program and its system
// calls; ThreadSanitizer has a thread of its own, and holds signals back.
#pragma once

#if !defined(__has_feature)
#define __has_feature(x) 0
#endif

namespace weft_test {

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
inline constexpr bool has_thread_sanitizer = true;
#else
inline constexpr bool has_thread_sanitizer = false;
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
inline constexpr bool has_address_sanitizer = true;
#else
inline constexpr bool has_address_sanitizer = false;
#endif

}  // namespace weft_test
