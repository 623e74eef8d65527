// SPDX-License-Identifier: Apache-2.0
//
// Whose code a frame of the library's own templates holds, from names as g++ and clang write them.

#include <gtest/gtest.h>

#include <string_view>

#include "runtime/inspect/wrapper_frame.hpp"

namespace {

using weft::rt::find_wrapper_frame;

void expect_around(std::string_view closure, std::string_view function) {
  EXPECT_TRUE(find_wrapper_frame(function).is) << function;
  EXPECT_EQ(find_wrapper_frame(function).closure, closure) << function;
}

TEST(wrapper_frame, is_known_by_its_closure) {
  expect_around("main::{lambda()#1}", "void weft::detail::run_closure<main::{lambda()#1}>(void*)");
  expect_around("server::{lambda(int)#3}",
                "void weft::detail::run_closure<weft::detail::task<void, weft::detail::bound_call<"
                "server::{lambda(int)#3}, int> > >(void*)");
  expect_around("main::{lambda()#1}",
                "void weft::detail::run_closure<weft::wait_group::counted_call<main::{lambda()#1}> >(void*)");
  expect_around("(anonymous namespace)::job<int, char>",
                "weft::detail::task<long, (anonymous namespace)::job<int, char> >::operator()() &&");
  expect_around("main::$_0", "void weft::detail::result_slot<void>::fill<main::$_0>(main::$_0&&)");
}

TEST(wrapper_frame, is_known_also_in_lambdas_of_the_library) {
  expect_around("main::$_0",
                "weft::detail::callable_ref::callable_ref<weft::run<main::$_0>(weft::options const&, "
                "main::$_0)::{lambda()#1}&>(weft::run<main::$_0>(weft::options const&, "
                "main::$_0)::{lambda()#1}&)::{lambda(void*)#1}::_FUN(void*)");
  expect_around("main::$_0", "weft::run<main::$_0>(weft::options const&, main::$_0)::{lambda()#1}::operator()() const");
}

TEST(wrapper_frame, of_the_standard_and_around_functions_names_nobody) {
  expect_around("", "decltype(auto) std::apply<f, std::tuple<int> >(f&&, std::tuple<int>&&)");
  expect_around("", "std::__invoke_result<f, int>::type std::__invoke<f, int>(f&&, int&&)");
  expect_around("", "void std::__invoke_impl<void, f, int>(std::__invoke_other, f&&, int&&)");
  expect_around("", "void weft::detail::run_closure<weft::detail::bound_call<void (*)(int), int> >(void*)");
}

TEST(wrapper_frame, is_nothing_else) {
  for (const std::string_view function :
       {"main", "main::{lambda()#1}::operator()() const", "weft::chan<int>::recv() const",
        "serve(weft::detail::run_closure<f>*)", "weft::mutex::lock()", "bool operator< <int>(int, int)",
        "void weft::shield<main::{lambda()#1}>(main::{lambda()#1})", "std::vector<int>::at(unsigned long)",
        "weft::detail::result_slot<int>::take()", ""})
    EXPECT_FALSE(find_wrapper_frame(function).is) << function;
}

}  // namespace
