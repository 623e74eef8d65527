// SPDX-License-Identifier: Apache-2.0
// What may be read into and written from: spans of std::byte, char or unsigned char, and whatever converts to one.
//
// Each call has an overload for spans of std::byte, which the library compiles, and one for the types here, which are
// the other two kinds seen as bytes. No argument converts to both.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

namespace weft {
inline namespace v0 {
namespace detail {

template <class T>
inline constexpr bool is_constant_text = false;
template <std::size_t N>
inline constexpr bool is_constant_text<const char (&)[N]> = true;
template <std::size_t N>
inline constexpr bool is_constant_text<const char[N]> = true;

/// A string literal, or another constant array of characters.
template <class T>
concept constant_text = is_constant_text<T>;

template <class T>
concept text_to_write = std::convertible_to<T, std::span<const char>> && !constant_text<T>;

// NOLINTBEGIN(bugprone-forwarding-reference-overload): a buffer converts to no span of characters
/// char_buffer is characters to read into.
class char_buffer {
 public:
  template <std::convertible_to<std::span<char>> R>
  char_buffer(R&& to) noexcept : bytes_(std::as_writable_bytes(std::span<char>(std::forward<R>(to)))) {}
  template <std::convertible_to<std::span<unsigned char>> R>
  char_buffer(R&& to) noexcept : bytes_(std::as_writable_bytes(std::span<unsigned char>(std::forward<R>(to)))) {}
  char_buffer(char* to, std::size_t size) noexcept : bytes_(std::as_writable_bytes(std::span(to, size))) {}
  char_buffer(unsigned char* to, std::size_t size) noexcept : bytes_(std::as_writable_bytes(std::span(to, size))) {}

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

/// const_char_buffer is characters to write.
class const_char_buffer {
 public:
  template <text_to_write R>
  const_char_buffer(R&& from) noexcept : bytes_(std::as_bytes(std::span<const char>(std::forward<R>(from)))) {}
  template <std::convertible_to<std::span<const unsigned char>> R>
  const_char_buffer(R&& from) noexcept : bytes_(std::as_bytes(std::span<const unsigned char>(std::forward<R>(from)))) {}
  template <constant_text R>
  const_char_buffer(R&&) = delete;  // the zero at the end of a literal would go along: write std::string_view("text")
  const_char_buffer(const char* from, std::size_t size) noexcept : bytes_(std::as_bytes(std::span(from, size))) {}
  const_char_buffer(const unsigned char* from, std::size_t size) noexcept
      : bytes_(std::as_bytes(std::span(from, size))) {}

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

/// any_buffer is a span of bytes that what converts to a span of characters converts to as well. For members of the
/// program's own arrays of buffers, where no overload can choose.
class any_buffer : public std::span<std::byte> {
 public:
  constexpr any_buffer() noexcept = default;
  template <std::convertible_to<std::span<std::byte>> R>
  requires(!std::derived_from<std::remove_cvref_t<R>, any_buffer>) constexpr any_buffer(R&& to) noexcept
      : span(static_cast<std::span<std::byte>>(std::forward<R>(to))) {}
  any_buffer(char_buffer to) noexcept : span(to.bytes()) {}
  template <std::convertible_to<char_buffer> R>
  any_buffer(R&& to) noexcept : span(char_buffer(std::forward<R>(to)).bytes()) {}
};

/// any_const_buffer is the same to write from. A string literal is refused.
class any_const_buffer : public std::span<const std::byte> {
 public:
  constexpr any_const_buffer() noexcept = default;
  template <std::convertible_to<std::span<const std::byte>> R>
  requires(!std::derived_from<std::remove_cvref_t<R>, any_const_buffer>) constexpr any_const_buffer(R&& from) noexcept
      : span(static_cast<std::span<const std::byte>>(std::forward<R>(from))) {}
  any_const_buffer(const_char_buffer from) noexcept : span(from.bytes()) {}
  template <std::convertible_to<const_char_buffer> R>
  any_const_buffer(R&& from) noexcept : span(const_char_buffer(std::forward<R>(from)).bytes()) {}
};
// NOLINTEND(bugprone-forwarding-reference-overload)

/// What those overloads are for, or refuse; everything else that is passed to `read_some` and `write_some` is a sequence
/// of Asio buffers.
template <class T>
concept any_span = std::convertible_to<T&, std::span<const std::byte>> ||
    std::convertible_to<T&, std::span<const char>> || std::convertible_to<T&, std::span<const unsigned char>>;

}  // namespace detail
}  // namespace v0
}  // namespace weft
