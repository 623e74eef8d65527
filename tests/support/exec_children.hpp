// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include <weft/weft.hpp>

namespace weft_test {

/// In a fiber: repeats `work` while another fiber forks twenty children that exec.
template <class Work>
void beside_children_that_exec(Work work) {
  std::atomic<bool> over{false};
  weft::scope s;
  s.go([&] {
    for (int i = 0; i < 20; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        execl("/bin/true", "true", nullptr);
        _exit(127);
      }
      int status = 0;
      weft::blocking([&] { waitpid(child, &status, 0); });
      EXPECT_EQ(status, 0);
    }
    over = true;
  });
  while (!over.load()) work();
  s.join();
}

}  // namespace weft_test
