// SPDX-License-Identifier: Apache-2.0
//
// Child processes: what they get, what is read from them, how they end, and that none is left behind.

#include <gtest/gtest.h>

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <weft/process.hpp>

#include "tests/netpoll/loopback.hpp"
#include "tests/support/child.hpp"
#include "tests/support/descriptors.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/seccomp.hpp"
#include "tests/support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using namespace weft_test;
using weft::process;
using strings = std::vector<std::string>;

/// A watchdog for each test that runs in this process.
class processes : public testing::Test {
  watchdog watchdog_{std::chrono::seconds(120)};
};
/// Each body runs in a process of its own, which has a watchdog in `in_child`.
class process_alone : public testing::Test {
 protected:
  void SetUp() override {
    if (has_thread_sanitizer) GTEST_SKIP() << "TSan starts no threads in a child of a process with threads";
  }
};

strings shell(const std::string& text) { return {"/bin/sh", "-c", text}; }

std::string read_all(weft::net::fd& from) {
  std::string all;
  std::array<char, 4096> chunk;
  while (const std::size_t n = from.read_some(chunk)) all.append(chunk.data(), n);
  return all;
}

bool has_no_children() {
  siginfo_t any{};
  return waitid(P_ALL, 0, &any, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
}

/// A child holds the writing end as long as it lives: the reading end tells that it has begun, and that it is gone.
struct sign_of_life {
  sign_of_life() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) abort();
    theirs = fcntl(ends[1], F_DUPFD, 20);  // not close-on-exec: the child has it
    close(ends[1]);
    ours = weft::net::fd(ends[0]);
  }
  /// Says so, and stays until it is killed.
  strings child() const { return shell("echo >/proc/self/fd/" + std::to_string(theirs) + "; exec sleep 1000"); }
  void until_it_has_begun() {
    EXPECT_EQ(read_text(ours, 1), "\n");
    close(theirs);
  }
  void until_it_is_gone() { EXPECT_EQ(read_all(ours), ""); }

  weft::net::fd ours;
  int theirs;
};

// --- output ---

TEST_F(processes, output_gives_both_streams_and_the_status) {
  weft::run([] {
    const auto [status, out, err] = process::output(shell("echo said; echo complained >&2; exit 3"));
    EXPECT_EQ(out, "said\n");
    EXPECT_EQ(err, "complained\n");
    EXPECT_FALSE(status);
    EXPECT_TRUE(status.exited());
    EXPECT_EQ(status.code(), 3);
    EXPECT_EQ(status.signal(), 0);
    EXPECT_EQ(status.to_string(), "exit code 3");
    EXPECT_TRUE(has_no_children());
  });
}

TEST_F(processes, output_finds_the_program_in_PATH_and_gives_it_no_input) {
  weft::run([] {
    std::error_code error;
    const auto nothing = process::output({"cat"}, error);
    EXPECT_FALSE(error);
    EXPECT_TRUE(nothing.status);
    EXPECT_EQ(nothing.out, "");
  });
}

