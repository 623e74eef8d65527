// SPDX-License-Identifier: Apache-2.0
//
// io::writer: everything in order, in few calls of the stream, and nothing more after an error.

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

#include "tests/netpoll/loopback.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::io::writer;

/// Keeps what it is given, call by call; fails once it is told to.
struct plain_sink {
  std::vector<std::string> calls;
  std::error_code error_now{};
  int closes = 0;

  void write_all(std::span<const std::byte> from) {
    std::error_code error;
    write_all(from, error);
    if (error) throw std::system_error(error, "the sink");
  }
  void write_all(std::span<const std::byte> from, std::error_code& error) {
    calls.emplace_back(reinterpret_cast<const char*>(from.data()), from.size());
    error = error_now;
  }
  void close() { ++closes; }
  std::string all() const {
    std::string text;
    for (const std::string& call : calls) text += call;
    return text;
  }
};
struct gathering_sink : plain_sink {
  std::size_t gathered = 0;
  void writev(std::span<const std::span<const std::byte>> from) {
    std::error_code error;
    writev(from, error);
    if (error) throw std::system_error(error, "the sink");
  }
  void writev(std::span<const std::span<const std::byte>> from, std::error_code& error) {
    ++gathered;
    calls.emplace_back();
    for (const auto piece : from) calls.back().append(reinterpret_cast<const char*>(piece.data()), piece.size());
    error = error_now;
  }
};

static_assert(weft::io::sink<writer<plain_sink>>);
static_assert(weft::io::sink<writer<weft::net::tcp_stream>>);

template <class T>
concept can_be_written = requires(writer<plain_sink>& out, T&& from, std::error_code& error) {
  out.write(std::forward<T>(from));
  out.write(std::forward<T>(from), error);
  out.write_all(std::forward<T>(from));
};
static_assert(can_be_written<std::string_view>);
static_assert(can_be_written<std::string&>);
static_assert(can_be_written<const std::string&>);
static_assert(can_be_written<std::string>);
static_assert(can_be_written<std::span<const std::byte>>);
static_assert(can_be_written<std::array<unsigned char, 3>&>);
static_assert(can_be_written<std::vector<std::byte>&>);
static_assert(!can_be_written<decltype(("literal"))>);  // its zero would go along

TEST(writer, gathers_small_pieces_until_a_flush) {
  plain_sink to;
  writer out(to);
  out.write(std::string_view("a"));
  out.write(std::string("bc"));
  out.write(std::as_bytes(std::span("d", 1)));
  EXPECT_TRUE(to.calls.empty());
  EXPECT_EQ(out.buffered(), 4u);
  out.flush();
  EXPECT_EQ(to.calls, std::vector<std::string>{"abcd"});
  EXPECT_EQ(out.buffered(), 0u);
  out.flush();
  out.write(std::string_view());
  EXPECT_EQ(to.calls.size(), 1u);  // nothing to do
}

TEST(writer, keeps_the_order_and_makes_few_calls) {
  std::mt19937 random(3);
  const auto expect_all = [&random](auto to, std::size_t room) {
    std::string text;
    writer out(to, room);
    for (int i = 0; i < 2000; ++i) {
      const std::string piece(random() % 40, static_cast<char>('a' + i % 26));
      text += piece;
      std::error_code error;
      i % 2 == 0 ? out.write(piece) : out.write(piece, error);
      EXPECT_FALSE(error);
    }
    out.flush();
    EXPECT_TRUE(to.all() == text);
    if (room >= 100) {
      EXPECT_LE(to.calls.size(), text.size() / (room - 40) + 2);
    }
  };
  for (const std::size_t room : {0, 1, 20, 100, 1000, 8192}) {
    expect_all(plain_sink(), room);
    expect_all(gathering_sink(), room);
  }
}

