// SPDX-License-Identifier: Apache-2.0
// The calls by which the bytes of a stream go, whatever its kind: for byte_stream and for copies. The side is held by
// the caller; nothing waits.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <string>

#include "netpoll/table.hpp"

namespace weft::rt {

ssize_t read_from(descriptor& d, void* to, std::size_t n) noexcept;
ssize_t readv_from(descriptor& d, const iovec* to, std::size_t count) noexcept;
ssize_t write_to(descriptor& d, const void* from, std::size_t n) noexcept;
ssize_t writev_to(descriptor& d, const iovec* from, std::size_t count) noexcept;
/// Returns true if after a read that gave `got` bytes of `wanted` there is nothing more to read: `held_side::drained`.
bool drained_by(descriptor& d, ssize_t got, std::size_t wanted) noexcept;
/// As messages call it. `d` may be null.
std::string name_of(const descriptor* d);

}  // namespace weft::rt
