// SPDX-License-Identifier: Apache-2.0
//
// Files where io_uring, or the calls that serve them, are refused: threads take its place, and the reason is said; a
// choice that was forced is refused with it.

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>
#include <vector>

#include <weft/debug.hpp>
#include <weft/file.hpp>
#include <weft/weft.hpp>

#include "netpoll/ring_engine.hpp"
#include "tests/support/child.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/scratch_file.hpp"
#include "tests/support/seccomp.hpp"

namespace {

using weft::file;
using weft::debug::file_engine;
using weft_test::child_end;
using weft_test::in_child;
using weft_test::numbered;
using weft_test::refuse;
using weft_test::require;
using weft_test::scratch_file;

[[maybe_unused]] const int no_choice = unsetenv("WEFT_NETPOLL");  // the tests make theirs

constexpr int no_filters = 77;
constexpr int no_io_uring = 78;

#define EXPECT_GOOD_END(end)                                                          \
  do {                                                                                \
    if ((end).exit_code == no_filters) GTEST_SKIP() << "no seccomp here";             \
    if ((end).exit_code == no_io_uring) GTEST_SKIP() << "no io_uring here";           \
    EXPECT_EQ((end).exit_code, 0) << "signal " << (end).signal << "\n" << (end).text; \
  } while (false)

// Reads from the cache and from the device, writes, and fsyncs, by several fibers.
void everyday_files() {
  const std::string pattern = numbered(200'000);
  const scratch_file on_disk(pattern);
  auto f = file::open(on_disk.path(), O_RDWR);
  weft::scope s;
  for (int i = 0; i < 20; ++i)
    s.go([&, i] {
      f.fsync();
      posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
      std::string room(pattern.size(), '?');
      require(f.read_at(0, std::span<char>(room)) == room.size(), "all was read");
      require(room == pattern, "and it is what was written");
      const auto at = static_cast<std::size_t>(i) * 10'000;
      require(f.write_at(at, std::string_view(pattern).substr(at, 10'000)) == 10'000, "all was written");
    });
  s.join();
  std::error_code error;
  require(!file::open("/tmp/weft-no-such-file", O_RDONLY, error), "errors are as ever");
}

// What runs in a child whose calls are refused: `expected` is who serves files then.
int with(file_engine expected) {
  setenv("WEFT_DEBUG", "netpoll=1", 1);
  weft::run([expected] {
    everyday_files();
    require(weft::debug::stats().files == expected, "the statistics say who did it");
  });
  return 0;
}

bool has_io_uring() {
  const child_end end = in_child([] {
    try {
      weft::run({.netpoll = weft::netpoll_backend::io_uring}, [] {});
    } catch (const std::system_error&) {
      return no_io_uring;
    }
    return 0;
  });
  return end.exit_code == 0;
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++n;
  return n;
}

struct refused_setup {
  std::initializer_list<weft_test::refusal> calls;
  const char* reason;
};

TEST(file_service, threads_take_the_place_of_a_ring_that_is_refused) {
  const refused_setup cases[] = {
      {{{SYS_io_uring_setup, EPERM}}, "io_uring_setup: EPERM: "},
      {{{SYS_io_uring_setup, ENOSYS}}, "io_uring_setup: ENOSYS: "},
      {{{SYS_io_uring_setup, ENOMEM}}, "io_uring_setup: ENOMEM: "},
      {{{SYS_io_uring_setup, EINVAL}}, "io_uring_setup: EINVAL: "},
      {{{SYS_io_uring_enter, EPERM}}, "io_uring_enter: error 1: a seccomp filter forbids it"},
      {{{SYS_io_uring_enter, ENOSYS}}, "io_uring_enter: error 38: a seccomp filter forbids it"},
      {{{SYS_io_uring_register, EPERM}}, "does not tell its operations"},
  };
  const bool here = has_io_uring();
  for (const refused_setup& each : cases) {
    if (!here && each.reason[9] != 's') continue;  // of the others only the first call would be met
    const child_end end = in_child([&] {
      if (!refuse(each.calls)) return no_filters;
      const int code = with(file_engine::threads);
      require(weft::debug::stats().io_uring_refused == 1, "one refusal is counted");
      return code;
    });
    EXPECT_GOOD_END(end);
    EXPECT_EQ(count(end.text, "weft: netpoll: files by threads, at most 16: "), 1u) << end.text;
    EXPECT_NE(end.text.find(each.reason), std::string::npos) << each.reason << " in: " << end.text;
  }
}

TEST(file_service, nothing_is_said_unless_asked_for) {
  const child_end end = in_child([] {
    if (!refuse({{SYS_io_uring_setup, EPERM}})) return no_filters;
    weft::run(everyday_files);
    return 0;
  });
  EXPECT_GOOD_END(end);
  EXPECT_EQ(end.text, "");
}

// The control: without a filter the ring does it.
TEST(file_service, the_ring_does_it_where_it_can_be_had) {
  if (!has_io_uring()) GTEST_SKIP() << "no io_uring here";
  const child_end end = in_child([] { return with(file_engine::io_uring); });
  EXPECT_GOOD_END(end);
  EXPECT_EQ(count(end.text, "weft: netpoll: files by io_uring ("), 1u) << end.text;
}

TEST(file_service, epoll_means_no_io_uring_call_at_all) {
  const child_end end = in_child([] {
    // A call of io_uring would end the process with a signal, were it made: here it shows as a refusal.
    if (!refuse({{SYS_io_uring_setup, EPERM}})) return no_filters;
    weft::run({.netpoll = weft::netpoll_backend::epoll}, [] {
      everyday_files();
      require(weft::debug::stats().files == file_engine::threads, "threads serve files");
    });
    require(weft::debug::stats().io_uring_refused == 0, "nobody asked for a ring");
    return 0;
  });
  EXPECT_GOOD_END(end);
}

TEST(file_service, a_forced_ring_that_is_refused_is_an_error_with_the_reason) {
  const child_end end = in_child([] {
    if (!refuse({{SYS_io_uring_setup, EPERM}})) return no_filters;
    const auto complaint = [](const weft::options& how) -> std::string {
      try {
        weft::run(how, [] {});
      } catch (const std::system_error& error) {
        require(error.code() == std::errc::operation_not_permitted, "the code is the kernel's");
        return error.what();
      }
      return "no exception";
    };
    const std::string by_member = complaint({.netpoll = weft::netpoll_backend::io_uring});
    require(by_member.starts_with("options::netpoll = netpoll_backend::io_uring: io_uring cannot be had: "
                                  "io_uring_setup: EPERM: "),
            by_member.c_str());
    setenv("WEFT_NETPOLL", "io_uring", 1);
    const std::string by_variable = complaint({});
    require(by_variable.starts_with("WEFT_NETPOLL=io_uring: io_uring cannot be had: "), by_variable.c_str());
    setenv("WEFT_NETPOLL", "auto", 1);
    return with(file_engine::threads);
  });
  EXPECT_GOOD_END(end);
}

TEST(file_service, a_limit_on_descriptors_refuses_the_ring_and_not_the_file) {
  if (weft_test::has_address_sanitizer)
    GTEST_SKIP() << "the sanitizer that comes with it needs a descriptor to look at an object's type";
  const child_end end = in_child([] {
    weft::run([] {
      const scratch_file on_disk("content");
      auto f = file::open(on_disk.path(), O_RDWR);
      const rlimit tight{static_cast<rlim_t>(f.native_handle()) + 1, static_cast<rlim_t>(f.native_handle()) + 1};
      require(setrlimit(RLIMIT_NOFILE, &tight) == 0, "the limit can be lowered");
      f.fsync();
      require(weft::debug::stats().files == file_engine::threads, "threads serve files");
      std::error_code error;
      require(!file::open(on_disk.path(), O_RDONLY, error), "nothing can be opened");
      require(error == std::errc::too_many_files_open, "and the error says so");
    });
    return 0;
  });
  EXPECT_GOOD_END(end);
}

TEST(file_service, without_rwf_nowait_the_engine_does_it) {
  for (const int error : {ENOSYS, EPERM, EOPNOTSUPP}) {
    const child_end end = in_child([error] {
      if (!refuse({{SYS_preadv2, error}, {SYS_pwritev2, error}})) return no_filters;
      weft::run(everyday_files);
      return 0;
    });
    EXPECT_GOOD_END(end);
  }
}

// RWF_NOWAIT may take a part of a record, and another append would land before the rest.
TEST(file_service, an_append_is_not_tried_at_once) {
  const child_end end = in_child([] {
    if (!refuse({{SYS_pwritev2, EIO}})) return no_filters;
    weft::run([] {
      const scratch_file on_disk("first ");
      std::error_code error;
      file::open(on_disk.path(), O_WRONLY).write_at(0, std::string_view("first "), error);
      require(error == std::errc::io_error, "others are tried so");
      for (const int sync : {0, O_DSYNC}) {
        file::open(on_disk.path(), O_WRONLY | O_APPEND | sync).write_at(0, std::string_view("next "), error);
        require(!error, error.message().c_str());
      }
      char room[64];
      auto f = file::open(on_disk.path(), O_RDONLY);
      const std::size_t n = f.read_at(0, std::span(room));
      require(std::string_view(room, n) == "first next next ", "it was appended");
    });
    return 0;
  });
  EXPECT_GOOD_END(end);
}

TEST(file_service, without_a_thread_to_be_had_the_callers_do_it) {
  const child_end end = in_child([] {
    weft::run({.maxprocs = 2}, [] {
      if (!refuse({{SYS_clone, EAGAIN}, {SYS_clone3, EAGAIN}})) _exit(no_filters);
      everyday_files();
      require(weft::debug::stats().files == file_engine::threads, "threads would serve files");
    });
    return 0;
  });
  EXPECT_GOOD_END(end);
}

// Threads of weft there are, but the kernel can make no worker: its completions say ECANCELED.
TEST(file_service, without_a_worker_to_be_had_the_callers_do_it) {
  if (!has_io_uring()) GTEST_SKIP() << "no io_uring here";
  const child_end end = in_child([] {
    weft::run({.maxprocs = 2, .netpoll = weft::netpoll_backend::io_uring}, [] {
      const scratch_file on_disk("content");
      auto f = file::open(on_disk.path(), O_RDWR);
      if (geteuid() == 0)  // whom the limit leaves alone
        require(setgid(65534) == 0 && setuid(65534) == 0, "the user can be changed");
      const rlimit none{1, 1};
      require(setrlimit(RLIMIT_NPROC, &none) == 0, "the limit can be lowered");
      std::error_code error;
      f.fsync(error);
      require(!error, error.message().c_str());
      everyday_files();
      require(weft::debug::stats().files == file_engine::io_uring, "the ring serves files");
    });
    return 0;
  });
  EXPECT_GOOD_END(end);
}

// Operations are in the kernel by then: nothing could be taken back.
TEST(file_service, a_ring_that_is_lost_under_way_ends_the_process_with_a_sentence) {
  if (!has_io_uring()) GTEST_SKIP() << "no io_uring here";
  const child_end end = in_child([] {
    weft::run([] {
      const scratch_file on_disk("content");
      auto f = file::open(on_disk.path(), O_RDWR);
      f.fsync();
      unlink(on_disk.path().c_str());
      if (!refuse({{SYS_io_uring_enter, EPERM}})) _exit(no_filters);
      f.fsync();
    });
    return 0;
  });
  if (end.exit_code == no_filters) GTEST_SKIP() << "no seccomp here";
  EXPECT_EQ(end.exit_code, 2) << "signal " << end.signal << end.text;
  EXPECT_NE(end.text.find("io_uring_enter failed"), std::string::npos) << end.text;
  EXPECT_NE(end.text.find("WEFT_NETPOLL=epoll"), std::string::npos) << end.text;
}

std::atomic<bool> drops_completions{false};

int enter_that_drops(io_uring* ring, unsigned wait_for) {
  return drops_completions.load() ? -EBADR : weft::rt::kernel_calls.enter(ring, wait_for);
}

// The same, with the reason that is so.
TEST(file_service, a_ring_that_lost_completions_ends_the_process_with_a_sentence) {
  if (!has_io_uring()) GTEST_SKIP() << "no io_uring here";
  const child_end end = in_child([] {
    weft::run([] {
      weft::rt::ring_calls calls = weft::rt::kernel_calls;
      calls.enter = enter_that_drops;
      weft::rt::ring_engine engine;
      weft::rt::ring_refusal refusal;
      require(engine.start(calls, {}, refusal), refusal.why);
      drops_completions = true;
      weft::rt::file_op of_nothing(weft::rt::file_action::sync, -1, nullptr, 0, 0);
      weft::rt::perform(engine, of_nothing);
    });
    return 0;
  });
  EXPECT_EQ(end.exit_code, 2) << "signal " << end.signal << end.text;
  EXPECT_NE(end.text.find("dropped some"), std::string::npos) << end.text;
  EXPECT_NE(end.text.find("WEFT_NETPOLL=epoll"), std::string::npos) << end.text;
}

}  // namespace
