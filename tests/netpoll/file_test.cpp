// SPDX-License-Identifier: Apache-2.0
//
// weft::file as its users see it, with whatever engine WEFT_NETPOLL gives.

#include <weft/file.hpp>

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "tests/support/scratch_file.hpp"
#include "tests/support/signal_storm.hpp"
#include "tests/support/stress.hpp"
#include "tests/support/undisturbed.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace weft_test;
using weft::file;

std::span<char> into(std::string& s) { return s; }

TEST(file, reads_back_what_was_written) {
  weft::run([] {
    const scratch_file on_disk;
    auto f = file::open(on_disk.path(), O_RDWR);
    EXPECT_EQ(f.size(), 0u);
    EXPECT_EQ(f.write_at(0, std::string_view("hello world")), 11u);
    EXPECT_EQ(f.write_at(6, std::string_view("weft!")), 5u);
    f.fsync();
    EXPECT_EQ(f.size(), 11u);
    std::string room(11, '?');
    EXPECT_EQ(f.read_at(0, into(room)), 11u);
    EXPECT_EQ(room, "hello weft!");
    std::array<std::byte, 4> bytes;
    EXPECT_EQ(f.read_at(1, std::span(bytes)), 4u);
    EXPECT_EQ(std::memcmp(bytes.data(), "ello", 4), 0);
  });
}

TEST(file, a_read_is_short_only_at_the_end) {
  weft::run([] {
    const scratch_file on_disk(std::string(5000, 'x'));
    auto f = file::open(on_disk.path(), O_RDONLY);
    std::string room(8192, '?');
    EXPECT_EQ(f.read_at(0, into(room)), 5000u);
    EXPECT_EQ(room.substr(0, 5001), std::string(5000, 'x') + '?');
    EXPECT_EQ(f.read_at(4999, into(room)), 1u);
    EXPECT_EQ(f.read_at(5000, into(room)), 0u);
    EXPECT_EQ(f.read_at(1 << 30, into(room)), 0u);
    EXPECT_EQ(f.read_at(0, std::span<char>()), 0u);
  });
}

std::span<std::byte> bytes_of(std::string& s) { return std::as_writable_bytes(std::span(s)); }
std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s)); }

