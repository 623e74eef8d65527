// SPDX-License-Identifier: Apache-2.0
//
// What `resolve` accepts, refuses and says about it, with every boundary value of every member and variable.
// Each test starts with none of the variables set, and leaves none set.

#include "runtime/config/options.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <climits>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>

#include <weft/options.hpp>

#include "runtime/config/cpu_width.hpp"

namespace {

using namespace std::chrono_literals;
using weft::deadlock_policy;
using weft::netpoll_backend;
using weft::options;
using weft::rt::resolve;
using weft::rt::resolved_options;

constexpr const char* all_variables[] = {"WEFT_MAXPROCS", "WEFT_STACK_SIZE", "WEFT_NETPOLL", "WEFT_DEBUG"};

class options_test : public testing::Test {
 protected:
  options_test() { unset_all(); }
  ~options_test() override { unset_all(); }

  static void unset_all() {
    for (const char* name : all_variables) unsetenv(name);
  }
};

resolved_options resolve_with(const char* name, const char* value, const options& asked = {}) {
  setenv(name, value, 1);
  return resolve(asked);
}

// The text of the invalid_argument that `asked` causes, "" if none comes.
std::string complaint(const options& asked = {}) {
  try {
    resolve(asked);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

std::string complaint_with(const char* name, const char* value, const options& asked = {}) {
  setenv(name, value, 1);
  return complaint(asked);
}

// Every text names variable and value, and says what is accepted.
void expect_refused(const char* name, const std::string& value, const std::string& accepted) {
  EXPECT_EQ(complaint_with(name, value.c_str()), std::string(name) + "=" + value + ": " + accepted);
}

const std::string width_accepted = "expected a whole number from 1 to 1024";
const std::string stack_size_accepted =
    "expected a size from 16384 bytes (16K) to 1073741824 bytes (1024M), such as 262144, 256K or 1M";
const std::string netpoll_accepted = "expected auto, epoll or io_uring";

TEST_F(options_test, defaults_are_the_documented_ones) {
  const resolved_options resolved = resolve({});
  EXPECT_EQ(resolved.maxprocs, weft::rt::cpu_width());
  EXPECT_TRUE(resolved.maxprocs_follows_machine);
  EXPECT_EQ(resolved.stack_size, 256u * 1024u);
  EXPECT_EQ(resolved.netpoll, netpoll_backend::automatic);
  EXPECT_EQ(resolved.max_threads, 10000);
  EXPECT_EQ(resolved.max_fibers, 0u);
  EXPECT_FALSE(resolved.pin_main);
  EXPECT_EQ(resolved.deadlock, deadlock_policy::automatic);
  EXPECT_EQ(resolved.shutdown_grace, 10s);
  EXPECT_EQ(resolved.debug.schedtrace_ms, 0);
  EXPECT_EQ(resolved.debug.scheddetail, 0);
}

TEST_F(options_test, members_are_designated_in_the_documented_order) {
  const resolved_options resolved = resolve({.maxprocs = 3,
                                             .stack_size = 65536,
                                             .netpoll = netpoll_backend::epoll,
                                             .max_threads = 77,
                                             .max_fibers = 5,
                                             .pin_main = true,
                                             .deadlock = deadlock_policy::fatal,
                                             .shutdown_grace = 250ms});
  EXPECT_EQ(resolved.maxprocs, 3);
  EXPECT_FALSE(resolved.maxprocs_follows_machine);
  EXPECT_EQ(resolved.stack_size, 65536u);
  EXPECT_EQ(resolved.netpoll, netpoll_backend::epoll);
  EXPECT_EQ(resolved.max_threads, 77);
  EXPECT_EQ(resolved.max_fibers, 5u);
  EXPECT_TRUE(resolved.pin_main);
  EXPECT_EQ(resolved.deadlock, deadlock_policy::fatal);
  EXPECT_EQ(resolved.shutdown_grace, 250ms);
}

TEST_F(options_test, maxprocs_member_is_1_to_1024) {
  for (const int width : {1, 2, 1023, 1024}) EXPECT_EQ(resolve({.maxprocs = width}).maxprocs, width);
  for (const int width : {-1, -1024, 1025, 99999999, INT_MAX, INT_MIN}) {
    EXPECT_EQ(complaint({.maxprocs = width}), "options::maxprocs = " + std::to_string(width) + ": " + width_accepted +
                                                  ", or 0 for what the machine grants");
  }
}

TEST_F(options_test, maxprocs_variable_is_1_to_1024) {
  EXPECT_EQ(resolve_with("WEFT_MAXPROCS", "1").maxprocs, 1);
  EXPECT_EQ(resolve_with("WEFT_MAXPROCS", "4").maxprocs, 4);
  EXPECT_EQ(resolve_with("WEFT_MAXPROCS", "004").maxprocs, 4);
  EXPECT_EQ(resolve_with("WEFT_MAXPROCS", "1023").maxprocs, 1023);
  EXPECT_EQ(resolve_with("WEFT_MAXPROCS", "1024").maxprocs, 1024);
  EXPECT_FALSE(resolve_with("WEFT_MAXPROCS", "4").maxprocs_follows_machine);
}

TEST_F(options_test, maxprocs_variable_that_is_no_width_is_refused) {
  // The last three wrap to 1 in 32, 64 and 64 bits of a careless conversion.
  for (const char* value : {"0",
                            "-1",
                            "-0",
                            "+4",
                            "1025",
                            "99999999",
                            "99999999999999999999",
                            "4 ",
                            " 4",
                            "4x",
                            "0x4",
                            "1K",
                            "4.0",
                            "4,",
                            "1e1",
                            "abc",
                            "auto",
                            " ",
                            "\t4",
                            "4294967297",
                            "18446744073709551617",
                            "-18446744073709551615"}) {
    expect_refused("WEFT_MAXPROCS", value, width_accepted);
  }
}

TEST_F(options_test, maxprocs_member_beats_the_variable) {
  const resolved_options resolved = resolve_with("WEFT_MAXPROCS", "4", {.maxprocs = 2});
  EXPECT_EQ(resolved.maxprocs, 2);
  EXPECT_FALSE(resolved.maxprocs_follows_machine);
}

TEST_F(options_test, empty_variables_count_as_unset) {
  for (const char* name : all_variables) setenv(name, "", 1);
  const resolved_options resolved = resolve({});
  EXPECT_TRUE(resolved.maxprocs_follows_machine);
  EXPECT_EQ(resolved.stack_size, weft::rt::default_stack_size);
  EXPECT_EQ(resolved.netpoll, netpoll_backend::automatic);
  EXPECT_EQ(resolved.debug.schedtrace_ms, 0);
}

TEST_F(options_test, stack_size_member_is_16_KiB_to_1_GiB) {
  constexpr std::size_t low = 16 * 1024;
  constexpr std::size_t high = 1024 * 1024 * 1024;
  for (const std::size_t bytes : {low, low + 1, std::size_t{65536}, high - 1, high}) {
    EXPECT_EQ(resolve({.stack_size = bytes}).stack_size, bytes);
  }
  for (const std::size_t bytes : {std::size_t{1}, low - 1, high + 1, SIZE_MAX}) {
    EXPECT_EQ(complaint({.stack_size = bytes}),
              "options::stack_size = " + std::to_string(bytes) + ": " + stack_size_accepted + ", or 0 for the default");
  }
}

TEST_F(options_test, stack_size_variable_takes_bytes_K_and_M) {
  const struct {
    const char* value;
    std::size_t bytes;
  } accepted[] = {
      {"262144", 262144},
      {"256K", 262144},
      {"1M", 1048576},
      {"16384", 16384},
      {"16K", 16384},
      {"16385", 16385},
      {"17K", 17408},
      {"1073741824", 1073741824},
      {"1073741823", 1073741823},
      {"1048576K", 1073741824},
      {"1048575K", 1073740800},
      {"1024M", 1073741824},
      {"1023M", 1072693248},
  };
  for (const auto& [value, bytes] : accepted) {
    EXPECT_EQ(resolve_with("WEFT_STACK_SIZE", value).stack_size, bytes) << value;
  }
}

TEST_F(options_test, stack_size_variable_out_of_range_or_malformed_is_refused) {
  // 18014398509482240K and 17592186044417M are 256 KiB and 1 MiB to whoever shifts before looking at the range.
  for (const char* value : {"0",
                            "0K",
                            "0M",
                            "1",
                            "16383",
                            "15K",
                            "1073741825",
                            "1048577K",
                            "1025M",
                            "1G",
                            "2G",
                            "99999999999999999999",
                            "18014398509482240K",
                            "17592186044417M",
                            "-1",
                            "-256K",
                            "+256K",
                            "256k",
                            "1m",
                            "256KB",
                            "256KiB",
                            "256 K",
                            "256K ",
                            " 256K",
                            "K",
                            "M",
                            "KM",
                            "1KM",
                            "1MK",
                            "0x40000",
                            "1.5M",
                            "abc",
                            " "}) {
    expect_refused("WEFT_STACK_SIZE", value, stack_size_accepted);
  }
}

TEST_F(options_test, stack_size_member_beats_the_variable) {
  EXPECT_EQ(resolve_with("WEFT_STACK_SIZE", "1M", {.stack_size = 65536}).stack_size, 65536u);
}

TEST_F(options_test, netpoll_variable_names_a_backend) {
  EXPECT_EQ(resolve_with("WEFT_NETPOLL", "auto").netpoll, netpoll_backend::automatic);
  EXPECT_EQ(resolve_with("WEFT_NETPOLL", "epoll").netpoll, netpoll_backend::epoll);
  for (const char* value :
       {"automatic", "Epoll", "epoll ", " epoll", "iouring", "io-uring", "uring", "0", "auto,epoll"}) {
    expect_refused("WEFT_NETPOLL", value, netpoll_accepted);
  }
}

// Whether it can be had is for run() to find out, and to say whose wish it was.
TEST_F(options_test, io_uring_comes_with_the_name_of_who_chose_it) {
  const resolved_options by_member = resolve({.netpoll = netpoll_backend::io_uring});
  EXPECT_EQ(by_member.netpoll, netpoll_backend::io_uring);
  EXPECT_STREQ(by_member.netpoll_source, "options::netpoll = netpoll_backend::io_uring");
  const resolved_options by_variable = resolve_with("WEFT_NETPOLL", "io_uring");
  EXPECT_EQ(by_variable.netpoll, netpoll_backend::io_uring);
  EXPECT_STREQ(by_variable.netpoll_source, "WEFT_NETPOLL=io_uring");
}

TEST_F(options_test, netpoll_member_beats_the_variable) {
  EXPECT_EQ(resolve_with("WEFT_NETPOLL", "io_uring", {.netpoll = netpoll_backend::epoll}).netpoll,
            netpoll_backend::epoll);
}

TEST_F(options_test, a_netpoll_member_without_a_name_is_refused) {
  EXPECT_EQ(complaint({.netpoll = static_cast<netpoll_backend>(3)}),
            "options::netpoll = 3: expected a named value of netpoll_backend (automatic, epoll, io_uring)");
}

// The thread that called run() is main's then, and no other fiber's.
TEST_F(options_test, max_threads_is_at_least_2_with_a_pinned_main) {
  EXPECT_EQ(resolve({.max_threads = 2, .pin_main = true}).max_threads, 2);
  EXPECT_EQ(complaint({.max_threads = 1, .pin_main = true}),
            "options::max_threads = 1: expected 2 or more with pin_main, whose thread runs main alone: one that blocks "
            "its thread would stop main, too");
}

TEST_F(options_test, max_threads_is_at_least_1) {
  EXPECT_EQ(resolve({.max_threads = 1}).max_threads, 1);
  EXPECT_EQ(resolve({.max_threads = INT_MAX}).max_threads, INT_MAX);
  for (const int count : {0, -1, INT_MIN}) {
    EXPECT_EQ(complaint({.max_threads = count}),
              "options::max_threads = " + std::to_string(count) + ": expected a whole number of 1 or more");
  }
}

TEST_F(options_test, max_fibers_is_any_number) {
  EXPECT_EQ(resolve({.max_fibers = 1}).max_fibers, 1u);
  EXPECT_EQ(resolve({.max_fibers = SIZE_MAX}).max_fibers, SIZE_MAX);
}

TEST_F(options_test, deadlock_policies_pass_through) {
  for (const deadlock_policy policy : {deadlock_policy::automatic, deadlock_policy::fatal, deadlock_policy::off}) {
    EXPECT_EQ(resolve({.deadlock = policy}).deadlock, policy);
  }
  EXPECT_EQ(complaint({.deadlock = static_cast<deadlock_policy>(-1)}),
            "options::deadlock = -1: expected a named value of deadlock_policy (automatic, fatal, off)");
}

TEST_F(options_test, shutdown_grace_is_not_negative) {
  EXPECT_EQ(resolve({.shutdown_grace = 0ns}).shutdown_grace, 0ns);
  EXPECT_EQ(resolve({.shutdown_grace = std::chrono::nanoseconds::max()}).shutdown_grace,
            std::chrono::nanoseconds::max());
  EXPECT_EQ(complaint({.shutdown_grace = -1ns}), "options::shutdown_grace = -1 ns: expected a duration of 0 or more");
}

TEST_F(options_test, debug_words_are_separated_by_commas) {
  const auto both = resolve_with("WEFT_DEBUG", "schedtrace=1000,scheddetail=1").debug;
  EXPECT_EQ(both.schedtrace_ms, 1000);
  EXPECT_EQ(both.scheddetail, 1);
  const auto turned = resolve_with("WEFT_DEBUG", "scheddetail=0,schedtrace=86400000").debug;
  EXPECT_EQ(turned.schedtrace_ms, 86400000);
  EXPECT_EQ(turned.scheddetail, 0);
  EXPECT_EQ(resolve_with("WEFT_DEBUG", "scheddetail=1").debug.schedtrace_ms, 0);
  EXPECT_EQ(resolve_with("WEFT_DEBUG", "schedtrace=0").debug.schedtrace_ms, 0);
}

TEST_F(options_test, a_debug_word_that_is_not_known_is_refused_by_name) {
  const struct {
    const char* value;
    const char* wrong;
  } refused[] = {
      {"schedtrac=1000", "schedtrac=1000"},
      {"schedtraces=1000", "schedtraces=1000"},
      {"schedtrace", "schedtrace"},
      {"schedtrace=", "schedtrace="},
      {"schedtrace=-1", "schedtrace=-1"},
      {"schedtrace=86400001", "schedtrace=86400001"},
      {"schedtrace=99999999999999999999", "schedtrace=99999999999999999999"},
      {"schedtrace=10 ", "schedtrace=10 "},
      {"schedtrace=1000,scheddetail=2", "scheddetail=2"},
      {"schedtrace=1000, scheddetail=1", " scheddetail=1"},
      {"schedtrace=1000,", ""},
      {",schedtrace=1000", ""},
      {"SCHEDTRACE=1000", "SCHEDTRACE=1000"},
      {"=1", "=1"},
      {"gctrace=1", "gctrace=1"},
      {"1", "1"},
  };
  for (const auto& [value, wrong] : refused) {
    EXPECT_EQ(complaint_with("WEFT_DEBUG", value),
              std::string("WEFT_DEBUG=") + value + ": '" + wrong +
                  "' is not known; expected, separated by commas: schedtrace=0..86400000 (milliseconds), "
                  "scheddetail=0..1, handoffs=0..1, netpoll=0..1");
  }
}

TEST_F(options_test, a_bad_variable_is_refused_even_where_a_member_overrides_it) {
  EXPECT_NE(complaint_with("WEFT_MAXPROCS", "many", {.maxprocs = 2}), "");
  unset_all();
  EXPECT_NE(complaint_with("WEFT_STACK_SIZE", "big", {.stack_size = 65536}), "");
  unset_all();
  EXPECT_NE(complaint_with("WEFT_NETPOLL", "kqueue", {.netpoll = netpoll_backend::epoll}), "");
}

TEST_F(options_test, check_width_and_check_stack_size_name_what_they_check) {
  EXPECT_EQ(weft::rt::check_width("set_maxprocs", 1), 1);
  EXPECT_EQ(weft::rt::check_width("set_maxprocs", 1024), 1024);
  EXPECT_EQ(weft::rt::check_stack_size("attrs::stack_size", 16384), 16384u);
  EXPECT_EQ(weft::rt::check_stack_size("attrs::stack_size", 1073741824), 1073741824u);
  for (const int width : {0, -1, 1025}) {
    try {
      weft::rt::check_width("set_maxprocs", width);
      ADD_FAILURE() << width;
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(error.what(), "set_maxprocs = " + std::to_string(width) + ": " + width_accepted);
    }
  }
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{16383}, std::size_t{1073741825}}) {
    try {
      weft::rt::check_stack_size("attrs::stack_size", bytes);
      ADD_FAILURE() << bytes;
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(error.what(), "attrs::stack_size = " + std::to_string(bytes) + ": " + stack_size_accepted);
    }
  }
}

}  // namespace
