// SPDX-License-Identifier: Apache-2.0
//
// A disk that is full: what did not fit changes nothing, and leaves nothing behind.

#include <weft/file.hpp>

#include <gtest/gtest.h>

#include <sched.h>
#include <sys/mount.h>

#include <filesystem>
#include <string>
#include <system_error>

#include <weft/weft.hpp>

#include "tests/support/child.hpp"
#include "tests/support/scratch_file.hpp"
#include "tests/support/seccomp.hpp"

namespace {

using namespace weft_test;
using weft::file;

constexpr int cannot_mount = 77;
constexpr const char* folder = "/tmp/weft_test_full_disk";

#define EXPECT_GOOD_END(end)                                                                   \
  do {                                                                                         \
    if ((end).exit_code == cannot_mount) GTEST_SKIP() << "no file system can be mounted here"; \
    EXPECT_EQ((end).exit_code, 0) << "signal " << (end).signal << "\n" << (end).text;          \
  } while (false)

/// Runs `body` in a child where `folder` is a file system of one MiB that the child alone sees.
template <class F>
child_end on_a_small_disk(F body) {
  std::filesystem::create_directory(folder);
  const child_end end = in_child([&] {
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return cannot_mount;
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return cannot_mount;
    if (mount("tmpfs", folder, "tmpfs", 0, "size=1m") != 0) return cannot_mount;
    weft::run(body);
    return 0;
  });
  std::filesystem::remove(folder);
  return end;
}

std::string in_folder(const std::string& name) { return std::string(folder) + '/' + name; }

TEST(full_disk, a_write_tells_how_far_it_got) {
  const child_end end = on_a_small_disk([] {
    auto f = file::open(in_folder("file"), O_RDWR | O_CREAT);
    std::error_code error;
    const std::size_t written = f.write_at(0, numbered(3 << 20), error);
    require(error == std::errc::no_space_on_device, "it is full");
    require(written == f.size() && written > 0 && written <= 1 << 20, "the count is true");
    require(weft::read_file(in_folder("file")) == numbered(3 << 20).substr(0, written), "it is the first part");
  });
  EXPECT_GOOD_END(end);
}

TEST(full_disk, space_that_cannot_be_had_changes_nothing) {
  const child_end end = on_a_small_disk([] {
    auto f = file::open(in_folder("file"), O_RDWR | O_CREAT);
    f.write_at(0, std::string_view("content"));
    std::error_code error;
    f.allocate(0, 3 << 20, error);
    require(error == std::errc::no_space_on_device, "it is too much");
    require(f.size() == 7, "the size is as before");
    require(std::filesystem::space(folder).available > 900'000, "nothing is taken");
    f.allocate(0, 500'000);
    require(f.size() == 500'000, "what fits can be had");
  });
  EXPECT_GOOD_END(end);
}

TEST(full_disk, a_file_that_cannot_be_replaced_stays) {
  const child_end end = on_a_small_disk([] {
    weft::write_file(in_folder("file"), std::string_view("old"));
    std::error_code error;
    weft::write_file(in_folder("file"), numbered(3 << 20), error);
    require(error == std::errc::no_space_on_device, "it is full");
    require(weft::read_file(in_folder("file")) == "old", "it has the former content");
    const auto names =
        std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
    require(names == 1, "no temporary is left");
    weft::write_file(in_folder("file"), numbered(500'000));
    require(weft::read_file(in_folder("file")) == numbered(500'000), "what fits takes its place");
  });
  EXPECT_GOOD_END(end);
}

TEST(full_disk, a_device_that_fails_to_take_it_leaves_the_former_content) {
  const scratch_file on_disk("old");
  const child_end end = in_child([&] {
    if (!refuse({{SYS_fsync, EIO}})) return cannot_mount;
    weft::run({.netpoll = weft::netpoll_backend::epoll}, [&] {
      std::error_code error;
      weft::write_file(on_disk.path(), std::string_view("new"), error);
      require(error == std::errc::io_error, "fsync said so");
      require(weft::read_file(on_disk.path()) == "old", "it has the former content");
    });
    return 0;
  });
  EXPECT_GOOD_END(end);
}

}  // namespace
