// SPDX-License-Identifier: Apache-2.0
//
// A fixture for what happens while a thread is held in the kernel, by a call that nobody announced: a read from a pipe.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>

#include "tests/support/watchdog.hpp"

namespace weft_test {

class blocking_pipe : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(pipe2(pipe_, O_CLOEXEC), 0); }
  void TearDown() override {
    close(pipe_[0]);
    close(pipe_[1]);
  }
  /// Holds the calling thread until somebody calls `unblock`.
  void block_in_read() const {
    char byte;
    EXPECT_EQ(read(pipe_[0], &byte, 1), 1);
  }
  /// Lets one such call go, or the next one.
  void unblock() const { EXPECT_EQ(write(pipe_[1], "x", 1), 1); }

 private:
  int pipe_[2];
  watchdog watchdog_{std::chrono::seconds(60)};
};

}  // namespace weft_test
