// SPDX-License-Identifier: Apache-2.0
//
// read_file and write_file: everything that is there, and all or nothing.

#include <weft/file.hpp>

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "tests/support/scratch_file.hpp"
#include "tests/support/signal_storm.hpp"
#include "tests/support/stress.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace weft_test;
using weft::read_file;
using weft::write_file;
namespace fs = std::filesystem;

/// A directory that goes with the test.
class scratch_folder {
 public:
  scratch_folder() : path_("/tmp/weft_test_XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~scratch_folder() { fs::remove_all(path_); }
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;

  std::string operator/(std::string_view name) const { return path_ + '/' + std::string(name); }
  std::ptrdiff_t names() const { return std::distance(fs::directory_iterator(path_), fs::directory_iterator()); }

 private:
  std::string path_;
};

mode_t mode_of(const std::string& path) {
  struct stat found {};
  return stat(path.c_str(), &found) == 0 ? found.st_mode & 07777 : 0;
}

std::error_code code_of_reading(const std::string& path) {
  std::error_code error;
  EXPECT_EQ(read_file(path, error), "");
  return error;
}

std::error_code code_of_writing(const std::string& path, std::string_view data = "data") {
  std::error_code error;
  write_file(path, data, error);
  return error;
}

TEST(read_file, gives_everything) {
  weft::run([] {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4095}, std::size_t{4096},
                                   std::size_t{4097}, std::size_t{3'000'000}}) {
      const scratch_file on_disk(numbered(size));
      EXPECT_TRUE(read_file(on_disk.path()) == numbered(size)) << size;
    }
  });
}

TEST(read_file, whatever_the_size_is_said_to_be) {
  weft::run([] {
    EXPECT_NE(read_file("/proc/self/status").find("Pid:"), std::string::npos);
    const std::string maps = read_file("/proc/self/maps");
    EXPECT_GT(maps.size(), 4096u) << "more than a page";
    EXPECT_EQ(maps.back(), '\n');
    EXPECT_EQ(read_file("/dev/null"), "");
  });
}

