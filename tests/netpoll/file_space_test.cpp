// SPDX-License-Identifier: Apache-2.0
//
// Sizes of files, and their limit: which is an error, and never a signal.

#include <weft/file.hpp>

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>
#include <thread>

#include <weft/weft.hpp>

#include "tests/support/scratch_file.hpp"

namespace {

using namespace weft_test;
using weft::file;

/// No file may grow past `bytes` while it lives.
class file_size_limit {
 public:
  explicit file_size_limit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit small{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
  }
  ~file_size_limit() { setrlimit(RLIMIT_FSIZE, &before_); }
  file_size_limit(const file_size_limit&) = delete;
  file_size_limit& operator=(const file_size_limit&) = delete;

 private:
  rlimit before_{};
};

std::atomic<int> signals{0};

/// Counts the signals that reach the program's own handler, which must still be there in the end.
class counted_signals {
 public:
  counted_signals() {
    signals = 0;
    struct sigaction counting {};
    counting.sa_handler = count;
    sigaction(SIGXFSZ, &counting, &before_);
  }
  ~counted_signals() {
    struct sigaction now {};
    sigaction(SIGXFSZ, &before_, &now);
    EXPECT_EQ(now.sa_handler, &count) << "the program's handler stays";
    EXPECT_EQ(signals, 0);
  }
  counted_signals(const counted_signals&) = delete;
  counted_signals& operator=(const counted_signals&) = delete;

