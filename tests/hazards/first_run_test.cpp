// SPDX-License-Identifier: Apache-2.0
//
// What a process does with weft while its very first run begins, which happens once in each: so in children, and no
// test here runs anything in the parent.

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include <weft/weft.hpp>

#include "tests/support/child.hpp"

namespace {

// Each scope's failure cancels, and that asks all threads for a fence, which the kernel grants once a run has asked.
TEST(first_run, may_begin_while_threads_cancel) {
  for (int round = 0; round < 10; ++round) {
    const auto end = weft_test::in_child([] {
      std::atomic<bool> over{false};
      std::atomic<int> begun{0};
      const auto cancel_all_the_time = [&] {
        begun.fetch_add(1);
        while (!over.load()) {
          try {
            weft::scope s;
            s.go([] {});
            s.join();
          } catch (const std::logic_error&) {   // no runtime runs yet
          } catch (const std::system_error&) {  // it has ended meanwhile
          }
        }
      };
      std::thread one(cancel_all_the_time), another(cancel_all_the_time);
      while (begun.load() < 2) {
      }
      const int result = weft::run({.maxprocs = 2}, [] { return 7; });
      over.store(true);
      one.join();
      another.join();
      return result;
    });
    ASSERT_EQ(end.exit_code, 7) << end.text;
  }
}

}  // namespace
