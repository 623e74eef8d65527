// SPDX-License-Identifier: Apache-2.0
// What can be done with anything that reads and writes.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>

namespace weft::inline v0::io {

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

inline constexpr std::size_t copy_buffer_size = std::size_t{32} << 10;

/// copy writes to `to` what it reads from `from`, until its end; returns how many bytes. Cancellable. Throws what the
/// two throw. It does not tell `to` that there is no more: that is the caller's (`shutdown_write`). `from` and `to` may
/// be the same stream.
template <source From, sink To>
std::uint64_t copy(From& from, To& to) {
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(copy_buffer_size);
  std::uint64_t total = 0;
  while (const std::size_t n = from.read_some(std::span(buffer.get(), copy_buffer_size))) {
    to.write_all(std::span<const std::byte>(buffer.get(), n));
    total += n;
  }
  return total;
}

/// The same; returns how much was copied before `error`.
template <source From, sink To>
std::uint64_t copy(From& from, To& to, std::error_code& error) {
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(copy_buffer_size);
  std::uint64_t total = 0;
  while (const std::size_t n = from.read_some(std::span(buffer.get(), copy_buffer_size), error)) {
    to.write_all(std::span<const std::byte>(buffer.get(), n), error);
    if (error) break;
    total += n;
  }
  return total;
}

}  // namespace weft::inline v0::io
