// SPDX-License-Identifier: Apache-2.0
//
// Lines of a stream, wherever the pieces in which it comes end.

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace weft_test;

/// Gives `text` in pieces of `piece` bytes, then its end or an error.
struct pieces {
  std::string_view text;
  std::size_t piece;
  std::error_code at_the_end{};

  std::size_t read_some(std::span<std::byte> to) {
    std::error_code error;
    const std::size_t n = read_some(to, error);
    if (error) throw std::system_error(error);
    return n;
  }
  std::size_t read_some(std::span<std::byte> to, std::error_code& error) {
    const std::size_t n = std::min({to.size(), piece, text.size()});
    std::copy_n(std::as_bytes(std::span(text)).begin(), n, to.begin());
    text.remove_prefix(n);
    error = n == 0 ? at_the_end : std::error_code();
    return n;
  }
};

std::vector<std::string> lines_of(std::string_view text, std::size_t piece,
                                  std::size_t longest = weft::io::longest_line) {
  pieces from{text, piece};
  std::vector<std::string> result;
  for (std::string& line : weft::io::lines(from, longest)) result.push_back(std::move(line));
  return result;
}

using list = std::vector<std::string>;

TEST(lines, end_as_those_of_gos_scanner) {
  for (const std::size_t piece : {1, 2, 3, 4096}) {
    EXPECT_EQ(lines_of("", piece), list{});
    EXPECT_EQ(lines_of("a", piece), list{"a"});
    EXPECT_EQ(lines_of("a\n", piece), list{"a"});
    EXPECT_EQ(lines_of("a\nb", piece), (list{"a", "b"}));
    EXPECT_EQ(lines_of("ab\nc", piece, std::string::npos), (list{"ab", "c"}));
    EXPECT_EQ(lines_of("\n\na\n\n", piece), (list{"", "", "a", ""}));
    EXPECT_EQ(lines_of("a\r\nb\r\n\r\n", piece), (list{"a", "b", ""}));
    EXPECT_EQ(lines_of("a\rb\nc\r\r\nd\r", piece), (list{"a\rb", "c\r", "d"}));
    EXPECT_EQ(lines_of("\r", piece), list{});
    EXPECT_EQ(lines_of(std::string_view("a\0b\n", 4), piece), list{std::string("a\0b", 3)});
  }
}

TEST(lines, are_the_same_however_the_stream_is_cut) {
  std::mt19937 random(7);
  std::string text;
  list expected;
  for (int i = 0; i < 300; ++i) {
    expected.emplace_back(random() % 9000, static_cast<char>('a' + i % 26));
    text += expected.back() + (i % 3 == 0 ? "\r\n" : "\n");
  }
  for (const std::size_t piece : {1u, 7u, 4095u, 4096u, 4097u, 100'000u}) EXPECT_EQ(lines_of(text, piece), expected);
}

TEST(lines, that_are_too_long_are_an_error) {
  for (const std::size_t piece : {1, 5, 4096}) {
    for (const char* good : {"12345\n12345", "12345\r\n", "12345\r"})
      EXPECT_EQ(lines_of(good, piece, 5).front(), "12345") << good;
    for (const char* bad : {"123456\n", "123456", "123456\r\n", "12345\r6\n", "ok\n123456789"})
      EXPECT_EQ(code_of([&] { lines_of(bad, piece, 5); }), std::errc::message_size) << bad;
    EXPECT_NE(message_of([&] { lines_of("ok\n123456\n", piece, 5); }).find("line 2 is longer than 5 bytes"),
              std::string::npos);
    pieces from{"ok\n123456\nlater\n", piece};
    std::error_code error;
    list seen;
    for (const std::string& line : weft::io::lines(from, error, 5)) seen.push_back(line);
    EXPECT_EQ(error, std::errc::message_size);
    EXPECT_EQ(seen, list{"ok"});
  }
}

TEST(lines, end_with_the_streams_error) {
  pieces from{"one\ntwo\nthr", 4, std::make_error_code(std::errc::connection_reset)};
  std::error_code error;
  list seen;
  for (const std::string& line : weft::io::lines(from, error)) seen.push_back(line);
  EXPECT_EQ(seen, (list{"one", "two"}));  // half a line is none
  EXPECT_EQ(error, std::errc::connection_reset);
  pieces again{"one\ntwo\nthr", 4, std::make_error_code(std::errc::connection_reset)};
  EXPECT_EQ(code_of([&] {
              for (const std::string_view line : weft::io::lines(again)) static_cast<void>(line);
            }),
            std::errc::connection_reset);
}

TEST(lines, are_an_input_range) {
  pieces from{"a\nb\n", 1};
  auto range = weft::io::lines(from);
  static_assert(std::input_iterator<decltype(range.begin())>);
  EXPECT_EQ(std::ranges::distance(range), 2);
}

TEST(lines, come_from_a_connection_as_they_arrive) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    weft::chan<std::string> seen;
    auto reader = weft::spawn([&, &from = peers] {
      for (const std::string& line : weft::io::lines(from)) seen.send(line);
      seen.close();
    });
    write_text(ours, "first\nsec");
    EXPECT_EQ(seen.recv(), "first");  // although the next one is not complete
    write_text(ours, "ond\n");
    EXPECT_EQ(seen.recv(), "second");
    ours.shutdown_write();
    EXPECT_EQ(seen.recv(), std::nullopt);
    reader.join();
  });
}

}  // namespace