TEST(file, several_pieces_go_one_after_the_other) {
  weft::run([] {
    for (const char* folder : {"/tmp", "/dev/shm"}) {
      const scratch_file on_disk("", folder);
      auto f = file::open(on_disk.path(), O_RDWR);
      const std::string first = "one ", nothing, second = "two ", third = numbered(100'000);
      const std::array from{bytes_of(first), bytes_of(nothing), bytes_of(second), bytes_of(third), bytes_of(nothing)};
      EXPECT_EQ(f.writev_at(10, from), 100'008u);
      EXPECT_EQ(f.size(), 100'018u);
      f.fsync();
      posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
      std::string a(3, '?'), b, c(100'000, '?'), d(50, '?');
      const std::array to{bytes_of(a), bytes_of(b), bytes_of(c), bytes_of(d)};
      EXPECT_EQ(f.readv_at(10, to), 100'008u);
      EXPECT_EQ(a, "one");
      EXPECT_TRUE(c + d.substr(0, 5) == " two " + third);
      EXPECT_EQ(d.substr(5), std::string(45, '?'));
      std::error_code error;
      EXPECT_EQ(f.readv_at(200'000, to, error), 0u);
      EXPECT_FALSE(error);
      EXPECT_EQ(f.readv_at(0, {}, error), 0u);
      EXPECT_FALSE(error);
    }
  });
}

TEST(file, more_pieces_than_a_call_takes) {
  weft::run([] {
    for (const int sync : {0, O_DSYNC}) {  // by the caller, by the engine
      const scratch_file on_disk;
      auto f = file::open(on_disk.path(), O_RDWR | sync);
      const std::string pattern = numbered(5'000 * 7);
      std::vector<std::span<const std::byte>> from;
      for (std::size_t i = 0; i < 5'000; ++i) from.push_back(bytes_of(pattern).subspan(i * 7, 7));
      EXPECT_EQ(f.writev_at(0, from), pattern.size());
      std::string back(pattern.size() + 20, '?');
      std::vector<std::span<std::byte>> to;
      for (std::size_t i = 0; i < back.size() / 5; ++i) to.push_back(bytes_of(back).subspan(i * 5, 5));
      EXPECT_EQ(f.readv_at(0, to), pattern.size());
      EXPECT_TRUE(back == pattern + std::string(20, '?'));
    }
  });
}

TEST(file, pieces_of_an_append_land_together) {
  weft::run([] {
    const scratch_file on_disk;
    constexpr int writers = 8, records = 50;
    weft::scope s;
    for (int i = 0; i < writers; ++i)
      s.go([&, i] {
        auto f = file::open(on_disk.path(), O_WRONLY | O_APPEND);
        const std::string part(32, static_cast<char>('a' + i));
        const std::array from{bytes_of(part), bytes_of(part)};
        for (int k = 0; k < records; ++k) f.writev_at(0, from);
      });
    s.join();
    std::string all(64 * writers * records, '?');
    auto f = file::open(on_disk.path(), O_RDONLY);
    ASSERT_EQ(f.read_at(0, into(all)), all.size());
    for (std::size_t at = 0; at < all.size(); at += 64) ASSERT_EQ(all.substr(at, 64), std::string(64, all[at]));
  });
}

TEST(file, a_hole_reads_as_zeros) {
  weft::run([] {
    const scratch_file on_disk;
    auto f = file::open(on_disk.path(), O_RDWR);
    f.write_at(100'000, std::string_view("end"));
    EXPECT_EQ(f.size(), 100'003u);
    std::string room(100'003, '?');
    EXPECT_EQ(f.read_at(0, into(room)), room.size());
    EXPECT_EQ(room, std::string(100'000, '\0') + "end");
  });
}

TEST(file, what_is_not_in_the_cache_is_read_all_the_same) {
  weft::run([] {
    const std::string pattern = numbered(1 << 20);
    const scratch_file on_disk(pattern);
    auto f = file::open(on_disk.path(), O_RDONLY);
    for (int round = 0; round < 4; ++round) {
      f.fsync();
      posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
      std::string room(pattern.size(), '?');
      ASSERT_EQ(f.read_at(0, into(room)), pattern.size());
      ASSERT_TRUE(room == pattern);
    }
  });
}

// Some pages are cached, some are not: RWF_NOWAIT gives short counts, anywhere.
TEST(file, what_is_partly_in_the_cache_equals_what_pread_says) {
  weft::run([] {
    constexpr std::size_t page = 4096, pages = 64;
    const std::string pattern = numbered(page * pages);
    const scratch_file on_disk(pattern);
    auto f = file::open(on_disk.path(), O_RDONLY);
    const int fd = f.native_handle();
    f.fsync();
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);  // no pages but those that are asked for
    int short_counts = 0;
    for (const std::size_t step : {2, 3, 7}) {
      for (const std::size_t offset : {std::size_t{0}, std::size_t{100}, 3 * page + 17}) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        std::string room(pattern.size() - offset + 50, '?');
        for (std::size_t i = 0; i < pages; ++i)
          if (i % step != 0 || i == offset / page) {
            ASSERT_EQ(pread(fd, room.data(), page, static_cast<off_t>(i * page)), static_cast<ssize_t>(page));
          }
        const iovec all{room.data(), pattern.size() - offset};
        const ssize_t at_once = preadv2(fd, &all, 1, static_cast<off_t>(offset), RWF_NOWAIT);
        short_counts += at_once > 0 && at_once < static_cast<ssize_t>(all.iov_len);
        room.assign(room.size(), '?');
        ASSERT_EQ(f.read_at(offset, into(room)), pattern.size() - offset);
        ASSERT_TRUE(room.compare(0, pattern.size() - offset, pattern, offset) == 0);
        ASSERT_EQ(room[pattern.size() - offset], '?');
      }
    }
    if (short_counts == 0) GTEST_SKIP() << "/tmp is never read from a device here";
  });
}

TEST(file, in_memory_and_made_up_files_can_be_read) {
  weft::run([] {
    std::string room(65536, '?');
    auto status = file::open("/proc/self/status", O_RDONLY);
    room.resize(status.read_at(0, into(room)));
    EXPECT_NE(room.find("Pid:"), std::string::npos);

    const scratch_file in_memory("in memory", "/dev/shm");
    auto f = file::open(in_memory.path(), O_RDWR);
    room.assign(100, '?');
    EXPECT_EQ(f.read_at(3, into(room)), 6u);
    EXPECT_EQ(room.substr(0, 6), "memory");
    EXPECT_EQ(f.write_at(3, std::string_view("shmem!")), 6u);
    f.fsync();
    EXPECT_EQ(f.read_at(0, into(room)), 9u);
    EXPECT_EQ(room.substr(0, 9), "in shmem!");
  });
}

TEST(file, without_the_page_cache) {
  weft::run([] {
    const scratch_file on_disk;
    std::error_code error;
    auto f = file::open(on_disk.path(), O_RDWR | O_DIRECT, error);
    if (error) GTEST_SKIP() << "no O_DIRECT here: " << error.message();
    constexpr std::size_t size = 64 << 10;
    alignas(4096) char from[4096];
    for (std::size_t i = 0; i < size; i += sizeof from) {
      std::memset(from, static_cast<int>('a' + i / sizeof from), sizeof from);
      ASSERT_EQ(f.write_at(i, std::span<const char>(from)), sizeof from);
    }
    // The end of the file is within a sector.
    ASSERT_EQ(truncate(on_disk.path().c_str(), size - 1000), 0);
    const std::unique_ptr<char, void (*)(void*)> to(static_cast<char*>(std::aligned_alloc(4096, 2 * size)), std::free);
    EXPECT_EQ(f.read_at(0, std::span(to.get(), 2 * size)), size - 1000);
    for (std::size_t i = 0; i < size - 1000; ++i) ASSERT_EQ(to.get()[i], static_cast<char>('a' + i / sizeof from)) << i;
    EXPECT_EQ(f.read_at(4096, std::span(to.get(), 4096)), 4096u);
    f.read_at(1, std::span(to.get(), 4096), error);
    EXPECT_EQ(error, std::errc::invalid_argument);
  });
}

TEST(file, errors_name_the_file) {
  weft::run([] {
    const auto message = [](auto f) -> std::string {
      try {
        f();
      } catch (const std::system_error& error) {
        return error.what();
      }
      return "nothing was thrown";
    };
    const std::string missing = "/tmp/weft-no-such-file";
    EXPECT_EQ(message([&] { static_cast<void>(file::open(missing, O_RDONLY)); }),
              "weft::file: open \"" + missing + "\": No such file or directory");
    const scratch_file on_disk("x");
    auto f = file::open(on_disk.path(), O_RDONLY);
    EXPECT_EQ(message([&] { f.write_at(0, std::string_view("y")); }),
              "weft::file: write to \"" + on_disk.path() + "\": Bad file descriptor");
    char room[4];
    file none;
    EXPECT_FALSE(none);
    EXPECT_EQ(message([&] { none.read_at(0, std::span(room)); }),
              "weft::file: read from \"(no file)\": Bad file descriptor");
    EXPECT_EQ(message([&] { f.read_at(~std::uint64_t{0}, std::span(room)); }),
              "weft::file: read from \"" + on_disk.path() + "\": Invalid argument");
    std::error_code error;
    EXPECT_FALSE(file::open(missing, O_RDONLY, error));
    EXPECT_EQ(error, std::errc::no_such_file_or_directory);
    EXPECT_FALSE(file::open(std::string_view("a\0b", 3), O_RDONLY, error));
    EXPECT_EQ(error, std::errc::invalid_argument);
    auto directory = file::open("/tmp", O_RDONLY);
    directory.read_at(0, std::span(room), error);
    EXPECT_EQ(error, std::errc::is_a_directory);
  });
}

TEST(file, a_full_device_says_so) {
  weft::run([] {
    auto full = file::open("/dev/full", O_WRONLY);
    std::error_code error;
    EXPECT_EQ(full.write_at(0, std::string_view("x"), error), 0u);
    EXPECT_EQ(error, std::errc::no_space_on_device);
  });
}

// The part that still fitted is told.
TEST(file, a_write_that_ends_early_tells_how_far_it_got) {
  weft::run([] {
    const scratch_file on_disk;
    auto f = file::open(on_disk.path(), O_RDWR);
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit small{10'000, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    std::error_code error;
    EXPECT_EQ(f.write_at(4'000, std::string(50'000, 'x'), error), 6'000u);
    EXPECT_EQ(error, std::errc::file_too_large);
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_EQ(f.size(), 10'000u);
  });
}

TEST(file, a_closed_one_says_operation_canceled) {
  weft::run([] {
    const scratch_file on_disk("x");
    auto f = file::open(on_disk.path(), O_RDWR);
    EXPECT_GE(f.native_handle(), 0);
    f.close();
    f.close();
    EXPECT_TRUE(f);
    EXPECT_EQ(f.native_handle(), -1);
    char room[4];
    std::error_code error;
    EXPECT_EQ(f.read_at(0, std::span(room), error), 0u);
    EXPECT_EQ(error, std::errc::operation_canceled);
    EXPECT_THROW(f.fsync(), std::system_error);
    auto g = std::move(f);
    EXPECT_FALSE(f);  // NOLINT: it says so
    EXPECT_TRUE(g);
  });
}

TEST(file, cancellation_is_looked_at_on_entry) {
  weft::run([] {
    const scratch_file on_disk("content");
    auto f = file::open(on_disk.path(), O_RDWR);
    weft::cancel_scope cs;
    cs.cancel();
    char room[4];
    EXPECT_FALSE(cs.run([&] {
      std::error_code error;
      f.read_at(0, std::span(room), error);
      EXPECT_EQ(error, std::errc::operation_canceled);
      static_cast<void>(file::open(on_disk.path(), O_RDONLY, error));
      EXPECT_EQ(error, std::errc::operation_canceled);
      EXPECT_EQ(weft::shield([&] { return f.read_at(0, std::span(room)); }), 4u);
      f.fsync();
      ADD_FAILURE() << "not cancelled";
    }));
  });
}

// An operation that has begun is not given up: the buffer is on the fiber's stack.
TEST(file, what_has_begun_is_finished_although_cancelled) {
  weft::run([] {
    const scratch_file on_disk;
    auto f = file::open(on_disk.path(), O_RDWR);
    for (int round = 0; round < 20; ++round) {
      f.write_at(0, numbered(64 << 10));
      std::atomic<int> outcome{0};
      weft::cancel_scope cs;
      weft::scope s;
      s.go([&] {
        outcome = cs.run([&] {
          std::error_code error;
          f.fsync(error);
          outcome = error ? 3 : 2;
        })
                      ? 2
                      : 1;
      });
      weft::yield();
      cs.cancel();
      s.join();
      EXPECT_TRUE(outcome == 1 || outcome == 2) << outcome;
    }
  });
}

TEST(file, a_close_waits_for_those_inside) {
  weft::run([] {
    for (int round = 0; round < 30; ++round) {
      const scratch_file on_disk(numbered(256 << 10));
      auto f = file::open(on_disk.path(), O_RDWR);
      std::atomic<int> left{0};
      weft::scope s;
      for (int i = 0; i < 8; ++i)
        s.go([&] {
          std::error_code error;
          for (int k = 0; !error; ++k) {
            std::string room(64 << 10, '?');
            const std::size_t n = f.read_at(0, into(room), error);
            if (!error) {
              EXPECT_EQ(n, room.size());
              posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
              f.fsync(error);
            }
          }
          EXPECT_EQ(error, std::errc::operation_canceled);
          left.fetch_add(1);
        });
      while (waiting() == 0 && left.load() == 0) weft::yield();
      f.close();
      s.join();
      EXPECT_EQ(left.load(), 8);
    }
  });
}

// Who is told "closed" and so destroys the file may be quicker than the one who closes it, and has just let those
// inside leave.
TEST(file, its_end_waits_for_a_close_under_way) {
  for (const int maxprocs : {1, 4})
    weft::run({.maxprocs = maxprocs}, [] {
      for (int round = 0; round < 20; ++round) {
        const scratch_file on_disk("content");
        auto owned = std::make_unique<file>(file::open(on_disk.path(), O_RDWR));
        file& shared = *owned;
        weft::scope s;
        s.go([owned = std::move(owned)]() mutable {
          const int fd = owned->native_handle();
          std::error_code error;
          while (!error) owned->fsync(error);
          EXPECT_EQ(error, std::errc::operation_canceled);
          owned.reset();
          EXPECT_EQ(fcntl(fd, F_GETFD), -1) << "it is closed";
        });
        until_waiting(1);
        shared.close();
        s.join();
      }
    });
}

TEST(file, works_from_a_plain_thread) {
  weft::run([] {
    const scratch_file on_disk(numbered(1 << 20));
    std::thread reader([&] {
      auto f = file::open(on_disk.path(), O_RDWR);
      f.fsync();
      posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
      std::string room(1 << 20, '?');
      EXPECT_EQ(f.read_at(0, into(room)), room.size());
      EXPECT_TRUE(room == numbered(1 << 20));
    });
    weft::blocking([&] { reader.join(); });
  });
}

TEST(file, works_inside_blocking) {
  weft::run([] {
    const scratch_file on_disk("content");
    weft::blocking([&] {
      auto f = file::open(on_disk.path(), O_RDWR);
      f.fsync();
      char room[7];
      EXPECT_EQ(f.read_at(0, std::span(room)), 7u);
    });
  });
}

TEST(file, needs_a_runtime) {
  EXPECT_THROW(static_cast<void>(file::open("/dev/null", O_RDONLY)), std::logic_error);
  file kept;
  weft::run([&] { kept = file::open("/dev/zero", O_RDONLY); });
  char room[4];
  std::error_code error;
  kept.read_at(0, std::span(room), error);
  EXPECT_EQ(error, std::errc::operation_canceled);
  weft::run([&] { EXPECT_EQ(kept.read_at(0, std::span(room)), 4u); });
  kept.close();
}

// More fibers than the engine takes at a time: the others wait in line.
TEST(file, ten_thousand_at_a_time) {
  weft::run([] {
    const int fibers = scaled(10'000);
    const std::string pattern = numbered(1 << 20);
    const scratch_file on_disk(pattern);
    auto f = file::open(on_disk.path(), O_RDWR);
    std::atomic<int> good{0};
    weft::scope s;
    for (int i = 0; i < fibers; ++i)
      s.go([&, i] {
        const std::size_t at = static_cast<std::size_t>(i) * 97 % (pattern.size() - 64);
        if (i % 64 == 0) posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
        char room[64];
        if (f.read_at(at, std::span(room)) == 64 && pattern.compare(at, 64, room, 64) == 0) good.fetch_add(1);
      });
    s.join();
    EXPECT_EQ(good.load(), fibers);
  });
}

// Reads that need no park do not keep everybody else from the only P, also without the monitor's help.
TEST(file, reads_of_the_cache_give_others_a_turn) {
  weft::run({.maxprocs = 1}, [] {
    const scratch_file on_disk("x");
    auto f = file::open(on_disk.path(), O_RDONLY);
    undisturbed([&] {
      std::atomic<bool> over{false};
      auto reader = weft::spawn([&] {
        char c;
        while (!over.load(std::memory_order_relaxed)) f.read_at(0, std::span(&c, 1));
      });
      for (int i = 0; i < 20; ++i) weft::yield();
      over = true;
      reader.join();
      return true;
    });
  });
}

// One call of the kernel's would copy it all, and hold the only P for as long.
TEST(file, a_long_copy_from_the_cache_gives_others_turns) {
  weft::run({.maxprocs = 1}, [] {
    const std::string pattern = numbered(16 << 20);
    const scratch_file on_disk(pattern);
    auto f = file::open(on_disk.path(), O_RDONLY);
    std::string room(pattern.size(), '?');
    const iovec all{room.data(), 1};
    if (preadv2(f.native_handle(), &all, 1, 0, RWF_NOWAIT) != 1) GTEST_SKIP() << "/tmp is not read at once";
    std::atomic<bool> over{false};
    std::atomic<int> turns{0};
    auto other = weft::spawn([&] {
      for (; !over.load(std::memory_order_relaxed); weft::yield()) turns.fetch_add(1, std::memory_order_relaxed);
    });
    const int during = undisturbed([&] {
      weft::yield();
      const int before = turns.load();
      EXPECT_EQ(f.read_at(0, into(room)), room.size());
      return turns.load() - before;
    });
    EXPECT_GE(during, 15);
    EXPECT_TRUE(room == pattern);
    over = true;
    other.join();
  });
}

TEST(file, long_reads_and_writes_are_complete_wherever_the_data_is) {
  weft::run([] {
    const std::string pattern = numbered((5 << 20) + 17);
    for (const char* folder : {"/tmp", "/dev/shm"}) {
      for (const int how : {0, O_APPEND, O_DSYNC}) {
        const scratch_file on_disk("x", folder);
        auto f = file::open(on_disk.path(), O_RDWR | how);
        EXPECT_EQ(f.write_at(1, pattern), pattern.size());
        EXPECT_EQ(f.size(), pattern.size() + 1);
        std::string room(pattern.size() + 100, '?');
        EXPECT_EQ(f.read_at(1, into(room)), pattern.size());
        room.resize(pattern.size());
        EXPECT_TRUE(room == pattern);
      }
    }
  });
}

TEST(file, a_storm_of_signals_surfaces_nowhere) {
  const weft_test::signal_storm storm;
  weft::run([] {
    const std::string pattern = numbered(256 << 10);
    const scratch_file on_disk(pattern);
    auto f = file::open(on_disk.path(), O_RDWR);
    for (int i = 0; i < scaled(100); ++i) {
      f.fsync();
      posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
      std::string room(pattern.size(), '?');
      ASSERT_EQ(f.read_at(0, into(room)), room.size());
      ASSERT_TRUE(room == pattern);
      f.write_at(0, room);
    }
  });
}

}  // namespace