TEST(read_file, a_fifo_up_to_its_end) {
  weft::run([] {
    const scratch_folder folder;
    const std::string path = folder / "fifo";
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    auto reader = weft::spawn([&] { return read_file(path); });
    until_waiting(1);
    const std::string pattern = numbered(200'000);
    weft::net::fd writer(open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    writer.write_all(pattern);
    writer.close();
    EXPECT_TRUE(reader.join() == pattern);
  });
}

TEST(read_file, a_fifo_that_nobody_writes_is_waited_for_cancellably) {
  weft::run([] {
    const scratch_folder folder;
    const std::string path = folder / "fifo";
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    auto reader = weft::spawn([&] { return read_file(path); });
    auto teller = weft::spawn([&] { return code_of_reading(path); });
    until_waiting(2);
    reader.cancel();
    teller.cancel();
    EXPECT_THROW(reader.join(), weft::fiber_cancelled);
    EXPECT_EQ(teller.join(), std::errc::operation_canceled);
  });
}

TEST(read_file, says_what_is_wrong) {
  weft::run([] {
    const scratch_folder folder;
    EXPECT_EQ(code_of_reading(folder / ""), std::errc::is_a_directory);
    EXPECT_EQ(code_of_reading(folder / "none"), std::errc::no_such_file_or_directory);
    EXPECT_EQ(code_of_reading(""), std::errc::no_such_file_or_directory);
    EXPECT_EQ(code_of_reading(std::string("/proc/\0x", 8)), std::errc::invalid_argument);
    try {
      static_cast<void>(read_file(folder / "none"));
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::system_error& error) {
      EXPECT_EQ(std::string(error.what()),
                "weft::file: read_file \"" + (folder / "none") + "\": No such file or directory");
    }
  });
  EXPECT_THROW(static_cast<void>(read_file("/proc/self/status")), std::logic_error);
}

TEST(write_file, makes_a_file_and_leaves_nothing_beside_it) {
  weft::run([] {
    const scratch_folder folder;
    const std::string path = folder / "new";
    const mode_t mask = umask(027);
    write_file(path, numbered(3'000'000));
    umask(mask);
    EXPECT_TRUE(read_file(path) == numbered(3'000'000));
    EXPECT_EQ(mode_of(path), 0640u);
    write_file(path, std::string_view("shorter"));
    EXPECT_EQ(read_file(path), "shorter");
    write_file(path, std::span<const std::byte>());
    EXPECT_EQ(read_file(path), "");
    EXPECT_EQ(folder.names(), 1);
  });
}

TEST(write_file, keeps_the_mode) {
  weft::run([] {
    const scratch_folder folder;
    const std::string path = folder / "script";
    write_file(path, std::string_view("old"));
    for (const mode_t mode : {0755u, 0600u, 0666u}) {
      ASSERT_EQ(chmod(path.c_str(), mode), 0);
      write_file(path, std::string_view("new"));
      EXPECT_EQ(mode_of(path), mode);
    }
  });
}

TEST(write_file, follows_links) {
  weft::run([] {
    const scratch_folder folder;
    ASSERT_EQ(mkdir((folder / "sub").c_str(), 0755), 0);
    write_file(folder / "sub/target", std::string_view("old"));
    ASSERT_EQ(symlink("sub/target", (folder / "link").c_str()), 0);
    ASSERT_EQ(symlink((folder / "link").c_str(), (folder / "link_to_link").c_str()), 0);
    ASSERT_EQ(symlink("sub/not_yet", (folder / "dangling").c_str()), 0);
    ASSERT_EQ(symlink("circle", (folder / "circle").c_str()), 0);
    write_file(folder / "link_to_link", std::string_view("new"));
    EXPECT_EQ(read_file(folder / "sub/target"), "new");
    EXPECT_TRUE(fs::is_symlink(folder / "link"));
    EXPECT_TRUE(fs::is_symlink(folder / "link_to_link"));
    write_file(folder / "dangling", std::string_view("made"));
    EXPECT_EQ(read_file(folder / "sub/not_yet"), "made");
    EXPECT_TRUE(fs::is_symlink(folder / "dangling"));
    EXPECT_EQ(code_of_writing(folder / "circle"), std::errc::too_many_symbolic_link_levels);
    EXPECT_EQ(folder.names(), 5);
  });
}

TEST(write_file, a_relative_path_and_a_plain_thread) {
  weft::run([] {
    const std::string name = "weft_test_" + std::to_string(getpid());
    std::thread writer([&] {
      write_file(name, std::string_view("from a thread"));
      EXPECT_EQ(read_file(name), "from a thread");
    });
    weft::blocking([&] { writer.join(); });
    unlink(name.c_str());
  });
}

TEST(write_file, what_is_no_file_is_left_alone) {
  weft::run([] {
    const scratch_folder folder;
    ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
    ASSERT_EQ(mkdir((folder / "sub").c_str(), 0755), 0);
    write_file(folder / "file", std::string_view("x"));
    EXPECT_EQ(code_of_writing(folder / "fifo"), std::errc::invalid_argument);
    EXPECT_EQ(code_of_writing("/dev/null"), std::errc::invalid_argument);
    EXPECT_TRUE(fs::is_character_file("/dev/null"));
    EXPECT_EQ(code_of_writing(folder / "sub"), std::errc::is_a_directory);
    EXPECT_EQ(code_of_writing(folder / "new/"), std::errc::is_a_directory);
    EXPECT_EQ(code_of_writing(folder / "file/"), std::errc::not_a_directory);
    EXPECT_EQ(code_of_writing(folder / "none/file"), std::errc::no_such_file_or_directory);
    EXPECT_EQ(code_of_writing(""), std::errc::no_such_file_or_directory);
    EXPECT_EQ(code_of_writing(std::string("/tmp/\0x", 7)), std::errc::invalid_argument);
    EXPECT_EQ(folder.names(), 3);
    try {
      write_file(folder / "fifo", std::string_view("x"));
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::system_error& error) {
      const std::string said = error.what();
      EXPECT_NE(said.find("write_file \"" + (folder / "fifo") + '"'), std::string::npos) << said;
      EXPECT_NE(said.find("expected a regular file"), std::string::npos) << said;
    }
  });
  EXPECT_THROW(write_file("/tmp/weft", std::string_view("x")), std::logic_error);
}

// A file that is open and has no name any more: the link of /proc names what is not there.
TEST(write_file, a_name_that_is_gone_is_not_made_up) {
  weft::run([] {
    const scratch_folder folder;
    const int number = open((folder / "gone").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_EQ(unlink((folder / "gone").c_str()), 0);
    EXPECT_EQ(code_of_writing("/proc/self/fd/" + std::to_string(number)), std::errc::no_such_file_or_directory);
    EXPECT_EQ(folder.names(), 0);
    close(number);
  });
}

TEST(write_file, a_file_that_may_not_be_written_stays) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everything";
  weft::run([] {
    const scratch_folder folder;
    write_file(folder / "file", std::string_view("old"));
    ASSERT_EQ(chmod((folder / "file").c_str(), 0400), 0);
    EXPECT_EQ(code_of_writing(folder / "file"), std::errc::permission_denied);
    EXPECT_EQ(read_file(folder / "file"), "old");
  });
}

TEST(write_file, where_it_does_not_fit_the_former_content_stays) {
  weft::run([] {
    const scratch_folder folder;
    const std::string path = folder / "file";
    write_file(path, std::string_view("old"));
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit small{100'000, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    const std::error_code error = code_of_writing(path, numbered(2'000'000));
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_EQ(error, std::errc::file_too_large);
    EXPECT_EQ(read_file(path), "old");
    EXPECT_EQ(folder.names(), 1);
  });
}

TEST(write_file, a_cancelled_one_leaves_the_former_content) {
  weft::run([] {
    const scratch_folder folder;
    const std::string path = folder / "file";
    const std::string old(1'000, 'o'), replacement = numbered(4 << 20);
    write_file(path, old);
    weft::cancel_scope early;
    early.cancel();
    EXPECT_FALSE(early.run([&] { write_file(path, replacement); }));
    EXPECT_EQ(read_file(path), old);
    EXPECT_EQ(folder.names(), 1);
    int cancelled = 0;
    for (int round = 0; round < 10; ++round) {
      write_file(path, old);
      auto writer = weft::spawn([&] { write_file(path, replacement); });
      until([&] { return folder.names() == 2 || writer.done(); });  // it has begun
      writer.cancel();
      bool complete = true;
      try {
        writer.join();
      } catch (const weft::fiber_cancelled&) {
        complete = false;
        ++cancelled;
      }
      EXPECT_TRUE(read_file(path) == (complete ? replacement : old));
      EXPECT_EQ(folder.names(), 1);
    }
    RecordProperty("cancelled", cancelled);
  });
}

TEST(write_file, a_storm_of_signals_surfaces_nowhere) {
  const signal_storm storm;
  weft::run([] {
    const scratch_folder folder;
    const std::string pattern = numbered(300'000);
    for (int i = 0; i < scaled(30); ++i) {
      write_file(folder / "file", pattern);
      ASSERT_TRUE(read_file(folder / "file") == pattern);
      auto f = weft::file::open(folder / "file", O_RDWR);
      f.truncate(10);
      std::error_code error;
      f.allocate(0, 100'000, error);
      ASSERT_TRUE(!error || error == std::errc::operation_not_supported) << error.message();
      f.datasync();
    }
  });
}

// Readers see one or the other, whole; and nobody's temporary is another's.
TEST(write_file, several_at_once_do_not_mix) {
  weft::run([] {
    const scratch_folder folder;
    const std::string path = folder / "file";
    constexpr int writers = 6;
    const auto content_of = [](int who) {
      return std::string(static_cast<std::size_t>(who + 1) * 50'000, static_cast<char>('a' + who));
    };
    write_file(path, content_of(0));
    std::atomic<bool> over{false};
    weft::scope s;
    s.go([&] {
      while (!over) {
        const std::string seen = read_file(path);
        ASSERT_FALSE(seen.empty());
        const int who = seen[0] - 'a';
        ASSERT_TRUE(who >= 0 && who < writers && seen == content_of(who)) << seen.size();
      }
    });
    {
      weft::scope all;
      for (int i = 0; i < writers; ++i)
        all.go([&, i] {
          for (int k = 0; k < 10; ++k) write_file(path, content_of(i));
        });
      all.join();
    }
    over = true;
    s.join();
    EXPECT_EQ(folder.names(), 1);
  });
}

}  // namespace
