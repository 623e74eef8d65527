// SPDX-License-Identifier: Apache-2.0
//
// Hazard: the address of errno is kept across a wait after which the fiber is on another thread. With weft/errno.hpp it
// is not, also where the optimizer would.

#if !defined(__clang__)
#pragma GCC optimize("O2")
#endif

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>

#include <weft/errno.hpp>
#include <weft/weft.hpp>

#include "tests/support/stress.hpp"
#include "tests/support/threads.hpp"

namespace {

using weft_test::hop;
using weft_test::scaled;
using weft_test::this_thread;

class migrated_errno : public weft_test::stress {};

[[gnu::noinline]] bool is_told_after_a_hop() {
  errno = 0;
  const pid_t before = this_thread();
  hop();
  EXPECT_NE(this_thread(), before);
  return close(-1) == -1 && errno == EBADF;
}

TEST_F(migrated_errno, is_that_of_the_thread_the_fiber_is_on) {
  weft::run([] {
    for (int i = 0; i < scaled(300); ++i) ASSERT_TRUE(is_told_after_a_hop()) << i;
  });
}

TEST_F(migrated_errno, can_be_assigned_and_taken_by_address) {
  weft::run([] {
    for (int i = 0; i < scaled(100); ++i) {
      hop();
      int* const here = &errno;
      *here = i;
      ASSERT_EQ(errno, i);
    }
  });
}

}  // namespace
