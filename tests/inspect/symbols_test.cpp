// SPDX-License-Identifier: Apache-2.0
//
// Functions that the loader does not know have names too: lambdas and statics are what most fibers run.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

#include "runtime/inspect/symbols.hpp"

namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using weft::rt::is_code;
using weft::rt::is_in_c_library;
using weft::rt::name_return_address;

[[gnu::noinline]] std::uintptr_t own_return_address() {
  return reinterpret_cast<std::uintptr_t>(__builtin_extract_return_addr(__builtin_return_address(0)));
}

[[gnu::noinline]] std::uintptr_t in_a_static_function() {
  const std::uintptr_t pc = own_return_address();
  asm volatile("" ::: "memory");
  return pc;
}

TEST(symbols, name_a_static_function_its_offset_and_its_place_in_the_file) {
  const auto name = name_return_address(in_a_static_function());
  EXPECT_EQ(name.function, "(anonymous namespace)::in_a_static_function()");
  EXPECT_THAT(name.place, MatchesRegex("\\(anonymous namespace\\)::in_a_static_function\\(\\)\\+0x[0-9a-f]+ "
                                       "\\(inspect_symbols_test\\+0x[0-9a-f]+\\)"));
}

TEST(symbols, name_a_lambda_by_where_it_stands) {
  const auto lambda = []() __attribute__((noinline)) {
    const std::uintptr_t pc = own_return_address();
    asm volatile("" ::: "memory");
    return pc;
  };
  EXPECT_THAT(name_return_address(lambda()).function,
              HasSubstr("symbols_name_a_lambda_by_where_it_stands_Test::TestBody()"));
}

TEST(symbols, name_what_a_library_exports) {
  // A return address: the byte before it is the function's.
  const auto name = name_return_address(reinterpret_cast<std::uintptr_t>(&getppid) + 1);
  EXPECT_THAT(name.place, HasSubstr("getppid+0x1"));
}

TEST(symbols, of_an_address_without_code_are_its_digits) {
  EXPECT_EQ(name_return_address(0x1235).place, "0x1235");
  EXPECT_EQ(name_return_address(0x1235).function, "");
}

TEST(symbols, tell_code_from_data) {
  const std::vector<int> data(100);
  EXPECT_TRUE(is_code(in_a_static_function()));
  EXPECT_FALSE(is_code(reinterpret_cast<std::uintptr_t>(data.data())));
  EXPECT_FALSE(is_code(reinterpret_cast<std::uintptr_t>(&data)));
  EXPECT_FALSE(is_code(0));
}

TEST(symbols, tell_the_c_library_from_the_program) {
  EXPECT_FALSE(is_in_c_library(in_a_static_function()));
  EXPECT_TRUE(is_in_c_library(reinterpret_cast<std::uintptr_t>(&getppid)));
}

TEST(symbols, hide_the_inline_namespace) { EXPECT_EQ(weft::rt::demangle("N4weft2v09cancelledE"), "weft::cancelled"); }

}  // namespace