TEST(writer, hands_a_large_piece_on_with_what_is_there) {
  const std::string large(10'000, 'x');
  gathering_sink to;
  writer out(to, 100);
  out.write(std::string_view("head"));
  out.write(large);
  EXPECT_EQ(to.calls, std::vector<std::string>{"head" + large});  // at once
  EXPECT_EQ(to.gathered, 1u);
  out.write(large);
  EXPECT_EQ(to.calls.back(), large);
  EXPECT_EQ(to.gathered, 1u);
  plain_sink other;
  writer one_by_one(other, 100);
  one_by_one.write(std::string_view("head"));
  one_by_one.write(large);
  EXPECT_EQ(other.calls, (std::vector<std::string>{"head", large}));
}

TEST(writer, drops_what_was_not_flushed) {
  plain_sink to;
  writer<plain_sink>(to).write(std::string_view("lost"));
  EXPECT_TRUE(to.calls.empty());
  EXPECT_EQ(to.closes, 0);
}

TEST(writer, writes_nothing_more_after_an_error) {
  gathering_sink to;
  writer out(to, 10);
  const auto broken = std::make_error_code(std::errc::broken_pipe);
  out.write(std::string_view("abc"));
  to.error_now = broken;
  EXPECT_NE(message_of([&] { out.flush(); }).find("the sink"), std::string::npos);
  to.error_now.clear();
  std::error_code error;
  out.write(std::string_view("def"), error);
  EXPECT_EQ(error, broken);
  out.write(std::string(100, 'x'), error);
  EXPECT_EQ(error, broken);
  out.flush(error);
  EXPECT_EQ(error, broken);
  EXPECT_NE(message_of([&] { out.flush(); }).find("an earlier write has failed"), std::string::npos);
  EXPECT_EQ(code_of([&] { out.write(std::string_view("def")); }), broken);
  EXPECT_EQ(code_of([&] { out.close(); }), broken);
  EXPECT_EQ(to.closes, 1);
  EXPECT_EQ(to.calls.size(), 1u);
}

TEST(writer, whose_error_comes_by_its_code_keeps_it) {
  plain_sink to{{}, std::make_error_code(std::errc::no_space_on_device)};
  writer out(to, 4);
  std::error_code error;
  out.write(std::string_view("abc"), error);
  EXPECT_FALSE(error);
  out.write(std::string_view("defgh"), error);
  EXPECT_EQ(error, std::errc::no_space_on_device);
  to.error_now.clear();
  out.flush(error);
  EXPECT_EQ(error, std::errc::no_space_on_device);
  EXPECT_EQ(to.calls, std::vector<std::string>{"abc"});  // and not what follows
}

TEST(writer, whose_sink_throws_what_it_likes_writes_nothing_more) {
  struct {
    int calls = 0;
    void write_all(std::span<const std::byte>) {
      ++calls;
      throw std::runtime_error("no network today");
    }
    void write_all(std::span<const std::byte> from, std::error_code&) { write_all(from); }
  } to;
  writer out(to);
  out.write(std::string_view("abc"));
  EXPECT_EQ(message_of([&] { out.flush(); }), "no network today");
  EXPECT_EQ(code_of([&] { out.flush(); }), std::errc::operation_canceled);
  EXPECT_EQ(to.calls, 1);
}

TEST(writer, closes_after_a_flush) {
  plain_sink to;
  writer out(to);
  out.write(std::string_view("last"));
  out.close();
  EXPECT_EQ(to.all(), "last");
  EXPECT_EQ(to.closes, 1);
  out.close();
  std::error_code error = std::make_error_code(std::errc::io_error);
  out.close(error);
  EXPECT_FALSE(error);
  EXPECT_EQ(to.closes, 1);
  out.write(std::string_view("late"), error);
  EXPECT_EQ(error, std::errc::operation_canceled);
  EXPECT_NE(message_of([&] { out.flush(); }).find("it is closed"), std::string::npos);
}

TEST(writer, closes_the_stream_also_if_the_flush_fails) {
  plain_sink to{{}, std::make_error_code(std::errc::broken_pipe)};
  {
    writer out(to);
    out.write(std::string_view("x"));
    EXPECT_EQ(code_of([&] { out.close(); }), std::errc::broken_pipe);
    EXPECT_EQ(to.closes, 1);
  }
  writer out(to);
  out.write(std::string_view("x"));
  std::error_code error;
  out.close(error);
  EXPECT_EQ(error, std::errc::broken_pipe);
  EXPECT_EQ(to.closes, 2);
}

TEST(writer, that_is_cancelled_at_its_entry_can_still_be_flushed) {
  weft::run([] {
    plain_sink to;
    writer out(to);
    out.write(std::string_view("kept"));
    weft::cancel_scope ended;
    ended.cancel();
    const bool completed = ended.run([&] {
      std::error_code error;
      out.write(std::string_view("not"), error);
      EXPECT_EQ(error, std::errc::operation_canceled);
      weft::shield([&] { out.flush(); });
      EXPECT_EQ(to.all(), "kept");
      out.write(std::string_view("not"));
    });
    EXPECT_FALSE(completed);
    out.write(std::string_view(", and more"));
    out.flush();
    EXPECT_EQ(to.all(), "kept, and more");
  });
}

TEST(writer, to_a_peer_that_reads_nothing_is_late_cancelled_or_closed) {
  weft::run([] {
    const std::string large(100'000, 'x');
    {
      auto [ours, peers] = connected_pair();
      fill(ours);
      writer out(ours, large.size());
      out.write(large);
      ours.set_write_deadline(weft::clock::now() + 5ms);
      EXPECT_EQ(code_of([&] { out.flush(); }), std::errc::timed_out);
      ours.set_write_deadline(weft::clock::time_point::max());
      EXPECT_EQ(code_of([&] { out.write(large); }), std::errc::timed_out);  // sticky
    }
    {
      auto [ours, peers] = connected_pair();
      fill(ours);
      writer out(ours, large.size());
      out.write(large);
      EXPECT_THROW(weft::with_timeout(5ms, [&] { out.close(); }), weft::timed_out);  // the close that may
      EXPECT_EQ(ours.native_handle(), -1);
      EXPECT_EQ(code_of([&] { out.flush(); }), std::errc::operation_canceled);
    }
    {
      auto [ours, peers] = connected_pair();
      fill(ours);
      weft::scope s;
      s.go([&to = ours, &large] {
        writer out(to);
        out.write(std::string_view("head"));
        std::error_code error;
        out.write(large, error);
        EXPECT_EQ(error, std::errc::operation_canceled);
      });
      until_waiting(1);
      ours.close();
      s.join();
    }
  });
}

TEST(writer, is_a_sink_for_a_copy_and_talks_to_a_reader) {
  weft::run([] {
    auto [ours, peers] = weft::net::pair();
    weft::scope s;
    s.go([&from = peers] {
      weft::io::reader in(from);
      weft::io::writer out(from);
      while (const auto line = in.read_line()) {
        out.write(*line);
        out.write(std::string_view("!\n"));
        if (in.buffered() == 0) out.flush();
      }
      out.close();
    });
    writer out(ours);
    weft::io::reader in(ours);
    for (int i = 0; i < 1000; ++i) {
      out.write(std::to_string(i));
      out.write(std::string_view("\n"));
    }
    out.flush();
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(in.read_line(), std::to_string(i) + '!');
    ours.shutdown_write();
    EXPECT_EQ(in.read_line(), std::nullopt);
    s.join();
  });
}

TEST(writer, takes_a_copy) {
  weft::run([] {
    auto [ours, peers] = weft::net::pair();
    write_text(ours, "some bytes");
    ours.shutdown_write();
    gathering_sink to;
    writer out(to);
    EXPECT_EQ(weft::io::copy(peers, out), 10u);
    EXPECT_TRUE(to.calls.empty());  // the flush is the caller's
    out.flush();
    EXPECT_EQ(to.all(), "some bytes");
  });
}

}  // namespace
