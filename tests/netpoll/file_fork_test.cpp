// SPDX-License-Identifier: Apache-2.0
//
// Files and sockets in the child of a fork. Each test is a process of its own, as the ring's thread stays once a run
// has needed it.

#include <weft/file.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <system_error>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include "tests/support/child.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/scratch_file.hpp"

namespace {

using namespace weft_test;
using weft::file;

constexpr std::size_t page = 4096;

/// Is in no cache but in the device's.
void evict(const file& f) { posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED); }

TEST(file_fork, a_child_without_exec_is_told) {
  if (has_thread_sanitizer) GTEST_SKIP() << "ThreadSanitizer ends such a child with a status of its own";
  const child_end end = in_child([] {
    weft::run([] {
      const scratch_file on_disk("content");
      auto f = file::open(on_disk.path(), O_RDWR);
      f.fsync();
      const pid_t child = fork();
      if (child == 0) {
        char c;
        f.read_at(0, std::span(&c, 1));
        _exit(0);
      }
      int status = 0;
      waitpid(child, &status, 0);
      require(WIFEXITED(status) && WEXITSTATUS(status) == 2, "the child was ended");
      f.fsync();  // the parent is as it was
    });
    return 0;
  });
  EXPECT_EQ(end.exit_code, 0) << end.text;
  EXPECT_NE(end.text.find("use of a file in a child process after fork()"), std::string::npos) << end.text;
}

int sockets_and_files() {
  weft::run([] {
    const std::string pattern = numbered(64 * page);
    const scratch_file on_disk(pattern);
    auto f = file::open(on_disk.path(), O_RDWR);
    f.fsync();
    evict(f);
    std::string room(pattern.size(), '?');
    require(f.read_at(0, std::span<char>(room)) == room.size(), "all was read");
    require(room == pattern, "as it was written");
    auto door = weft::net::listen("127.0.0.1:0");
    weft::scope s;
    s.go([&] {
      auto caller = weft::net::connect(door.local_endpoint().to_string());
      caller.write_all(std::string_view("hello"));
    });
    auto called = *door.accept();
    char hello[5];
    called.read_exactly(std::span(hello));
    s.join();
  });
  return 0;
}

/// Descriptors of this process that are such: "[eventpoll]", "[io_uring]".
int count_of(const std::string& kind) {
  int count = 0;
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    count += std::filesystem::read_symlink(each.path(), gone).string() == "anon_inode:" + kind;
  }
  return count;
}

// Each has a ring, threads and a poller of its own; those of the parent are not the child's to use.
TEST(file_fork, a_child_that_is_forked_between_two_runs_has_its_own) {
  if (has_thread_sanitizer) GTEST_SKIP() << "ThreadSanitizer refuses threads in such a child";
  const child_end end = in_child([] {
    sockets_and_files();
    require(count_of("[eventpoll]") + count_of("[io_uring]") > 0, "what there is, is found");
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      require(count_of("[eventpoll]") == 0 && count_of("[io_uring]") == 0, "the parent's are closed");
      sockets_and_files();
      sockets_and_files();
      _exit(0);
    }
    sockets_and_files();
    int status = 0;
    waitpid(child, &status, 0);
    require(status == 0, "the child is well");
    return sockets_and_files();
  });
  EXPECT_EQ(end.exit_code, 0) << "signal " << end.signal << end.text;
}

}  // namespace
