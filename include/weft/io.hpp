// SPDX-License-Identifier: Apache-2.0
// What can be done with anything that reads and writes.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>

#include <weft/detail/export.hpp>

namespace weft {
inline namespace v0 {
namespace net {
class byte_stream;
class fd;
class tcp_stream;
class unix_stream;
}  // namespace net
}  // namespace v0
}  // namespace weft

namespace weft {
inline namespace v0 {
namespace detail {
/// Not one that the program has derived from them: it may read and write in its own way.
template <class S>
inline constexpr bool is_own_stream =
    std::is_same_v<S, net::tcp_stream> || std::is_same_v<S, net::unix_stream> || std::is_same_v<S, net::fd>;

/// As io::copy. Without places for the errors it throws.
WEFT_EXPORT std::uint64_t copy_streams(net::byte_stream& from, net::byte_stream& to, std::error_code* from_error,
                                       std::error_code* to_error);
}  // namespace detail
}  // namespace v0
}  // namespace weft

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

inline constexpr std::size_t copy_buffer_size = std::size_t{32} << 10;

/// copy writes to `to` what it reads from `from`, until its end; returns how many bytes were written. Cancellable. It
/// does not tell `to` that there is no more: that is the caller's (`shutdown_write`). `from` and `to` may be the same
/// stream.
///
/// Others may read from `from` and write to `to` in between: nothing is held while the other one is waited for. Between
/// two streams of weft's a close of either, and a read deadline of `from` or a write deadline of `to`, end it at once,
/// also while it waits for the other one; a close returns when the copy has left. (A stream that the program has made
/// is only asked by its `read_some` and `write_all`, in turn.)
///
/// At the end of `from` everything has been written. If the copy ends early (an error, a deadline, a close, a
/// cancellation), up to `copy_buffer_size` bytes that were read and not written are lost: the count tells what has
/// arrived. None are, if one of the two is a pipe and the other a stream socket: there nothing is in between.
///
/// Throws what the two throw; the message says which of them it was.
template <source From, sink To>
std::uint64_t copy(From& from, To& to) {
  if constexpr (detail::is_own_stream<From> && detail::is_own_stream<To>) {
    return detail::copy_streams(from, to, nullptr, nullptr);
  } else {
    std::uint64_t total = 0;
    const auto buffer = std::make_unique_for_overwrite<std::byte[]>(copy_buffer_size);
    while (const std::size_t n = from.read_some(std::span(buffer.get(), copy_buffer_size))) {
      to.write_all(std::span<const std::byte>(buffer.get(), n));
      total += n;
    }
    return total;
  }
}

/// The same; returns how much was copied before an error, and which of the two it came from. A cancelled scope is
/// std::errc::operation_canceled in both.
template <source From, sink To>
std::uint64_t copy(From& from, To& to, std::error_code& from_error, std::error_code& to_error) {
  from_error.clear();
  to_error.clear();
  if constexpr (detail::is_own_stream<From> && detail::is_own_stream<To>) {
    return detail::copy_streams(from, to, &from_error, &to_error);
  } else {
    std::uint64_t total = 0;
    const auto buffer = std::make_unique_for_overwrite<std::byte[]>(copy_buffer_size);
    while (const std::size_t n = from.read_some(std::span(buffer.get(), copy_buffer_size), from_error)) {
      to.write_all(std::span<const std::byte>(buffer.get(), n), to_error);
      if (to_error) break;
      total += n;
    }
    return total;
  }
}

/// The same, if it does not matter from which.
template <source From, sink To>
std::uint64_t copy(From& from, To& to, std::error_code& error) {
  std::error_code to_error;
  const std::uint64_t total = copy(from, to, error, to_error);
  if (!error) error = to_error;
  return total;
}

inline constexpr std::size_t longest_line = std::size_t{64} << 10;

