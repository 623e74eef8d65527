// SPDX-License-Identifier: Apache-2.0
// The lines of a stream as a range.
#pragma once

#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

#include <weft/io/reader.hpp>

namespace weft {
inline namespace v0 {
namespace io {

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

  line_range(From& from, std::error_code* error, std::size_t longest) : from_(from), error_(error), longest_(longest) {
    if (error_ != nullptr) error_->clear();
  }

  /// Waits for the first line. Once.
  iterator begin() { return iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  using input = std::conditional_t<detail::is_reader<From>, From, reader<From>>;

  /// False: there is none.
  bool next() {
    std::string_view line;
    switch (from_.take_line(longest_, error_, line)) {
      case input::outcome::found:
        line_.assign(line);
        ++number_;
        return true;
      case input::outcome::too_long:
        too_long();
        return false;
      case input::outcome::end:
      case input::outcome::failed:
        break;
    }
    return false;
  }

  void too_long() {
    const std::error_code code = detail::io_code(std::errc::message_size);
    if (error_ == nullptr)
      throw std::system_error(code, "weft::io::lines: line " + std::to_string(number_ + 1) + " is longer than " +
                                        std::to_string(longest_) +
                                        " bytes (expected a newline before that; the limit is "
                                        "the last argument)");
    *error_ = code;
  }

  std::conditional_t<detail::is_reader<From>, From&, input> from_;
  std::error_code* error_;
  std::size_t longest_;
  std::size_t number_ = 0;  // of lines given out
  std::string line_;
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
/// follows the last line that was taken is lost to others. (Lines of a `reader` are read by that one, and nothing is
/// lost.) Waits, cancellably; throws what the stream throws.
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
