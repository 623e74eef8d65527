// SPDX-License-Identifier: Apache-2.0
// A buffered reader: lines, records and heads out of a stream that comes in pieces.
//
// Problem: where a line ends is known only when it has been read. What was read beyond it must be kept, what is not
// complete yet must survive a deadline, and a peer that sends no end must make nothing grow past a limit.
//
// Invariants
//  1. What is buffered and not given out is [begin_, end_) of the buffer. Only a call that succeeds takes from it.
//  2. No `searched_for_` begins in its first `searched_` bytes, so a delimiter that comes byte by byte is looked for in
//     each byte once, also across calls.
//  3. The buffer grows only when it is full of what the call still needs, at most twofold, and never past that.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <weft/detail/buffer.hpp>
#include <weft/io/stream.hpp>

namespace weft {
inline namespace v0 {

namespace detail {
struct reader_access;
}  // namespace detail

namespace io {

inline constexpr std::size_t longest_line = std::size_t{64} << 10;

template <source From>
class line_range;

/// reader reads from a stream through a buffer. Its calls may be mixed as one likes, and it is a `source` itself. It
/// refers to the stream, which must outlive it; what it has read ahead is lost to others who read from the stream. For
/// one fiber at a time; other streams' readers are independent.
///
/// ```cpp
/// weft::io::reader in(stream);
/// while (const auto line = in.read_line()) {             // a std::string_view, until the next call
///   if (line->empty()) break;
///   ...
/// }
/// in.read_exactly(body);
/// ```
///
/// Each call has two forms: one throws what the stream throws, one takes a std::error_code& last. Each waits if it must,
/// cancellably. What is buffered is given out even if the stream is closed, or its deadline has passed.
///
/// A call that fails (a deadline, a close, a cancellation, a limit, an early end) consumes nothing: the next one goes on
/// with what was there, as if it had not been made. (But see `read_exactly` for more than the buffer holds.)
///
/// A view that a call returns holds until the next call. The end of the stream is told once, when nothing is left; who
/// calls again asks the stream again, which a terminal or a growing file may answer.
template <source From>
class reader {
 public:
  /// Takes a buffer of so many bytes (at least 16), when the first of them comes. It grows only for a line, a record or a
  /// `peek` that is longer.
  explicit reader(From& from, std::size_t buffer_size = default_buffer_size)
      : from_(from), buffer_size_(std::max<std::size_t>(buffer_size, 16)) {}
  reader(const reader&) = delete;
  reader& operator=(const reader&) = delete;
  ~reader() = default;

  /// The next line, without its "\n" or "\r\n". A last one without an end counts if it is not empty; nullopt: the end. A
  /// line of more than `limit` bytes is std::errc::message_size; a call with a larger limit, or another one, goes on with
  /// it.
  std::optional<std::string_view> read_line(std::size_t limit = longest_line) { return line(limit, nullptr); }
  std::optional<std::string_view> read_line(std::error_code& error) { return line(longest_line, &error); }
  std::optional<std::string_view> read_line(std::size_t limit, std::error_code& error) { return line(limit, &error); }

  /// What comes up to the delimiter, with it: a character, or several as in "\r\n\r\n". What stands before the end
  /// without one is given too: ask `ends_with`. nullopt: the end. If that would be more than `limit` bytes:
  /// std::errc::message_size. An empty delimiter is std::errc::invalid_argument.
  std::optional<std::string_view> read_until(std::string_view delimiter, std::size_t limit = longest_line) {
    return until(delimiter, limit, nullptr);
  }
  std::optional<std::string_view> read_until(std::string_view delimiter, std::error_code& error) {
    return until(delimiter, longest_line, &error);
  }
  std::optional<std::string_view> read_until(std::string_view delimiter, std::size_t limit, std::error_code& error) {
    return until(delimiter, limit, &error);
  }
  std::optional<std::string_view> read_until(char delimiter, std::size_t limit = longest_line) {
    return until({&delimiter, 1}, limit, nullptr);
  }
  std::optional<std::string_view> read_until(char delimiter, std::error_code& error) {
    return until({&delimiter, 1}, longest_line, &error);
  }
  std::optional<std::string_view> read_until(char delimiter, std::size_t limit, std::error_code& error) {
    return until({&delimiter, 1}, limit, &error);
  }

  /// Fills `to`. An end before that is std::errc::connection_aborted. Returns how many bytes were taken: with an error
  /// none, unless `to` is larger than the buffer; then it is read straight into `to`, and the form with an error code
  /// tells how much of it is there.
  std::size_t read_exactly(std::span<std::byte> to) { return exactly(to, nullptr); }
  std::size_t read_exactly(std::span<std::byte> to, std::error_code& error) { return exactly(to, &error); }
  std::size_t read_exactly(detail::char_buffer to) { return exactly(to.bytes(), nullptr); }
  std::size_t read_exactly(detail::char_buffer to, std::error_code& error) { return exactly(to.bytes(), &error); }

  /// What is buffered, up to `to.size()` bytes; waits only if nothing is. 0: the end (or `to` is empty). What is larger
  /// than the buffer is read straight into `to`.
  std::size_t read_some(std::span<std::byte> to) { return some(to, nullptr); }
  std::size_t read_some(std::span<std::byte> to, std::error_code& error) { return some(to, &error); }
  std::size_t read_some(detail::char_buffer to) { return some(to.bytes(), nullptr); }
  std::size_t read_some(detail::char_buffer to, std::error_code& error) { return some(to.bytes(), &error); }

  /// The next `n` bytes, which stay where they are; fewer only before the end, or with an error.
  std::string_view peek(std::size_t n) { return ahead(n, nullptr); }
  std::string_view peek(std::size_t n, std::error_code& error) { return ahead(n, &error); }

  /// How many bytes can be had without a wait. Never waits.
  [[nodiscard]] std::size_t buffered() const noexcept { return end_ - begin_; }

 private:
  friend struct detail::reader_access;
  template <source>
  friend class line_range;

  enum class outcome { found, end, too_long, failed };

  /// `too_long` is the only outcome whose error the caller reports.
  outcome take_line(std::size_t limit, std::error_code* error, std::string_view& line) {
    if (detail::cancelled_at_entry(error)) return outcome::failed;
    const std::size_t most = sum(limit, 2);  // with its end
    std::size_t size = find("\n", most, error);
    if (failed(error)) return outcome::failed;
    const bool complete = size != npos;
    if (!complete) {
      size = buffered();
      if (size == 0) return end();
    }
    const std::string_view whole(data(), size);
    line = whole.substr(0, whole.ends_with('\r') ? size - 1 : size);
    if (line.size() > limit) return outcome::too_long;
    take(complete ? size + 1 : size);
    if (!complete && line.empty()) return end();
    return outcome::found;
  }

  std::optional<std::string_view> line(std::size_t limit, std::error_code* error) {
    std::string_view result;
    switch (take_line(limit, error, result)) {
      case outcome::found:
        return result;
      case outcome::too_long:
        report(error, std::errc::message_size,
               "a line is longer than " + std::to_string(limit) +
                   " bytes (expected a newline before that; the limit is read_line's argument)");
        break;
      case outcome::end:
      case outcome::failed:
        break;
    }
    return std::nullopt;
  }

  std::optional<std::string_view> until(std::string_view delimiter, std::size_t limit, std::error_code* error) {
    if (detail::cancelled_at_entry(error)) return std::nullopt;
    if (delimiter.empty()) {
      report(error, std::errc::invalid_argument,
             "read_until: the delimiter is empty (expected at least one character)");
      return std::nullopt;
    }
    const std::size_t at = find(delimiter, sum(limit, 1), error);  // one more tells whether that is the end
    if (failed(error)) return std::nullopt;
    const std::size_t size = at != npos ? at + searched_for_.size() : buffered();
    if (size > limit) {
      report(error, std::errc::message_size,
             "no delimiter within " + std::to_string(limit) +
                 " bytes (expected one before that; the limit is read_until's argument)");
      return std::nullopt;
    }
    if (size == 0) {
      end();
      return std::nullopt;
    }
    return take(size);
  }

  std::size_t exactly(std::span<std::byte> to, std::error_code* error) {
    if (detail::cancelled_at_entry(error)) return 0;
    if (to.size() > std::max(buffer_size_, buffered()) && !ended_) return straight(to, error);
    while (buffered() < to.size())
      if (!fill(to.size(), error)) {
        if (failed(error)) return 0;
        const std::size_t there = buffered();
        if (there == 0) end();
        report(error, std::errc::connection_aborted,
               "the stream ended after " + std::to_string(there) + " of " + std::to_string(to.size()) + " bytes");
        return 0;
      }
    give(to);
    return to.size();
  }

  /// More than the buffer holds.
  std::size_t straight(std::span<std::byte> to, std::error_code* error) {
    std::size_t taken = give(to.first(buffered()));
    if constexpr (reads_exactly) {
      const std::span<std::byte> rest = to.subspan(taken);
      return taken + (error == nullptr ? from_.read_exactly(rest) : from_.read_exactly(rest, *error));
    } else {
      while (taken < to.size()) {
        const std::size_t n = read_from_stream(to.subspan(taken), error);
        taken += n;
        if (failed(error)) break;
        if (n == 0) {
          report(error, std::errc::connection_aborted,
                 "the stream ended after " + std::to_string(taken) + " of " + std::to_string(to.size()) + " bytes");
          break;
        }
      }
      return taken;
    }
  }

  std::size_t some(std::span<std::byte> to, std::error_code* error) {
    if (detail::cancelled_at_entry(error) || to.empty()) return 0;
    if (buffered() == 0) {
      if (to.size() >= buffer_size_ && !ended_) return read_from_stream(to, error);
      if (!fill(1, error)) {
        if (!failed(error)) end();
        return 0;
      }
    }
    return give(to.first(std::min(to.size(), buffered())));
  }

  std::string_view ahead(std::size_t n, std::error_code* error) {
    if (detail::cancelled_at_entry(error)) return {};
    while (buffered() < n && fill(n, error)) {
    }
    return {data(), std::min(n, buffered())};
  }

  // --- the buffer

  static constexpr bool reads_exactly = requires(From & from, std::span<std::byte> to, std::error_code& error) {
    { from.read_exactly(to) } -> std::convertible_to<std::size_t>;
    { from.read_exactly(to, error) } -> std::convertible_to<std::size_t>;
  };
  static constexpr std::size_t npos = std::string_view::npos;

  static std::size_t sum(std::size_t a, std::size_t b) noexcept {
    return a > std::numeric_limits<std::size_t>::max() - b ? std::numeric_limits<std::size_t>::max() : a + b;
  }
  static bool failed(const std::error_code* error) noexcept { return error != nullptr && *error; }

  static void report(std::error_code* error, std::errc what, const std::string& sentence) {
    if (error == nullptr) throw std::system_error(detail::io_code(what), "weft::io::reader: " + sentence);
    *error = detail::io_code(what);
  }

  [[nodiscard]] const char* data() const noexcept { return buffer_.get() + begin_; }

  /// Returns where the delimiter begins, or npos: the end came first, an error, or `most` bytes are there without it.
  std::size_t find(std::string_view delimiter, std::size_t most, std::error_code* error) {
    if (searched_for_ != delimiter) {
      searched_for_ = std::string(delimiter);  // a copy: it may be a view of the buffer
      searched_ = 0;
    }
    for (;;) {
      const std::size_t at = std::string_view(data(), buffered()).find(searched_for_, searched_);
      if (at != npos) {
        searched_ = at;
        return at;
      }
      if (buffered() >= searched_for_.size()) searched_ = buffered() - searched_for_.size() + 1;
      if (buffered() >= most || !fill(most, error)) return npos;
    }
  }

  /// Reads once more, where fewer than `most` bytes are buffered. Returns false at the end, or with an error.
  bool fill(std::size_t most, std::error_code* error) {
    if (ended_) return false;
    make_room(most);
    const std::size_t n =
        read_from_stream(std::as_writable_bytes(std::span(buffer_.get() + end_, capacity_ - end_)), error);
    end_ += n;
    if (failed(error)) return false;
    ended_ = n == 0;
    return !ended_;
  }

  void make_room(std::size_t most) {
    if (begin_ == end_) begin_ = end_ = 0;
    if (end_ < capacity_) return;
    if (begin_ != 0) {
      std::memmove(buffer_.get(), data(), buffered());
      end_ -= std::exchange(begin_, 0);
      return;
    }
    const std::size_t larger = capacity_ == 0 ? buffer_size_ : std::min(sum(capacity_, capacity_), most);
    auto next = std::make_unique_for_overwrite<char[]>(larger);
    if (end_ != 0) std::memcpy(next.get(), buffer_.get(), end_);
    buffer_ = std::move(next);
    capacity_ = larger;
  }

  std::size_t read_from_stream(std::span<std::byte> to, std::error_code* error) {
    return error == nullptr ? from_.read_some(to) : from_.read_some(to, *error);
  }

  std::string_view take(std::size_t n) noexcept {
    const std::string_view taken(data(), n);
    begin_ += n;
    searched_ -= std::min(n, searched_);
    return taken;
  }

  /// Takes `to.size()` bytes, which are there.
  std::size_t give(std::span<std::byte> to) noexcept {
    if (!to.empty()) std::memcpy(to.data(), take(to.size()).data(), to.size());
    return to.size();
  }

  /// The end is told.
  outcome end() noexcept {
    ended_ = false;
    return outcome::end;
  }

  From& from_;
  std::size_t buffer_size_;
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
  std::size_t searched_ = 0;
  std::string searched_for_;
  bool ended_ = false;  ///< the stream has, after what is buffered
};

}  // namespace io

namespace detail {

template <class S>
inline constexpr bool is_reader = false;
template <class From>
inline constexpr bool is_reader<io::reader<From>> = true;

/// For calls that take what is buffered first, and then go on with the stream itself.
struct reader_access {
  template <class From>
  static From& stream(io::reader<From>& r) noexcept {
    return r.from_;
  }
  /// Takes all that is buffered. The view holds until the next call of the reader.
  template <class From>
  static std::span<const std::byte> take_buffered(io::reader<From>& r) noexcept {
    return std::as_bytes(std::span<const char>(r.take(r.buffered())));
  }
  /// Returns true if the end has been read already; it counts as told.
  template <class From>
  static bool take_end(io::reader<From>& r) noexcept {
    return std::exchange(r.ended_, false);
  }
};

}  // namespace detail
}  // namespace v0
}  // namespace weft