/// line_range is what `lines` gives: an input range, to be walked once.
template <source From>
class line_range {
 public:
  class iterator {
   public:
    using value_type = std::string;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    iterator() noexcept = default;
    explicit iterator(line_range* from) : from_(from) { ++*this; }
    std::string& operator*() const noexcept { return from_->line_; }
    iterator& operator++() {
      if (!from_->next()) from_ = nullptr;
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& at, std::default_sentinel_t) noexcept { return at.from_ == nullptr; }

   private:
    line_range* from_ = nullptr;
  };

  line_range(From& from, std::error_code* error, std::size_t longest)
      : from_(from), error_(error), longest_(longest), buffer_(std::make_unique_for_overwrite<char[]>(room)) {
    if (error_ != nullptr) error_->clear();
  }

  /// Waits for the first line. Once.
  iterator begin() { return iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  static constexpr std::size_t room = 4096;

  /// False: there is none.
  bool next() {
    line_.clear();
    for (;;) {
      const char* const at = buffer_.get() + begin_;
      const std::size_t there = end_ - begin_;
      const void* const newline = std::memchr(at, '\n', there);
      const std::size_t taken =
          newline != nullptr ? static_cast<std::size_t>(static_cast<const char*>(newline) - at) : there;
      line_.append(at, taken);
      begin_ += taken + (newline != nullptr ? 1 : 0);
      const bool complete = newline != nullptr;
      if (complete && line_.ends_with('\r')) line_.pop_back();
      // One more than the limit may be the \r of a line that is not complete yet.
      if (line_.size() > longest_ && (complete || line_.size() - 1 > longest_)) return too_long();
      if (complete) {
        ++number_;
        return true;
      }
      if (!refill()) break;
    }
    if (line_.ends_with('\r')) line_.pop_back();
    if (line_.size() > longest_) return too_long();
    return !line_.empty() && !failed_;
  }

  bool refill() {
    if (ended_) return false;
    begin_ = end_ = 0;
    const std::span<std::byte> whole = std::as_writable_bytes(std::span(buffer_.get(), room));
    if (error_ == nullptr) {
      end_ = from_.read_some(whole);
    } else {
      end_ = from_.read_some(whole, *error_);
      failed_ = static_cast<bool>(*error_);
    }
    ended_ = end_ == 0;
    return !ended_;
  }

  bool too_long() {
    ended_ = true;
    begin_ = end_ = 0;
    const std::error_code code(static_cast<int>(std::errc::message_size), std::system_category());
    if (error_ == nullptr)
      throw std::system_error(code, "weft::io::lines: line " + std::to_string(number_ + 1) + " is longer than " +
                                        std::to_string(longest_) +
                                        " bytes (expected a newline before that; the limit is "
                                        "the last argument)");
    *error_ = code;
    return false;
  }

  From& from_;
  std::error_code* error_;
  std::size_t longest_;
  std::unique_ptr<char[]> buffer_;
  std::size_t begin_ = 0, end_ = 0;  // what of the buffer is still to be given out
  std::size_t number_ = 0;           // of lines given out
  std::string line_;
  bool ended_ = false, failed_ = false;
};

/// lines gives what comes from a stream line by line, each as a std::string& that holds until the next one (and may be
/// moved from):
///
/// ```cpp
/// for (std::string& line : weft::io::lines(stream)) ...
/// ```
///
/// A line ends with "\n" or "\r\n", which are taken off; a last one without an end counts if it is not empty. One that
/// is longer than `longest` bytes is std::errc::message_size: no peer can make this one hold more. Reads ahead: what
/// follows the last line that was taken is lost to others. Waits, cancellably; throws what the stream throws.
template <source From>
line_range<From> lines(From& from, std::size_t longest = longest_line) {
  return {from, nullptr, longest};
}

/// The same; an error ends the lines and stands in `error`, which must outlive the range.
template <source From>
line_range<From> lines(From& from, std::error_code& error, std::size_t longest = longest_line) {
  return {from, &error, longest};
}

}  // namespace io
}  // namespace v0
}  // namespace weft
