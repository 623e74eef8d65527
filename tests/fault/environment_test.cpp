// SPDX-License-Identifier: Apache-2.0
//
// What stands in the environment is input from outside: a bad value ends in an exception that names the variable, the
// value and what is accepted, before anything is started; a good one is obeyed.

#include <gtest/gtest.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>

#include <weft/weft.hpp>

namespace {

class with_variable {
 public:
  with_variable(const char* name, const char* value) : name_(name) {
    const char* former = std::getenv(name);
    if (former != nullptr) former_ = former;
    had_one_ = former != nullptr;
    setenv(name, value, 1);
  }
  ~with_variable() {
    if (had_one_)
      setenv(name_, former_.c_str(), 1);
    else
      unsetenv(name_);
  }
  with_variable(const with_variable&) = delete;
  with_variable& operator=(const with_variable&) = delete;

 private:
  const char* name_;
  std::string former_;
  bool had_one_ = false;
};

void expect_refused(const char* name, const char* value, const char* accepted) {
  const with_variable set(name, value);
  bool ran = false;
  try {
    weft::run([&] { ran = true; });
    ADD_FAILURE() << name << "=" << value << " was accepted";
  } catch (const std::invalid_argument& error) {
    const std::string said = error.what();
    EXPECT_NE(said.find(name), std::string::npos) << said;
    EXPECT_NE(said.find(value), std::string::npos) << said;
    EXPECT_NE(said.find(accepted), std::string::npos) << said;
  }
  EXPECT_FALSE(ran);
  EXPECT_EQ(weft::maxprocs(), 0);
}

TEST(environment, a_bad_width_is_refused) {
  for (const char* value : {"0", "-1", "1025", "2x", "two", " 2", "2.0", "99999999999999999999"})
    expect_refused("WEFT_MAXPROCS", value, "1024");
}

TEST(environment, a_bad_stack_size_is_refused) {
  for (const char* value : {"0", "1", "16383", "-256K", "256k", "2G", "1025M", "K", "18446744073709551615K"})
    expect_refused("WEFT_STACK_SIZE", value, "16");
}

TEST(environment, a_bad_backend_is_refused) {
  for (const char* value : {"EPOLL", "uring", "epoll,io_uring", " epoll"})
    expect_refused("WEFT_NETPOLL", value, "io_uring");
}

TEST(environment, a_bad_debug_word_is_refused) {
  for (const char* value : {"schedtrace", "schedtrace=x", "schedtrace=-1", "nonsense=1", "schedtrace=0,,"})
    expect_refused("WEFT_DEBUG", value, "schedtrace");
}

TEST(environment, a_bad_variable_is_refused_also_where_a_member_overrides_it) {
  const with_variable set("WEFT_MAXPROCS", "many");
  EXPECT_THROW(weft::run({.maxprocs = 2}, [] {}), std::invalid_argument);
}

TEST(environment, good_values_are_obeyed_and_members_beat_them) {
  const with_variable width("WEFT_MAXPROCS", "3");
  const with_variable stack_size("WEFT_STACK_SIZE", "1M");
  const with_variable backend("WEFT_NETPOLL", "epoll");
  EXPECT_EQ(weft::run([] { return weft::maxprocs(); }), 3);
  EXPECT_EQ(weft::run({.maxprocs = 2}, [] { return weft::maxprocs(); }), 2);
}

TEST(environment, an_empty_variable_is_none) {
  const with_variable width("WEFT_MAXPROCS", "");
  const with_variable stack_size("WEFT_STACK_SIZE", "");
  const with_variable backend("WEFT_NETPOLL", "");
  const with_variable debug("WEFT_DEBUG", "");
  EXPECT_GE(weft::run([] { return weft::maxprocs(); }), 1);
}

// Refused or granted, but never silently something else.
TEST(environment, a_forced_backend_is_had_or_said_to_be_missing) {
  const with_variable backend("WEFT_NETPOLL", "io_uring");
  try {
    EXPECT_EQ(weft::run([] { return 1; }), 1);
  } catch (const std::system_error& error) {
    EXPECT_NE(std::string(error.what()).find("io_uring"), std::string::npos) << error.what();
  }
}

}  // namespace
