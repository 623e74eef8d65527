// SPDX-License-Identifier: Apache-2.0
//
// A buffer that reaches into the guard of a fiber's stack: the kernel only says EFAULT, the process ends in the report
// of an overflow. Other bad addresses are the caller's to hear of.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <functional>
#include <span>
#include <system_error>

#include <weft/file.hpp>

#include "runtime/fiber/stack.hpp"
#include "runtime/sched/scheduler.hpp"
#include "tests/netpoll/loopback.hpp"
#include "tests/support/scratch_file.hpp"

namespace {

using namespace weft_test;
using weft::net::tcp_stream;

constexpr const char* report = "fatal: stack overflow on fiber [0-9]+ \"deep\" \\(stack 256 KiB, fault at 0x[0-9a-f]+";

/// `size` bytes, the first of which lie in the guard of the calling fiber's stack.
std::span<char> on_the_edge(std::size_t in_guard, std::size_t size) {
  return {weft::rt::current_fiber()->stk->lo - in_guard, size};
}

/// On a fiber of that name, with a connection whose peer has written something.
void on_a_deep_fiber(const std::function<void(tcp_stream&)>& body) {
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  weft::run([&] {
    auto [ours, peers] = connected_pair();
    write_text(peers, "some text");
    weft::spawn({.name = "deep"}, [&, s = &ours] { body(*s); }).join();
  });
}

class overflow : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(overflow, of_a_buffer_to_read_into_is_reported) {
  EXPECT_EXIT(on_a_deep_fiber([](tcp_stream& s) { s.read_some(on_the_edge(16, 64)); }),
              testing::KilledBySignal(SIGSEGV), report);
}

TEST_F(overflow, of_a_buffer_to_write_from_is_reported) {
  EXPECT_EXIT(on_a_deep_fiber([](tcp_stream& s) { s.write_all(std::span<const char>(on_the_edge(1, 2))); }),
              testing::KilledBySignal(SIGSEGV), report);
}

TEST_F(overflow, of_one_piece_of_several_is_reported) {
  EXPECT_EXIT(on_a_deep_fiber([](tcp_stream& s) {
                const char fine[] = "fine";
                const std::array<std::span<const std::byte>, 2> pieces{std::as_bytes(std::span(fine)),
                                                                       std::as_bytes(on_the_edge(4096, 4096))};
                s.writev(pieces);
              }),
              testing::KilledBySignal(SIGSEGV), report);
}

/// The same with a file that holds something, opened with these flags.
void with_a_file(int flags, const std::function<void(weft::file&)>& body) {
  on_a_deep_fiber([&](tcp_stream&) {
    const scratch_file on_disk("some text");
    auto f = weft::file::open(on_disk.path(), flags);
    unlink(on_disk.path().c_str());
    body(f);
  });
}

TEST_F(overflow, of_a_buffer_for_a_file_is_reported_whoever_fills_it) {
  EXPECT_EXIT(with_a_file(O_RDONLY, [](weft::file& f) { f.read_at(0, on_the_edge(16, 64)); }),
              testing::KilledBySignal(SIGSEGV), report);
  EXPECT_EXIT(with_a_file(O_WRONLY, [](weft::file& f) { f.write_at(0, std::span<const char>(on_the_edge(1, 2))); }),
              testing::KilledBySignal(SIGSEGV), report);
  EXPECT_EXIT(  // by the engine
      with_a_file(O_WRONLY | O_SYNC, [](weft::file& f) { f.write_at(0, std::span<const char>(on_the_edge(1, 2))); }),
      testing::KilledBySignal(SIGSEGV), report);
}

TEST_F(overflow, is_not_what_another_bad_address_is) {
  on_a_deep_fiber([](tcp_stream& s) {
    constexpr std::size_t size = 4096;
    auto* const nothing = static_cast<char*>(mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(nothing, MAP_FAILED);
    std::error_code error;
    s.write_all(std::span<const char>(nothing, size), error);
    EXPECT_EQ(error, std::errc::bad_address);
    s.read_some(std::span(nothing, size), error);
    EXPECT_EQ(error, std::errc::bad_address);
    munmap(nothing, size);
  });
  with_a_file(O_RDWR | O_SYNC, [](weft::file& f) {
    constexpr std::size_t size = 4096;
    auto* const nothing = static_cast<char*>(mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(nothing, MAP_FAILED);
    std::error_code error;
    EXPECT_EQ(f.write_at(0, std::span<const char>(nothing, size), error), 0u);
    EXPECT_EQ(error, std::errc::bad_address);
    EXPECT_EQ(f.read_at(0, std::span(nothing, size), error), 0u);
    EXPECT_EQ(error, std::errc::bad_address);
    munmap(nothing, size);
  });
}

}  // namespace
