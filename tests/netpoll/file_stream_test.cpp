// SPDX-License-Identifier: Apache-2.0
//
// A file as a stream.

#include <weft/file.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "tests/support/scratch_file.hpp"

namespace {

using namespace weft_test;
using weft::file;
using weft::file_stream;
namespace io = weft::io;

static_assert(io::source<file_stream> && io::sink<file_stream>);

std::string content_of(file& f) {
  std::string all(f.size(), '?');
  EXPECT_EQ(f.read_at(0, std::span<char>(all)), all.size());
  return all;
}

TEST(file_stream, reads_and_writes_in_sequence) {
  weft::run([] {
    const scratch_file on_disk;
    auto f = file::open(on_disk.path(), O_RDWR);
    file_stream s(f);
    EXPECT_EQ(s.write_all(std::string_view("hello ")), 6u);
    EXPECT_EQ(s.write_some(std::string_view("stream")), 6u);
    EXPECT_EQ(s.position(), 12u);
    s.seek(6);
    char room[4];
    EXPECT_EQ(s.read_some(room), 4u);
    EXPECT_EQ(std::string_view(room, 4), "stre");
    EXPECT_EQ(s.read_some(room), 2u);
    EXPECT_EQ(std::string_view(room, 2), "am");
    EXPECT_EQ(s.read_some(room), 0u);
    EXPECT_EQ(s.position(), 12u);
    s.write_all(std::string_view("!"));
    EXPECT_EQ(content_of(f), "hello stream!");
    file_stream from_six(f, 6);
    EXPECT_EQ(from_six.read_exactly(room), 4u);
    EXPECT_EQ(std::string_view(room, 4), "stre");
  });
}

TEST(file_stream, an_early_end_is_an_error_where_all_is_wanted) {
  weft::run([] {
    const scratch_file on_disk("12345");
    auto f = file::open(on_disk.path(), O_RDONLY);
    file_stream s(f);
    char room[8];
    std::error_code error;
    EXPECT_EQ(s.read_exactly(room, error), 5u);
    EXPECT_EQ(error, std::errc::connection_aborted);
    EXPECT_EQ(s.position(), 5u);
    EXPECT_EQ(s.read_exactly(std::span<char>(), error), 0u);
    EXPECT_FALSE(error);
    try {
      s.read_exactly(room);
      ADD_FAILURE() << "there is no more";
    } catch (const std::system_error& thrown) {
      EXPECT_EQ(thrown.code(), std::errc::connection_aborted);
      EXPECT_NE(std::string(thrown.what()).find(on_disk.path()), std::string::npos) << thrown.what();
    }
  });
}

TEST(file_stream, takes_several_pieces) {
  weft::run([] {
    const scratch_file on_disk;
    auto f = file::open(on_disk.path(), O_RDWR);
    file_stream s(f);
    const std::string a = "one ", b = "two ", c = "three";
    const std::array from{std::as_bytes(std::span(a)), std::as_bytes(std::span(b)), std::as_bytes(std::span(c))};
    EXPECT_EQ(s.writev(from), 13u);
    s.seek(0);
    std::array<char, 4> x;
    std::array<char, 100> y;
    const std::array<std::span<std::byte>, 2> to{std::as_writable_bytes(std::span(x)),
                                                 std::as_writable_bytes(std::span(y))};
    EXPECT_EQ(s.readv(to), 13u);
    EXPECT_EQ(std::string(x.data(), 4) + std::string(y.data(), 9), "one two three");
    EXPECT_EQ(s.readv(to), 0u);
    std::error_code error;
    EXPECT_EQ(s.writev(from, error), 13u);
    EXPECT_FALSE(error);
    EXPECT_EQ(f.size(), 26u);
  });
}

TEST(file_stream, goes_wherever_a_stream_does) {
  weft::run([] {
    const std::string pattern = numbered(300'000);
    const scratch_file on_disk(pattern), copied;
    auto from_file = file::open(on_disk.path(), O_RDONLY);
    auto to_file = file::open(copied.path(), O_RDWR);
    auto [ours, theirs] = weft::net::pair();
    weft::scope s;
    s.go([&, &out = ours] {
      file_stream from(from_file);
      EXPECT_EQ(io::copy(from, out), pattern.size());
      out.shutdown_write();
    });
    file_stream to(to_file, 10);
    EXPECT_EQ(io::copy(theirs, to), pattern.size());
    s.join();
    EXPECT_TRUE(content_of(to_file) == std::string(10, '\0') + pattern);

    file_stream again(from_file);
    std::size_t lines = 0, bytes = 0;
    for (const std::string& line : io::lines(again)) {
      ++lines;
      bytes += line.size() + 1;
    }
    EXPECT_EQ(lines, (pattern.size() + 7) / 8);
    EXPECT_GE(bytes, pattern.size());
  });
}

TEST(file_stream, one_operation_at_a_time) {
  weft::run([] {
    const scratch_file on_disk;
    auto f = file::open(on_disk.path(), O_RDWR);
    file_stream s(f);
    constexpr int writers = 8, records = 200;
    weft::scope fibers;
    std::vector<std::thread> threads;
    const auto write = [&](int who) {
      const std::string record(64, static_cast<char>('a' + who));
      for (int i = 0; i < records; ++i) s.write_all(record);
    };
    for (int i = 0; i < writers; ++i) fibers.go(write, i);
    for (int i = writers; i < writers + 2; ++i) threads.emplace_back(write, i);
    fibers.join();
    weft::blocking([&] {
      for (std::thread& each : threads) each.join();
    });
    const std::string all = content_of(f);
    ASSERT_EQ(all.size(), 64u * (writers + 2) * records);
    for (std::size_t at = 0; at < all.size(); at += 64)
      ASSERT_EQ(all.substr(at, 64), std::string(64, all[at])) << "records do not mix";
  });
}

TEST(file_stream, a_close_ends_those_who_use_it) {
  weft::run([] {
    for (int round = 0; round < 20; ++round) {
      const scratch_file on_disk(numbered(3 << 20));
      auto f = file::open(on_disk.path(), O_RDWR);
      file_stream s(f);
      std::atomic<int> inside{0};
      weft::scope users;
      for (int i = 0; i < 4; ++i)
        users.go([&] {
          std::string room(2 << 20, '?');
          std::error_code error;
          while (!error) {
            s.seek(0);
            ++inside;
            s.read_some(room, error);
          }
          EXPECT_EQ(error, std::errc::operation_canceled);
        });
      while (inside.load() == 0) weft::yield();
      f.close();
      users.join();
    }
  });
}

TEST(file_stream, fails_as_its_file_does) {
  weft::run([] {
    const scratch_file on_disk("content");
    auto f = file::open(on_disk.path(), O_RDONLY);
    file_stream s(f);
    std::error_code error;
    EXPECT_EQ(s.write_all(std::string_view("x"), error), 0u);
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
    EXPECT_EQ(s.position(), 0u);
    s.seek(~std::uint64_t{0});
    char room[4];
    s.read_some(room, error);
    EXPECT_EQ(error, std::errc::invalid_argument);
    s.seek(1 << 20);
    EXPECT_EQ(s.read_some(room), 0u) << "past the end";
    s.seek(0);
    weft::cancel_scope cs;
    cs.cancel();
    EXPECT_FALSE(cs.run([&] {
      s.read_some(room, error);
      EXPECT_EQ(error, std::errc::operation_canceled);
      s.read_exactly(room);
      ADD_FAILURE() << "not cancelled";
    }));
    EXPECT_EQ(s.position(), 0u);
    f.close();
    s.read_exactly(room, error);
    EXPECT_EQ(error, std::errc::operation_canceled);
    file none;
    file_stream of_none(none);
    of_none.read_some(room, error);
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
  });
}

}  // namespace
