// SPDX-License-Identifier: Apache-2.0
//
// Files from descriptors that the program has opened, and back.

#include <weft/file.hpp>

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <system_error>
#include <thread>

#include <weft/weft.hpp>

#include "tests/support/scratch_file.hpp"
#include "tests/support/until_waiting.hpp"

namespace {

using namespace weft_test;
using weft::file;
using weft::net::from_fd;

std::string content_of(file& f) {
  std::string all(f.size(), '?');
  EXPECT_EQ(f.read_at(0, std::span<char>(all)), all.size());
  return all;
}

std::string complaint_about(int number) {
  try {
    file f(from_fd, number);
  } catch (const std::system_error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

std::error_code code_for(int number) {
  std::error_code error;
  const file f(from_fd, number, error);
  EXPECT_EQ(static_cast<bool>(f), !error);
  return error;
}

TEST(adopted_file, is_the_files_and_closed_with_it) {
  weft::run([] {
    const scratch_file on_disk("content");
    const int number = open(on_disk.path().c_str(), O_RDWR | O_CLOEXEC);
    {
      file f(from_fd, number);
      EXPECT_EQ(f.native_handle(), number);
      EXPECT_EQ(content_of(f), "content");
      f.write_at(0, std::string_view("CON"));
      f.fsync();
      EXPECT_EQ(content_of(f), "CONtent");
    }
    EXPECT_EQ(fcntl(number, F_GETFD), -1) << "it is closed";
  });
}

TEST(adopted_file, may_have_no_name) {
  weft::run([] {
    file f(from_fd, memfd_create("weft", MFD_CLOEXEC));
    f.write_at(3, std::string_view("x"));
    EXPECT_EQ(f.size(), 4u);
    f.close();
    char room[1];
    try {
      f.read_at(0, std::span(room));
      ADD_FAILURE() << "it is closed";
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code(), std::errc::operation_canceled);
      EXPECT_NE(std::string(error.what()).find("read from descriptor "), std::string::npos) << error.what();
    }
  });
}

TEST(adopted_file, appends_if_it_was_opened_so) {
  weft::run([] {
    const scratch_file on_disk("first ");
    file f(from_fd, open(on_disk.path().c_str(), O_RDWR | O_APPEND | O_CLOEXEC));
    f.write_at(0, std::string_view("next"));
    EXPECT_EQ(content_of(f), "first next");
  });
}

TEST(adopted_file, what_is_no_file_is_refused_and_stays_the_callers) {
  weft::run([] {
    EXPECT_EQ(code_for(-1), std::errc::bad_file_descriptor);
    const int directory = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int only_a_name = open("/tmp", O_PATH | O_CLOEXEC);
    const int device = open("/dev/null", O_RDWR | O_CLOEXEC);
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(code_for(directory), std::errc::is_a_directory);
    EXPECT_EQ(code_for(only_a_name), std::errc::bad_file_descriptor);
    EXPECT_EQ(code_for(device), std::errc::invalid_seek);
    EXPECT_EQ(code_for(ends[0]), std::errc::invalid_seek);
    EXPECT_EQ(code_for(socket), std::errc::invalid_seek);
    const std::string said = complaint_about(ends[0]);
    EXPECT_NE(said.find("descriptor " + std::to_string(ends[0])), std::string::npos) << said;
    EXPECT_NE(said.find("weft::net::fd"), std::string::npos) << said;
    for (const int number : {directory, only_a_name, device, ends[0], ends[1], socket})
      EXPECT_EQ(close(number), 0) << "it was still open";
    EXPECT_EQ(code_for(socket), std::errc::bad_file_descriptor);
  });
}

TEST(adopted_file, goes_back_as_it_was) {
  weft::run([] {
    const scratch_file on_disk("content");
    const int number = open(on_disk.path().c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    file f(from_fd, number);
    EXPECT_EQ(fcntl(number, F_GETFL) & O_NONBLOCK, 0);
    EXPECT_EQ(f.release(), number);
    EXPECT_NE(fcntl(number, F_GETFL) & O_NONBLOCK, 0);
    EXPECT_EQ(f.release(), -1);
    EXPECT_EQ(f.native_handle(), -1);
    std::error_code error;
    static_cast<void>(f.size(error));
    EXPECT_EQ(error, std::errc::operation_canceled);
    f.close();
    EXPECT_EQ(close(number), 0) << "it was the caller's";
    file none;
    EXPECT_EQ(none.release(), -1);
    file opened = file::open(on_disk.path(), O_RDONLY);
    EXPECT_EQ(close(opened.release()), 0);
  });
}

TEST(adopted_file, is_given_back_when_those_inside_have_left) {
  weft::run([] {
    for (int round = 0; round < 20; ++round) {
      const scratch_file on_disk("content");
      file f = file::open(on_disk.path(), O_RDWR);
      std::atomic<bool> inside{false};
      weft::scope s;
      for (int i = 0; i < 4; ++i)
        s.go([&] {
          std::error_code error;
          while (!error) {
            f.write_at(0, std::string_view("x"), error);
            inside = true;
            f.fsync(error);
          }
          EXPECT_EQ(error, std::errc::operation_canceled);
        });
      until([&] { return inside.load(); });
      const int number = f.release();
      EXPECT_GE(number, 0);
      s.join();
      EXPECT_EQ(close(number), 0);
    }
  });
}

TEST(adopted_file, needs_a_runtime) {
  const scratch_file on_disk("content");
  const int number = open(on_disk.path().c_str(), O_RDWR | O_CLOEXEC);
  EXPECT_THROW(file(from_fd, number), std::logic_error);
  weft::run([&] {
    std::thread adopts([&] {
      file f(from_fd, number);
      EXPECT_EQ(content_of(f), "content");
    });
    weft::blocking([&] { adopts.join(); });
  });
}

}  // namespace
