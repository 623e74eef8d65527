// SPDX-License-Identifier: Apache-2.0
//
// io::reader: lines, records and pieces in any order, wherever the stream is cut; what is late, too long or cancelled
// consumes nothing; what a hostile peer sends costs no more than it is long.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "tests/netpoll/loopback.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::io::reader;

/// Gives `text` in pieces of `piece` bytes, then its end or an error. Counts what it is asked.
struct pieces {
  std::string_view text;
  std::size_t piece;
  std::error_code at_the_end{};
  std::size_t calls = 0, largest = 0;

  std::size_t read_some(std::span<std::byte> to) {
    std::error_code error;
    const std::size_t n = read_some(to, error);
    if (error) throw std::system_error(error);
    return n;
  }
  std::size_t read_some(std::span<std::byte> to, std::error_code& error) {
    ++calls;
    largest = std::max(largest, to.size());
    const std::size_t n = std::min({to.size(), piece, text.size()});
    if (n != 0) std::memcpy(to.data(), text.data(), n);
    text.remove_prefix(n);
    error = n == 0 ? at_the_end : std::error_code();
    return n;
  }
};
static_assert(weft::io::source<pieces>);
static_assert(weft::io::source<reader<pieces>>);
static_assert(weft::io::source<reader<weft::net::tcp_stream>>);

std::string text_of(std::optional<std::string_view> view) { return view ? std::string(*view) : "(the end)"; }

TEST(reader, gives_lines_wherever_the_stream_is_cut) {
  for (const std::size_t piece : {1, 2, 3, 4096}) {
    pieces from{"one\ntwo\r\n\nthr\ree\r\r\nlast", piece};
    reader in(from, 16);
    for (const char* line : {"one", "two", "", "thr\ree\r", "last", "(the end)"})
      EXPECT_EQ(text_of(in.read_line()), line) << piece;
  }
}

TEST(reader, tells_the_end_once_and_then_asks_the_stream_again) {
  pieces from{"last", 4096};
  reader in(from);
  EXPECT_EQ(in.read_line(), "last");
  EXPECT_EQ(in.read_line(), std::nullopt);
  EXPECT_EQ(from.calls, 2u);  // the end was read once
  from.text = "more\n";
  EXPECT_EQ(in.read_line(), "more");
  std::array<char, 4> room;
  EXPECT_EQ(in.read_some(room), 0u);
  EXPECT_EQ(in.peek(1), "");
  EXPECT_EQ(in.peek(1), "");
  EXPECT_EQ(in.read_until(';'), std::nullopt);
}

TEST(reader, mixes_all_calls) {
  for (const std::size_t piece : {1, 2, 5, 4096}) {
    for (const std::size_t size : {16, 20, 8192}) {
      pieces from{"POST / HTTP/1.1\r\nHost: a\r\nLength: 5\r\n\r\nhello;rest of it, and more than the buffer\nend",
                  piece};
      reader in(from, size);
      EXPECT_EQ(in.peek(4), "POST");
      EXPECT_EQ(text_of(in.read_line()), "POST / HTTP/1.1");
      EXPECT_EQ(text_of(in.read_until("\r\n\r\n")), "Host: a\r\nLength: 5\r\n\r\n");
      std::array<char, 5> body;
      EXPECT_EQ(in.read_exactly(body), 5u);
      EXPECT_EQ(std::string_view(body.data(), 5), "hello");
      EXPECT_EQ(text_of(in.read_until(';')), ";");
      EXPECT_EQ(in.peek(7), "rest of");
      std::array<char, 4> some;
      const std::size_t n = in.read_some(some);
      EXPECT_EQ(std::string_view(some.data(), n), std::string_view("rest").substr(0, n));
      EXPECT_EQ(text_of(in.read_line()), std::string("rest").substr(n) + " of it, and more than the buffer");
      EXPECT_EQ(in.peek(100), "end");
      EXPECT_EQ(in.buffered(), 3u);
      EXPECT_EQ(text_of(in.read_until("\n")), "end");  // the end came first
      EXPECT_EQ(in.read_until("\n"), std::nullopt);
    }
  }
}

