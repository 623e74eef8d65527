// SPDX-License-Identifier: Apache-2.0
// What the calls of weft::io ask of a stream, and what they have in common.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <system_error>

#include <weft/runtime.hpp>

namespace weft {
inline namespace v0 {
namespace io {

/// source is what `read_some` can be called on: up to so many bytes, 0 at the end.
template <class S>
concept source = requires(S& s, std::span<std::byte> to, std::error_code& error) {
  { s.read_some(to) } -> std::convertible_to<std::size_t>;
  { s.read_some(to, error) } -> std::convertible_to<std::size_t>;
};

/// sink is what `write_all` can be called on.
template <class S>
concept sink = requires(S& s, std::span<const std::byte> from, std::error_code& error) {
  s.write_all(from);
  s.write_all(from, error);
};

/// What a reader or a writer holds, unless it is told otherwise.
inline constexpr std::size_t default_buffer_size = std::size_t{8} << 10;

}  // namespace io

namespace detail {

/// In the category in which streams report.
inline std::error_code io_code(std::errc what) noexcept { return {static_cast<int>(what), std::system_category()}; }

/// The first thing that every call does, also one that need not wait. `error` is null in the throwing form, which throws
/// as a wait would; the other form sets it, and returns true if the caller is cancelled.
inline bool cancelled_at_entry(std::error_code* error) {
  if (error == nullptr) {
    this_fiber::check_cancelled();
    return false;
  }
  error->clear();
  if (!this_fiber::cancelled()) return false;
  *error = io_code(std::errc::operation_canceled);
  return true;
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