 private:
  static void count(int) { ++signals; }
  struct sigaction before_ {};
};

bool is_held_back_or_pending() {
  sigset_t mask, pending;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  sigpending(&pending);
  return sigismember(&mask, SIGXFSZ) == 1 || sigismember(&pending, SIGXFSZ) == 1;
}

blkcnt_t blocks_of(const file& f) {
  struct stat found {};
  fstat(f.native_handle(), &found);
  return found.st_blocks;
}

void write_past_the_limit(const std::string& path, int flags) {
  auto f = file::open(path, O_RDWR | flags);
  const std::string data(50'000, 'x');
  const std::array pieces{std::as_bytes(std::span(data)), std::as_bytes(std::span(data))};
  std::error_code error;
  EXPECT_EQ(f.write_at(0, data, error), 10'000u);
  EXPECT_EQ(error, std::errc::file_too_large);
  EXPECT_EQ(f.write_at(20'000, data, error), 0u);
  EXPECT_EQ(error, std::errc::file_too_large);
  f.writev_at(9'000, pieces, error);
  EXPECT_EQ(error, std::errc::file_too_large);
  EXPECT_THROW(f.write_at(10'000, data), std::system_error);
  EXPECT_EQ(f.size(), 10'000u);
  EXPECT_FALSE(is_held_back_or_pending());
}

TEST(file_limit, is_an_error_and_no_signal_for_writes) {
  const counted_signals counted;
  weft::run([] {
    for (const char* folder : {"/tmp", "/dev/shm"})
      for (const int flags : {0, O_APPEND, O_DSYNC, O_APPEND | O_DSYNC}) {
        const scratch_file on_disk("", folder);
        const file_size_limit limit(10'000);
        write_past_the_limit(on_disk.path(), flags);
      }
  });
}

TEST(file_limit, is_an_error_and_no_signal_from_a_plain_thread) {
  const counted_signals counted;
  weft::run([] {
    const scratch_file on_disk;
    const file_size_limit limit(10'000);
    std::thread writer([&] { write_past_the_limit(on_disk.path(), 0); });
    weft::blocking([&] { writer.join(); });
  });
}

TEST(file_limit, is_an_error_and_no_signal_for_truncate_and_allocate) {
  const counted_signals counted;
  weft::run([] {
    for (const char* folder : {"/tmp", "/dev/shm"}) {
      const scratch_file on_disk("content", folder);
      auto f = file::open(on_disk.path(), O_RDWR);
      const blkcnt_t blocks = blocks_of(f);
      const file_size_limit limit(100'000);
      std::error_code error;
      f.truncate(100'001, error);
      EXPECT_EQ(error, std::errc::file_too_large);
      f.allocate(0, 1'000'000, error);
      if (error == std::errc::operation_not_supported) continue;
      EXPECT_EQ(error, std::errc::file_too_large);
      EXPECT_EQ(f.size(), 7u);
      EXPECT_EQ(blocks_of(f), blocks) << "what was taken goes back";
      EXPECT_FALSE(is_held_back_or_pending());
      f.truncate(100'000);
      EXPECT_EQ(f.size(), 100'000u);
    }
  });
}

// One that is pending, since the program holds it back, is the program's.
TEST(file_limit, a_signal_that_was_pending_before_stays_so) {
  weft::run([] {  // nothing in here parks: it stays on its thread
    const scratch_file on_disk;
    auto f = file::open(on_disk.path(), O_RDWR | O_APPEND);
    sigset_t only, mask, pending;
    sigemptyset(&only);
    sigaddset(&only, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &only, &mask);
    pthread_kill(pthread_self(), SIGXFSZ);
    const file_size_limit limit(4);
    std::error_code error;
    EXPECT_EQ(f.write_at(0, std::string_view("12345"), error), 4u);
    EXPECT_EQ(error, std::errc::file_too_large);
    sigpending(&pending);
    EXPECT_TRUE(sigismember(&pending, SIGXFSZ));
    const timespec at_once{};
    EXPECT_EQ(sigtimedwait(&only, nullptr, &at_once), SIGXFSZ);
    pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  });
}

TEST(file_space, a_file_is_cut_and_made_longer) {
  weft::run([] {
    const scratch_file on_disk("0123456789");
    auto f = file::open(on_disk.path(), O_RDWR);
    f.truncate(4);
    EXPECT_EQ(f.size(), 4u);
    f.truncate(6);
    std::string room(10, '?');
    EXPECT_EQ(f.read_at(0, std::span<char>(room)), 6u);
    EXPECT_EQ(room.substr(0, 6), std::string("0123\0\0", 6));
    f.datasync();
    std::error_code error;
    f.truncate(~std::uint64_t{0}, error);
    EXPECT_EQ(error, std::errc::invalid_argument);
    f.datasync(error);
    EXPECT_FALSE(error);
    auto read_only = file::open(on_disk.path(), O_RDONLY);
    EXPECT_THROW(read_only.truncate(0), std::system_error);
    file none;
    none.truncate(0, error);
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
    none.datasync(error);
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
  });
}

TEST(file_space, space_is_set_aside_and_what_is_there_stays) {
  weft::run([] {
    const scratch_file on_disk("content");
    auto f = file::open(on_disk.path(), O_RDWR);
    std::error_code error;
    f.allocate(0, 100'000, error);
    if (error == std::errc::operation_not_supported) GTEST_SKIP() << "/tmp has no such thing";
    EXPECT_FALSE(error);
    EXPECT_EQ(f.size(), 100'000u);
    EXPECT_GE(blocks_of(f) * 512, 100'000);
    std::string room(8, '?');
    EXPECT_EQ(f.read_at(0, std::span<char>(room)), 8u);
    EXPECT_EQ(room, std::string("content\0", 8));
    f.allocate(10, 20);
    EXPECT_EQ(f.size(), 100'000u) << "it is within";
    f.allocate(0, 0, error);
    EXPECT_EQ(error, std::errc::invalid_argument);
    f.allocate(1, ~std::uint64_t{0}, error);
    EXPECT_EQ(error, std::errc::file_too_large);
    auto read_only = file::open(on_disk.path(), O_RDONLY);
    EXPECT_THROW(read_only.allocate(0, 1), std::system_error);
    EXPECT_EQ(f.size(), 100'000u);
    weft::cancel_scope cs;
    cs.cancel();
    EXPECT_FALSE(cs.run([&] {
      f.allocate(0, 200'000, error);
      EXPECT_EQ(error, std::errc::operation_canceled);
      f.truncate(0, error);
      EXPECT_EQ(error, std::errc::operation_canceled);
      f.datasync();
    }));
    EXPECT_EQ(f.size(), 100'000u);
  });
}

}  // namespace
