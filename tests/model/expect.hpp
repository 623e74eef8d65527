// SPDX-License-Identifier: Apache-2.0
//
// What a model test expects of a result, as GoogleTest assertions: EXPECT_TRUE(holds(r)), EXPECT_TRUE(finds(r,
// "race")).
#pragma once

#include "tests/model/mc.hpp"

#include <gtest/gtest.h>

#include <string>

namespace mc {

// No execution within the bounds fails, and all were tried, unless the test asked for random ones.
inline testing::AssertionResult holds(const result& r) {
  if (r.failed) {
    return testing::AssertionFailure() << r.message << "\n"
                                       << r.trace << "replay this test alone with WEFT_MODEL_REPLAY=" << r.schedule;
  }
  if (!r.complete && !r.sampled && std::getenv("WEFT_MODEL_REPLAY") == nullptr) {
    return testing::AssertionFailure() << "stopped after " << r.executions
                                       << " executions before all were seen: lower WEFT_MODEL_BOUND, or raise "
                                          "WEFT_MODEL_LIMIT";
  }
  return testing::AssertionSuccess();
}

// Some execution fails, and says so with these words (any, if there are none).
inline testing::AssertionResult finds(const result& r, const std::string& words = "") {
  if (!r.failed) return testing::AssertionFailure() << "no failure in " << r.executions << " executions";
  if (r.message.find(words) == std::string::npos) {
    return testing::AssertionFailure() << "failed, but not with \"" << words << "\": " << r.message << "\n" << r.trace;
  }
  return testing::AssertionSuccess();
}

}  // namespace mc