TEST(reader, does_as_one_that_holds_everything) {
  std::mt19937 random(5);
  std::string text;
  for (int i = 0; i < 60'000; ++i) text += "ab\r\n;"[random() % 5];
  for (int round = 0; round < 40; ++round) {
    pieces from{text, 1 + random() % 300};
    reader in(from, 16 + random() % 600);
    std::string_view rest = text;
    while (!rest.empty()) {
      switch (random() % 5) {
        case 0: {
          const std::size_t at = rest.find('\n');
          std::string_view line = rest.substr(0, at);
          rest.remove_prefix(at == rest.npos ? rest.size() : at + 1);
          if (line.ends_with('\r')) line.remove_suffix(1);
          if (at != rest.npos || !line.empty()) {
            ASSERT_EQ(text_of(in.read_line()), line);
          }
          break;
        }
        case 1: {
          const std::string_view delimiter = random() % 2 == 0 ? ";;" : "a";
          const std::size_t at = rest.find(delimiter);
          const std::string_view record = rest.substr(0, at == rest.npos ? at : at + delimiter.size());
          rest.remove_prefix(record.size());
          ASSERT_EQ(text_of(in.read_until(delimiter)), record);
          break;
        }
        case 2: {
          std::string to(std::min<std::size_t>(random() % 1000, rest.size()), '\0');
          ASSERT_EQ(in.read_exactly(to), to.size());
          ASSERT_EQ(to, rest.substr(0, to.size()));
          rest.remove_prefix(to.size());
          break;
        }
        case 3: {
          std::string to(1 + random() % 1000, '\0');
          const std::size_t n = in.read_some(to);
          ASSERT_GT(n, 0u);
          ASSERT_EQ(std::string_view(to).substr(0, n), rest.substr(0, n));
          rest.remove_prefix(n);
          break;
        }
        default: {
          const std::size_t n = random() % 1000;
          ASSERT_EQ(in.peek(n), rest.substr(0, n));
        }
      }
    }
  }
}

TEST(reader, that_meets_too_long_a_line_consumes_nothing) {
  for (const std::size_t piece : {1, 5, 4096}) {
    for (const char* good : {"12345\n12345", "12345\r\n", "12345\r", "12345"}) {
      pieces from{good, piece};
      EXPECT_EQ(text_of(reader(from).read_line(5)), "12345") << good;
    }
    for (const char* bad : {"123456\n", "123456", "123456\r\n", "12345\r6\n", "123456789"}) {
      pieces from{bad, piece};
      reader in(from);
      EXPECT_EQ(code_of([&] { in.read_line(5); }), std::errc::message_size) << bad;
      std::error_code error;
      EXPECT_EQ(in.read_line(5, error), std::nullopt);
      EXPECT_EQ(error, std::errc::message_size);
      EXPECT_EQ(in.peek(6), std::string_view(bad).substr(0, 6));
      EXPECT_EQ(text_of(in.read_until("\n", error)), bad) << error.message();  // and another call goes on with it
      EXPECT_FALSE(error);
    }
    pieces from{"abc;de", piece};
    reader in(from);
    EXPECT_EQ(code_of([&] { in.read_until(';', 3); }), std::errc::message_size);
    EXPECT_EQ(in.read_until(';', 4), "abc;");
    EXPECT_EQ(code_of([&] { in.read_until(';', 1); }), std::errc::message_size);
    EXPECT_EQ(in.read_until(';', 2), "de");
    EXPECT_EQ(in.read_until(';', 0), std::nullopt);
  }
  pieces from{"abcdef", 3};
  EXPECT_NE(message_of([&] { reader(from).read_line(2); }).find("longer than 2 bytes"), std::string::npos);
}

TEST(reader, has_no_use_for_an_empty_delimiter) {
  pieces from{"abc", 3};
  reader in(from);
  EXPECT_EQ(code_of([&] { in.read_until(""); }), std::errc::invalid_argument);
  std::error_code error;
  in.read_until(std::string_view(), error);
  EXPECT_EQ(error, std::errc::invalid_argument);
  EXPECT_EQ(in.read_line(), "abc");
}

TEST(reader, takes_a_view_of_its_own_for_a_delimiter) {
  pieces from{"ab\nxxxxxxxxxxxxxxxxxxxxabyy", 2};
  reader in(from, 16);
  const std::string_view line = *in.read_line();
  EXPECT_EQ(in.read_until(line), "xxxxxxxxxxxxxxxxxxxxab");
}

TEST(reader, whose_stream_ends_early_says_so_and_keeps_what_came) {
  for (const std::size_t piece : {1, 4096}) {
    pieces from{"abc", piece};
    reader in(from);
    std::array<char, 5> five;
    EXPECT_EQ(code_of([&] { in.read_exactly(five); }), std::errc::connection_aborted);
    std::error_code error;
    EXPECT_EQ(in.read_exactly(five, error), 0u);
    EXPECT_EQ(error, std::errc::connection_aborted);
    EXPECT_EQ(in.read_line(), "abc");
    EXPECT_EQ(in.read_exactly(five, error), 0u);
    EXPECT_EQ(error, std::errc::connection_aborted);
  }
}

TEST(reader, fills_what_is_larger_than_the_buffer_and_says_how_much_it_took) {
  const std::string text(1000, 'x');
  for (const std::size_t piece : {1, 7, 4096}) {
    pieces from{text, piece};
    reader in(from, 16);
    EXPECT_EQ(in.peek(3), "xxx");
    std::string to(900, '\0');
    EXPECT_EQ(in.read_exactly(to), 900u);
    EXPECT_EQ(to, text.substr(0, 900));
    std::error_code error;
    EXPECT_EQ(in.read_exactly(to, error), 100u);
    EXPECT_EQ(error, std::errc::connection_aborted);
    EXPECT_EQ(in.read_line(), std::nullopt);
  }
}

TEST(reader, passes_the_streams_error_on_and_keeps_what_came) {
  const auto reset = std::make_error_code(std::errc::connection_reset);
  pieces from{"one\nha", 4096, reset};
  reader in(from);
  EXPECT_EQ(in.read_line(), "one");
  EXPECT_EQ(code_of([&] { in.read_line(); }), reset);
  std::error_code error;
  EXPECT_EQ(in.read_line(error), std::nullopt);  // half a line is none
  EXPECT_EQ(error, reset);
  EXPECT_EQ(in.peek(5, error), "ha");
  EXPECT_EQ(error, reset);
  std::array<char, 5> five;
  EXPECT_EQ(in.read_exactly(five, error), 0u);
  EXPECT_EQ(error, reset);
  EXPECT_EQ(in.read_some(five, error), 2u);
  EXPECT_FALSE(error);
  EXPECT_EQ(in.read_some(five, error), 0u);
  EXPECT_EQ(error, reset);
}

TEST(reader, reads_large_pieces_straight) {
  const std::string text(100'000, 'x');
  pieces from{text, 100'000};
  reader in(from);
  std::string to(50'000, '\0');
  EXPECT_EQ(in.read_some(to), 50'000u);
  EXPECT_EQ(from.largest, 50'000u);
  EXPECT_EQ(in.buffered(), 0u);
}

// A peer that sends a byte at a time, without an end: a search from the beginning each time would look at 10^12 bytes,
// a buffer that grows by a constant would move as many.
TEST(reader, is_linear_in_what_a_hostile_peer_sends) {
  const weft_test::watchdog watch(60s);
  constexpr std::size_t limit = 1 << 20;
  const std::string text(limit + 10, '\r');
  for (const std::string_view delimiter : {"\n", "\r\n\r\n"}) {
    pieces from{text, 1};
    reader in(from, 16);
    std::error_code error;
    EXPECT_EQ(in.read_until(delimiter, limit, error), std::nullopt);
    EXPECT_EQ(error, std::errc::message_size);
    EXPECT_EQ(in.buffered(), limit + 1);
  }
}

// The same, where each byte is late: what was searched is remembered across calls.
struct late_pieces : pieces {
  bool late = false;
  std::size_t read_some(std::span<std::byte> to) { return pieces::read_some(to); }
  std::size_t read_some(std::span<std::byte> to, std::error_code& error) {
    if (late = !late; late) {
      error = std::make_error_code(std::errc::timed_out);
      return 0;
    }
    return pieces::read_some(to, error);
  }
};

TEST(reader, goes_on_after_each_late_call_where_it_was) {
  const weft_test::watchdog watch(60s);
  std::string text(1 << 20, 'x');
  text += "\nnext\n";
  late_pieces from{{text, 1}};
  reader in(from);
  std::error_code error;
  std::size_t late = 0;
  std::optional<std::string_view> line;
  while (!(line = in.read_line(2 << 20, error))) {
    ASSERT_EQ(error, std::errc::timed_out);
    ++late;
  }
  EXPECT_EQ(line->size(), std::size_t{1} << 20);
  EXPECT_EQ(late, (std::size_t{1} << 20) + 1);
}

TEST(reader, holds_no_more_than_a_limit_lets_it) {
  const std::string text(1 << 20, 'x');
  pieces from{text, 1 << 20};
  reader in(from, 1024);
  std::error_code error;
  in.read_line(5000, error);
  EXPECT_EQ(error, std::errc::message_size);
  EXPECT_LE(in.buffered(), 5002u);
}

TEST(reader, whose_call_is_late_or_cancelled_consumes_nothing) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    reader in(peers);
    write_text(ours, "abc");
    peers.set_read_deadline(weft::clock::now() + 5ms);
    EXPECT_EQ(code_of([&] { in.read_line(); }), std::errc::timed_out);
    std::error_code error;
    std::array<char, 10> ten;
    EXPECT_EQ(in.read_exactly(ten, error), 0u);
    EXPECT_EQ(error, std::errc::timed_out);
    EXPECT_EQ(in.peek(10, error), "abc");
    EXPECT_EQ(error, std::errc::timed_out);
    peers.set_read_deadline(weft::clock::time_point::max());
    EXPECT_THROW(weft::with_timeout(5ms, [&] { in.read_until(';'); }), weft::timed_out);
    write_text(ours, "def\nrest");
    EXPECT_EQ(in.read_line(), "abcdef");
    peers.close();
    EXPECT_EQ(in.peek(4), "rest");  // what is there is there
    EXPECT_EQ(code_of([&] { in.read_line(); }), std::errc::operation_canceled);
  });
}

TEST(reader, is_cancelled_at_its_entry_also_if_it_could_go_on) {
  weft::run([] {
    pieces from{"one\ntwo\n", 4096};
    reader in(from);
    EXPECT_EQ(in.read_line(), "one");
    weft::cancel_scope ended;
    ended.cancel();
    const bool completed = ended.run([&] {
      std::error_code error;
      EXPECT_EQ(in.read_line(error), std::nullopt);
      EXPECT_EQ(error, std::errc::operation_canceled);
      EXPECT_EQ(in.peek(1, error), "");
      EXPECT_EQ(error, std::errc::operation_canceled);
      in.read_line();
      ADD_FAILURE() << "a cancelled call went on";
    });
    EXPECT_FALSE(completed);
    EXPECT_EQ(in.read_line(), "two");
  });
}

TEST(reader, that_waits_ends_with_a_close_by_another_fiber) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    weft::scope s;
    s.go([&in = peers] {
      reader lines(in);
      std::error_code error;
      EXPECT_EQ(lines.read_line(error), std::nullopt);
      EXPECT_EQ(error, std::errc::operation_canceled);
    });
    write_text(ours, "half a line");
    until_waiting(1);
    peers.close();
    s.join();
  });
}