TEST_F(processes, output_reads_both_streams_at_once) {
  weft::run([] {
    const auto much = process::output(shell("head -c 700000 /dev/zero >&2; head -c 800000 /dev/zero"));
    EXPECT_EQ(much.err.size(), 700'000u);
    EXPECT_EQ(much.out.size(), 800'000u);
    const auto other = process::output(shell("head -c 700000 /dev/zero; head -c 800000 /dev/zero >&2"));
    EXPECT_EQ(other.out.size(), 700'000u);
    EXPECT_EQ(other.err.size(), 800'000u);
  });
}

TEST_F(processes, output_that_is_cancelled_kills_the_child) {
  weft::run([] {
    sign_of_life sign;
    weft::cancel_scope stop;
    auto caller = weft::spawn([&] { return stop.run([&] { (void)process::output(sign.child()); }); });
    sign.until_it_has_begun();
    stop.cancel();
    EXPECT_FALSE(caller.join());
    sign.until_it_is_gone();
    EXPECT_TRUE(has_no_children());
  });
}

TEST_F(processes, output_that_is_cancelled_says_so_in_its_code_and_leaves_an_error_to_the_scope) {
  weft::run([] {
    sign_of_life sign;
    std::error_code error;
    std::string message;
    try {
      weft::scope s;
      s.go([&] {
        sign.until_it_has_begun();
        throw std::runtime_error("a sibling has failed");
      });
      static_cast<void>(process::output(sign.child(), error));
      weft::yield();
    } catch (const std::runtime_error& failure) {
      message = failure.what();
    }
    EXPECT_EQ(error, std::errc::operation_canceled);
    EXPECT_EQ(message, "a sibling has failed");
    sign.until_it_is_gone();
    EXPECT_TRUE(has_no_children());
  });
}

TEST_F(processes, output_waits_for_whoever_holds_the_pipe_and_a_time_limit_ends_that) {
  weft::run([] {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const int held = fcntl(ends[0], F_DUPFD, 20);  // the grandchild lives until the other end is closed
    EXPECT_THROW(
        weft::with_timeout(
            50ms,
            [&] { (void)process::output(shell("cat </proc/self/fd/" + std::to_string(held) + " & echo started")); }),
        weft::timed_out);
    EXPECT_TRUE(has_no_children());
    for (const int each : {ends[0], ends[1], held}) close(each);
  });
}

// --- streams ---

TEST_F(processes, are_fed_and_read_through_pipes) {
  weft::run([] {
    auto sort = process::start({"sort"}, {.in = process::pipe, .out = process::pipe});
    write_text(sort.in(), "b\na\n");
    sort.in().close();
    EXPECT_EQ(read_all(sort.out()), "a\nb\n");
    EXPECT_TRUE(sort.wait());
  });
}

TEST_F(processes, write_where_a_descriptor_says) {
  weft::run([] {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    weft::net::fd both(ends[0]);
    auto child = process::start(shell("echo one; echo two >&2"), {.out = ends[1], .err = ends[1]});
    EXPECT_TRUE(child.wait());
    close(ends[1]);
    EXPECT_EQ(read_all(both), "one\ntwo\n");
    EXPECT_TRUE(process::start(shell("echo lost; echo lost >&2; ! read line"),
                               {.in = process::null, .out = process::null, .err = process::null})
                    .wait());
  });
}

TEST_F(processes, that_have_no_pipe_say_so) {
  weft::run([] {
    auto child = process::start({"true"}, {.in = process::null});
    EXPECT_EQ(code_of([&] { static_cast<void>(child.out()); }), std::errc::bad_file_descriptor);
    EXPECT_NE(message_of([&] { static_cast<void>(child.out()); }).find(".out = process::pipe"), std::string::npos);
    std::error_code error;
    EXPECT_FALSE(child.in(error));
    EXPECT_EQ(error, std::errc::bad_file_descriptor);
    process none;
    EXPECT_EQ(code_of([&] { static_cast<void>(none.err()); }), std::errc::no_such_process);
    EXPECT_EQ(code_of([&] { none.wait(); }), std::errc::no_such_process);
    EXPECT_EQ(code_of([&] { none.kill(SIGTERM); }), std::errc::no_such_process);
    EXPECT_EQ(none.pid(), -1);
    EXPECT_TRUE(child.wait());
  });
}

/// O_NONBLOCK of the child's three streams, as it sees them.
std::string flags_of_streams(const weft::process_options& how) {
  auto child = process::start(shell("cat /proc/$$/fdinfo/0 /proc/$$/fdinfo/1 /proc/$$/fdinfo/2 | grep flags"), how);
  return read_all(child.out());
}

TEST_F(processes, have_streams_that_block) {
  weft::run([] {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    weft::net::fd reader(ends[0]), writer(ends[1]);  // non-blocking, as every object's
    const std::string flags =
        flags_of_streams({.in = process::pipe, .out = process::pipe, .err = writer.native_handle()});
    std::istringstream lines(flags);
    int count = 0;
    for (std::string word; lines >> word;) {
      if (word == "flags:") continue;
      EXPECT_EQ(std::stoul(word, nullptr, 8) & O_NONBLOCK, 0u) << flags;
      ++count;
    }
    EXPECT_EQ(count, 3) << flags;
    auto parked = weft::spawn([&] { return read_text(reader, 4); });  // the object waits as before
    until_waiting(1);
    write_text(writer, "here");
    EXPECT_EQ(parked.join(), "here");
  });
}

TEST_F(process_alone, streams_that_change_places_arrive_where_they_should) {
  const child_end end = in_child([] {
    const auto put_at = [](int number, int target) {
      require(dup2(number, target) == target, "dup2");
      close(number);
    };
    int from[2], to[2];
    require(pipe(from) == 0 && pipe(to) == 0, "pipes");
    const int mine = fcntl(to[0], F_DUPFD_CLOEXEC, 30), feed = fcntl(from[1], F_DUPFD_CLOEXEC, 30);
    put_at(from[0], 1);
    put_at(to[1], 0);
    close(to[0]);
    close(from[1]);
    require(write(feed, "swapped", 7) == 7, "written");
    close(feed);
    weft::run([&] {
      require(static_cast<bool>(process::start({"cat"}, {.in = 1, .out = 0}).wait()), "cat is well");
      close(0);
      weft::net::fd arrived(mine);
      require(read_all(arrived) == "swapped", "its input is our 1, its output our 0");
    });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

TEST_F(process_alone, a_number_means_this_process_s_file) {
  const child_end end = in_child([] {
    int ends[2];
    require(pipe2(ends, O_CLOEXEC) == 0 && dup2(ends[1], 1) == 1, "our output is a pipe");
    close(ends[1]);
    weft::run([&] {
      auto child = process::start(shell("echo out; echo err >&2"), {.out = process::pipe, .err = 1});
      require(read_all(child.out()) == "out\n", "what it says");
      require(static_cast<bool>(child.wait()), "it is well");
      close(1);
      weft::net::fd output(ends[0]);
      require(read_all(output) == "err\n", "what it complains goes to our output");
    });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

TEST_F(process_alone, have_their_pipes_also_where_this_process_has_no_streams) {
  for (const int closed : {0, 1}) {
    const child_end end = in_child([closed] {
      close(0);
      close(closed);  // pipes of ours get these numbers
      weft::run([] {
        auto cat = process::start(shell("cat; cat >&2 <&-; echo end >&2"),
                                  {.in = process::pipe, .out = process::pipe, .err = process::pipe});
        write_text(cat.in(), "through");
        cat.in().close();
        require(read_all(cat.out()) == "through", "out");
        require(read_all(cat.err()).ends_with("end\n"), "err");
        require(static_cast<bool>(cat.wait()), "it is well");
        require(process::output(shell("echo a; echo b >&2")).err == "b\n", "output");
      });
      return 7;
    });
    EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
  }
}

// --- what a child inherits ---

TEST_F(processes, get_no_descriptor_of_ours) {
  weft::run([] {
    auto listener = weft::net::listen("127.0.0.1:0");
    auto other = process::start({"cat"}, {.in = process::pipe, .out = process::pipe, .err = process::pipe});
    std::set<std::string> passed;
    for (int number = 0; number < 1024; ++number) {
      const int flags = fcntl(number, F_GETFD);
      if (flags >= 0 && (flags & FD_CLOEXEC) == 0) passed.insert(std::to_string(number));
    }
    for (const char* stream : {"0", "1", "2"}) passed.insert(stream);
    // Those of the shell: `ls` has one more of its own.
    std::istringstream found(process::output(shell("ls /proc/$$/fd; true")).out);
    int count = 0;
    for (std::string number; found >> number; ++count) EXPECT_TRUE(passed.contains(number)) << number;
    EXPECT_GE(count, 3);
  });
}

std::uint64_t signals_in(const std::string& status, const std::string& which) {
  const std::size_t at = status.find(which);
  return at == std::string::npos ? ~std::uint64_t{0} : std::stoull(status.substr(at + which.size()), nullptr, 16);
}

TEST_F(process_alone, block_no_signal_and_have_default_actions) {
  const child_end end = in_child([] {
    const auto bit = [](int number) { return std::uint64_t{1} << (number - 1); };
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);  // the program's own choice
    sigset_t some;
    sigemptyset(&some);
    sigaddset(&some, SIGUSR1);
    sigaddset(&some, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &some, nullptr);
    weft::run([&] {
      const auto held = weft::signals({SIGTERM, SIGHUP});
      pthread_sigmask(SIG_BLOCK, &some, nullptr);
      const std::string status = process::output({"cat", "/proc/self/status"}).out;
      require(signals_in(status, "SigBlk:") == 0, "none is blocked");
      require(signals_in(status, "SigCgt:") == 0, "none is caught");
      const std::uint64_t ignored = signals_in(status, "SigIgn:");
      require((ignored & (bit(SIGPIPE) | bit(SIGTERM) | bit(SIGHUP))) == 0, "these are not ignored");
      require((ignored & bit(SIGUSR2)) != 0, "what the program ignores is");
      require(process::output(shell("kill -TERM $$; echo alive")).status.signal() == SIGTERM, "SIGTERM ends it");
    });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

TEST_F(processes, sleep_no_more_exactly_than_others) {
  weft::run([] {  // threads that run fibers have a slack of 1 ns
    const auto slack = process::output({"cat", "/proc/self/timerslack_ns"});
    if (!slack.status) GTEST_SKIP() << "/proc/self/timerslack_ns cannot be read";
    EXPECT_EQ(slack.out, "50000\n");
  });
}

TEST_F(processes, have_the_environment_that_they_are_given) {
  weft::run([] {
    setenv("WEFT_PROCESS_TEST", "inherited", 1);
    EXPECT_EQ(process::output(shell("echo $WEFT_PROCESS_TEST")).out, "inherited\n");
    EXPECT_EQ(process::output({"env"}, {.env = {"A=b", "C="}}).out, "A=b\nC=\n");
    EXPECT_EQ(process::output({"env"}, {.env = strings{}}).out, "");  // replaced by nothing
    EXPECT_NE(process::output({"env"}, {.env = {}}).out, "");         // not replaced
    const strings variables{"A=1"};
    auto child = process::start({"env"}, {.out = process::pipe, .env = variables});
    EXPECT_EQ(read_all(child.out()), "A=1\n");
    unsetenv("WEFT_PROCESS_TEST");
  });
}

TEST_F(processes, start_in_the_folder_that_they_are_given) {
  char folder[] = "/tmp/weft-process-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string script = std::string(folder) + "/here";
  std::ofstream(script) << "#!/bin/sh\npwd -P\n";
  chmod(script.c_str(), 0755);
  weft::run([&] {
    EXPECT_EQ(process::output({"/bin/pwd", "-P"}, {.dir = folder}).out, std::string(folder) + "\n");
    EXPECT_EQ(process::output({"./here"}, {.dir = folder}).out, std::string(folder) + "\n");  // counts from there
  });
  unlink(script.c_str());
  rmdir(folder);
}

// --- their end ---

TEST_F(processes, are_waited_for_by_many_at_once_and_again) {
  weft::run([] {
    auto cat = process::start({"cat"}, {.in = process::pipe});
    std::array<weft::process_status, 10> seen;
    weft::scope s;
    for (auto& each : seen) s.go([&] { each = cat.wait(); });
    until_waiting(seen.size());
    cat.in().close();
    s.join();
    std::error_code error;
    for (const auto& each : seen) EXPECT_TRUE(each);
    EXPECT_EQ(cat.wait(), seen[0]);
    EXPECT_EQ(cat.wait(error), seen[0]);
    EXPECT_FALSE(error);
    EXPECT_TRUE(has_no_children());
  });
}

TEST_F(processes, live_on_when_a_wait_is_cancelled) {
  weft::run([] {
    auto cat = process::start({"cat"}, {.in = process::pipe, .out = process::pipe});
    EXPECT_THROW(weft::with_timeout(1ms, [&] { cat.wait(); }), weft::timed_out);
    weft::cancel_scope stop;
    std::error_code error;
    auto waiter = weft::spawn([&] { stop.run([&] { cat.wait(error); }); });
    auto patient = weft::spawn([&] { return cat.wait(); });
    until_waiting(2);
    stop.cancel();
    waiter.join();
    EXPECT_EQ(error, std::errc::operation_canceled);
    write_text(cat.in(), "still here");
    EXPECT_EQ(read_text(cat.out(), 10), "still here");
    cat.in().close();
    EXPECT_TRUE(patient.join());
    EXPECT_TRUE(cat.wait());
  });
}

TEST_F(processes, are_not_started_by_a_caller_who_is_late) {
  weft::run([] {
    EXPECT_THROW(weft::with_timeout(0ms, [] { (void)process::start({"true"}); }), weft::timed_out);
    weft::cancel_scope stop;
    stop.cancel();
    std::error_code error;
    stop.run([&] { EXPECT_FALSE(process::start({"true"}, error)); });
    EXPECT_EQ(error, std::errc::operation_canceled);
    EXPECT_TRUE(has_no_children());
  });
}

TEST_F(processes, hear_signals_until_they_have_ended) {
  weft::run([] {
    sign_of_life sign;
    auto child = process::start(sign.child());
    sign.until_it_has_begun();
    EXPECT_EQ(code_of([&] { child.kill(1000); }), std::errc::invalid_argument);
    EXPECT_EQ(code_of([&] { child.kill(-1); }), std::errc::invalid_argument);
    EXPECT_NE(message_of([&] { child.kill(1000); }).find("signal 1000 to \"/bin/sh\""), std::string::npos);
    child.kill(0);
    child.kill(SIGTERM);
    const auto status = child.wait();
    EXPECT_FALSE(status);
    EXPECT_FALSE(status.exited());
    EXPECT_EQ(status.code(), -1);
    EXPECT_EQ(status.signal(), SIGTERM);
    EXPECT_EQ(status.to_string(), "signal 15 (SIGTERM)");
    child.kill(SIGKILL);  // nobody
    std::error_code error;
    child.kill(SIGKILL, error);
    EXPECT_FALSE(error);
    EXPECT_EQ(child.wait(), status);
  });
}

TEST_F(processes, end_with_their_object) {
  weft::run([] {
    sign_of_life first, second, third;
    {
      auto child = process::start(first.child());
      first.until_it_has_begun();
    }
    first.until_it_is_gone();
    auto child = process::start(second.child());
    second.until_it_has_begun();
    child = process::start(third.child());  // the former goes
    second.until_it_is_gone();
    third.until_it_has_begun();
    auto moved = std::move(child);
    EXPECT_FALSE(child);
    EXPECT_GT(moved.pid(), 0);
    moved = process();
    third.until_it_is_gone();
    EXPECT_TRUE(has_no_children());
  });
}

TEST_F(processes, end_with_their_object_in_a_fiber_that_is_cancelled) {
  weft::run([] {
    sign_of_life sign;
    weft::cancel_scope stop;
    auto owner = weft::spawn([&] {
      return stop.run([&] {
        auto child = process::start(sign.child());
        child.wait();
      });
    });
    sign.until_it_has_begun();
    stop.cancel();
    EXPECT_FALSE(owner.join());
    sign.until_it_is_gone();
    EXPECT_TRUE(has_no_children());
  });
}

TEST_F(processes, end_with_their_object_after_the_run) {
  process child = weft::run([] { return process::start({"sleep", "1000"}); });
  EXPECT_FALSE(has_no_children());
  child = process();
  EXPECT_TRUE(has_no_children());
  EXPECT_THROW((void)process::start({"true"}), std::logic_error);
  EXPECT_THROW((void)process::output({"true"}), std::logic_error);
}

TEST_F(processes, serve_plain_threads) {
  weft::run([] {
    std::thread([] {
      EXPECT_EQ(process::output(shell("echo out; echo err >&2")).err, "err\n");
      auto cat = process::start({"cat"}, {.in = process::pipe, .out = process::pipe});
      write_text(cat.in(), "x");
      EXPECT_EQ(read_text(cat.out(), 1), "x");
      cat.kill(SIGKILL);
      EXPECT_EQ(cat.wait().signal(), SIGKILL);
      auto killed = process::start({"sleep", "1000"});
    }).join();
    EXPECT_TRUE(has_no_children());
  });
}

TEST_F(processes, many_start_and_end_beside_each_other) {
  weft::run([] {
    weft::scope s({.limit = 100});
    std::atomic<int> well{0};
    for (int i = 0; i < 200; ++i)
      s.go([&] {
        if (process::output({"echo", "-n", "x"}).out == "x") ++well;
      });
    s.join();
    EXPECT_EQ(well, 200);
    EXPECT_TRUE(has_no_children());
  });
}

TEST_F(processes, in_line_to_start_are_cancelled_and_the_line_goes_on) {
  weft::run([] {
    weft::cancel_scope stop;
    std::atomic<int> started{0}, cancelled{0};
    weft::scope s;
    for (int i = 0; i < 50; ++i)
      s.go([&] {
        stop.run([&] {
          std::error_code error;
          const auto child = process::start({"true"}, error);
          ++(child ? started : cancelled);
          EXPECT_TRUE(child || error == std::errc::operation_canceled) << error.message();
          if (child) stop.cancel();
        });
      });
    s.join();
    EXPECT_EQ(started + cancelled, 50);
    EXPECT_GE(cancelled, 1);
    EXPECT_EQ(process::output({"echo", "-n", "fine"}).out, "fine");
    EXPECT_TRUE(has_no_children());
  });
}

// --- errors ---

template <class F>
void expect_error(std::errc code, const char* named, F start) {
  EXPECT_EQ(code_of([&] { start(nullptr); }), code) << named;
  EXPECT_NE(message_of([&] { start(nullptr); }).find(named), std::string::npos) << message_of([&] { start(nullptr); });
  std::error_code error;
  start(&error);
  EXPECT_EQ(error, code) << named;
}

void expect_refused(std::errc code, const char* named, const strings& argv, const weft::process_options& how = {}) {
  expect_error(code, named, [&](std::error_code* error) {
    if (error == nullptr) {
      (void)process::start(argv, how);
    } else {
      EXPECT_FALSE(process::start(argv, how, *error));
    }
  });
  if (how.in.what() != process::inherit.what()) return;
  expect_error(code, named, [&](std::error_code* error) {
    if (error == nullptr)
      (void)process::output(argv, {.dir = how.dir, .env = how.env});
    else
      (void)process::output(argv, {.dir = how.dir, .env = how.env}, *error);
  });
}

TEST_F(processes, that_cannot_be_started_say_why_and_leave_nothing) {
  weft::run([] {
    static_cast<void>(process::output({"true"}));  // whatever is opened once
    const auto before = open_descriptors();
    const std::string nul("a\0b", 3);
    expect_refused(std::errc::invalid_argument, "no arguments", {});
    expect_refused(std::errc::invalid_argument, "argument 1 has a NUL", {"true", nul});
    expect_refused(std::errc::invalid_argument, "folder has a NUL", {"true"}, {.dir = nul});
    expect_refused(std::errc::invalid_argument, "\"novalue\"", {"true"}, {.env = {"A=b", "novalue"}});
    expect_refused(std::errc::no_such_file_or_directory, "\"weft-no-such\": no folder of PATH has it",
                   {"weft-no-such", "x"});
    expect_refused(std::errc::no_such_file_or_directory, "\"/no/such\": there is no such file", {"/no/such"});
    expect_refused(std::errc::no_such_file_or_directory, "in \"/no/folder\"", {"true"}, {.dir = "/no/folder"});
    expect_refused(std::errc::not_a_directory, "in \"/etc/passwd\"", {"true"}, {.dir = "/etc/passwd"});
    expect_refused(std::errc::permission_denied, "\"/etc/passwd\": it may not be executed", {"/etc/passwd"});
    expect_refused(std::errc::argument_list_too_long, "too long", {"true", std::string(10'000'000, 'x')});
    expect_refused(std::errc::bad_file_descriptor, "standard input is to be descriptor 1000000", {"true"},
                   {.in = 1'000'000, .out = process::pipe});
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_TRUE(has_no_children());
  });
}

TEST_F(process_alone, are_refused_where_descriptors_run_out_and_nothing_is_left_open) {
  const child_end end = in_child([] {
    weft::run([] {
      static_cast<void>(process::output({"true"}));
      const auto before = open_descriptors();
      for (rlim_t limit = before.size() + 1; limit < before.size() + 12; ++limit) {
        const rlimit few{limit, 1024};
        require(setrlimit(RLIMIT_NOFILE, &few) == 0, "the limit");
        std::error_code error;
        {
          auto child =
              process::start({"cat"}, {.in = process::pipe, .out = process::pipe, .err = process::pipe}, error);
          require(error || static_cast<bool>(child), "one of both");
          require(!error || error == std::errc::too_many_files_open, "named");
          if (error && limit == before.size() + 1) {
            const auto message = message_of([] {
              (void)process::start({"cat"}, {.in = process::pipe, .out = process::pipe, .err = process::pipe});
            });
            require(message.find("ulimit -n") != std::string::npos, message.c_str());
          }
        }
        const rlimit many{1024, 1024};
        require(setrlimit(RLIMIT_NOFILE, &many) == 0, "the limit");
        require(open_descriptors() == before, "nothing is left open");
        require(has_no_children(), "no child is left");
      }
    });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

// --- where the system has no pidfd, or others reap ---

void start_wait_and_kill() {
  require(process::output(shell("echo hello; exit 5")).status.code() == 5, "its code");
  auto cat = process::start({"cat"}, {.in = process::pipe});
  {
    weft::scope s;
    for (int i = 0; i < 3; ++i) s.go([&] { require(cat.wait().signal() == SIGTERM, "by the signal"); });
    until_waiting(3);
    cat.kill(SIGTERM);
    s.join();
  }
  cat.kill(SIGKILL);
  require(cat.wait().signal() == SIGTERM, "as before");
  { auto killed = process::start({"sleep", "1000"}); }
  require(has_no_children(), "no child is left");
}

TEST_F(process_alone, are_waited_for_by_threads_where_there_is_no_pidfd) {
  for (const int error : {ENOSYS, EPERM}) {
    const child_end end = in_child([error] {
      if (!refuse({{SYS_pidfd_open, error}})) return 8;
      weft::run(start_wait_and_kill);
      return 7;
    });
    if (end.exit_code == 8) GTEST_SKIP() << "no filters of system calls here";
    EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
  }
}

/// A child that somebody else has reaped: its status, or a sentence.
void expect_an_answer() {
  auto cat = process::start({"cat"}, {.in = process::pipe});
  auto waiter = weft::spawn([&] { return code_of([&] { require(cat.wait().code() == 0, "if there is one"); }); });
  until_waiting(1);
  cat.in().close();
  const std::error_code error = waiter.join();
  require(!error || error == std::errc::no_child_process, "told");
  if (error)
    require(message_of([&] { cat.wait(); }).find("SIGCHLD") != std::string::npos, "and why");
  else
    require(static_cast<bool>(cat.wait()), "again");
  cat.kill(SIGKILL);
  auto killed = process::start({"cat"}, {.in = process::pipe});
}

TEST_F(process_alone, that_others_reap_end_with_a_status_or_a_sentence) {
  const child_end ignored = in_child([] {
    signal(SIGCHLD, SIG_IGN);
    weft::run(expect_an_answer);
    return 7;
  });
  EXPECT_EQ(ignored.exit_code, 7) << ignored.signal << ignored.text;
  const child_end handled = in_child([] {
    signal(SIGCHLD, [](int) {
      const int interrupted = errno;
      while (waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      errno = interrupted;
    });
    weft::run(expect_an_answer);
    return 7;
  });
  EXPECT_EQ(handled.exit_code, 7) << handled.signal << handled.text;
}

TEST_F(process_alone, are_left_alone_by_a_forked_child_that_has_a_copy) {
  const child_end end = in_child([] {
    weft::run([] {
      auto cat = process::start({"cat"}, {.in = process::pipe, .out = process::pipe});
      const pid_t forked = fork();
      if (forked == 0) {
        std::error_code error;
        cat.kill(SIGKILL, error);
        if (error != std::errc::no_child_process) _exit(1);
        cat.wait(error);
        if (error != std::errc::no_child_process) _exit(2);
        cat = process();
        _exit(0);
      }
      int status = -1;
      waitpid(forked, &status, 0);
      require(status == 0, "the copy did nothing");
      write_text(cat.in(), "alive");
      require(read_text(cat.out(), 5) == "alive", "it is");
      cat.in().close();
      require(static_cast<bool>(cat.wait()), "it is well");
    });
    return 7;
  });
  EXPECT_EQ(end.exit_code, 7) << end.signal << end.text;
}

}  // namespace
