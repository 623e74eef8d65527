// SPDX-License-Identifier: Apache-2.0
// An `errno` that stands a change of threads. Opt-in: weft.hpp does not include it.
//
// A fiber may go on on another thread after a wait. The C library tells compilers that the address of `errno` never
// changes within a function, so a function that reads `errno` (or sets it) before a wait and again after it may read
// the other thread's. Where this header is included, after <cerrno> and <errno.h> or instead of them, the address is asked
// for at each use, by a call. Functions without a wait of weft's between two uses need none of it.
#pragma once

#include <cerrno>

#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {
namespace detail {

/// The address of the calling thread's errno. Never cached by a compiler.
WEFT_EXPORT int* errno_address() noexcept;

}  // namespace detail
}  // namespace v0
}  // namespace weft

#undef errno
#define errno (*::weft::detail::errno_address())