TEST(reader, is_a_source_whose_copy_takes_first_what_is_buffered) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    auto [to, sink] = weft::net::pair();
    const std::string body(100'000, 'b');
    weft::scope s;
    s.go([&from = ours, &body] {
      write_text(from, "head\n" + body);
      from.shutdown_write();
    });
    reader in(peers);
    EXPECT_EQ(in.read_line(), "head");
    s.go([&in, &to = to] {
      std::error_code error;
      EXPECT_EQ(weft::io::copy(in, to, error), 100'000u);
      EXPECT_FALSE(error);
      to.shutdown_write();
    });
    std::string got(body.size(), '\0');
    sink.read_exactly(got);
    EXPECT_TRUE(got == body);
    EXPECT_EQ(reader(sink).read_line(), std::nullopt);
    s.join();
  });
}

TEST(reader, whose_end_has_been_read_is_copied_without_another_read) {
  pieces from{"abc", 4096};
  reader in(from);
  EXPECT_EQ(in.peek(10), "abc");
  const std::size_t calls = from.calls;
  struct {
    std::string got;
    void write_all(std::span<const std::byte> bytes) {
      got.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    void write_all(std::span<const std::byte> bytes, std::error_code& error) {
      error.clear();
      write_all(bytes);
    }
  } to;
  EXPECT_EQ(weft::io::copy(in, to), 3u);
  EXPECT_EQ(to.got, "abc");
  EXPECT_EQ(from.calls, calls);
}

TEST(reader, whose_lines_are_walked_loses_nothing_after_them) {
  pieces from{"a\nb\n\nbody", 4096};
  reader in(from);
  std::string seen;
  for (const std::string& line : weft::io::lines(in)) {
    if (line.empty()) break;
    seen += line;
  }
  EXPECT_EQ(seen, "ab");
  EXPECT_EQ(in.read_line(), "body");
}

TEST(reader, works_on_a_plain_thread) {
  weft::run([] {
    auto [ours, peers] = connected_pair();
    write_text(ours, "one\ntwo");
    ours.shutdown_write();
    std::string seen;
    weft::event done;
    std::jthread thread([&, &from = peers] {
      reader in(from);
      while (const auto line = in.read_line()) seen += *line;
      done.set();
    });
    done.wait();
    EXPECT_EQ(seen, "onetwo");
  });
}

}  // namespace
