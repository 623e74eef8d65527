// SPDX-License-Identifier: Apache-2.0
//
// Hazard: the runtime's handler for stack overflows takes SIGSEGV away from whoever uses it (garbage collectors,
// checkpointers, managed languages). A fault that is not in a guard belongs to them, on a fiber as anywhere.
//
// Hazard: a thread inherits the signal mask of whoever starts it, and any fiber may be the one that makes the runtime
// start a thread.

#include <dirent.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <string>
#include <thread>

#include <weft/weft.hpp>

#include "tests/support/child.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/threads.hpp"

namespace {

char* page = nullptr;
std::atomic<int> faults{0};

void open_page(int, siginfo_t* info, void*) {
  if (info->si_addr != page) _exit(50);
  faults.fetch_add(1);
  mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

void close_page() {
  if (page == nullptr) page = static_cast<char*>(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(page, 4096, PROT_NONE);
}

void install() {
  struct sigaction action {};
  action.sa_sigaction = open_page;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  sigaction(SIGSEGV, &action, nullptr);
}

// 0 if `times` faults on fibers were served by the program's own handler.
int fault_on_fibers(int times) {
  faults = 0;
  weft::run([times] {
    for (int i = 0; i < times; ++i) {
      weft::spawn([] {
        close_page();
        weft_test::hop();
        *static_cast<volatile char*>(page) = 1;
      }).join();
    }
  });
  return faults.load() == times ? 0 : 1;
}

TEST(signals_of_others, a_handler_from_before_the_runtime_still_serves_its_faults) {
  const auto end = weft_test::in_child([] {
    install();
    return fault_on_fibers(10);
  });
  EXPECT_EQ(end.exit_code, 0) << end.signal << " " << end.text;
}

TEST(signals_of_others, a_handler_from_between_two_runs_still_serves_its_faults) {
  const auto end = weft_test::in_child([] {
    weft::run([] {});
    install();
    return fault_on_fibers(10);
  });
  EXPECT_EQ(end.exit_code, 0) << end.signal << " " << end.text;
}

TEST(signals_of_others, a_handler_that_replaces_the_runtimes_own_serves_its_faults) {
  const auto end = weft_test::in_child([] {
    faults = 0;
    weft::run([] {
      install();
      close_page();
      *static_cast<volatile char*>(page) = 1;
    });
    return faults.load() == 1 ? fault_on_fibers(5) : 1;
  });
  EXPECT_EQ(end.exit_code, 0) << end.signal << " " << end.text;
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(signals_of_others, without_any_a_fault_has_its_default_action) {
  const auto end = weft_test::in_child([] {
    weft::run([] {
      close_page();
      *static_cast<volatile char*>(page) = 1;
    });
    return 0;
  });
  EXPECT_TRUE(end.signal == SIGSEGV || end.exit_code > 1) << end.exit_code;  // a sanitizer reports it and exits
}
#endif

bool blocks(int signal) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, signal) == 1;
}

void block(std::initializer_list<int> signals) {
  sigset_t mask;
  sigemptyset(&mask);
  for (const int signal : signals) sigaddset(&mask, signal);
  pthread_sigmask(SIG_BLOCK, &mask, nullptr);
}

// Runs `f` in a fiber on a thread that the runtime starts because of this call, and so from the calling thread: there
// is one thread so far, which the caller keeps busy.
template <class F>
void on_a_new_thread(F f) {
  std::atomic<bool> ended{false};
  const pid_t here = weft_test::this_thread();
  auto fiber = weft::spawn([&] {
    if (weft_test::this_thread() == here) _exit(60);
    f();
    ended.store(true);
  });
  while (!ended.load()) sched_yield();
  fiber.join();
}

TEST(signal_masks, a_new_thread_has_not_the_mask_of_the_fiber_that_has_caused_it) {
  const auto end = weft_test::in_child([] {
    bool same = false;
    weft::run({.maxprocs = 2}, [&] {
      block({SIGSEGV, SIGTERM, SIGUSR1});
      on_a_new_thread([&] { same = blocks(SIGSEGV) || blocks(SIGTERM) || blocks(SIGUSR1); });
    });
    return same ? 1 : 0;
  });
  EXPECT_EQ(end.exit_code, 0) << end.signal << " " << end.text;
}

TEST(signal_masks, a_new_thread_has_not_the_mask_of_the_plain_thread_that_has_caused_it) {
  const auto end = weft_test::in_child([] {
    bool same = false;
    weft::run({.maxprocs = 2}, [&] {
      std::thread([&] {
        block({SIGSEGV, SIGTERM, SIGUSR1});
        weft::spawn([&] { same = blocks(SIGSEGV) || blocks(SIGTERM) || blocks(SIGUSR1); }).join();
      }).join();  // blocks the only thread that there is
    });
    return same ? 1 : 0;
  });
  EXPECT_EQ(end.exit_code, 0) << end.signal << " " << end.text;
}

TEST(signal_masks, what_the_caller_of_run_blocks_is_blocked_in_every_fiber_but_for_faults) {
  const auto end = weft_test::in_child([] {
    block({SIGSEGV, SIGUSR1});
    bool good = true;
    weft::run({.maxprocs = 2}, [&] {
      good = good && blocks(SIGUSR1) && !blocks(SIGSEGV);
      on_a_new_thread([&] { good = good && blocks(SIGUSR1) && !blocks(SIGSEGV); });
      block({SIGUSR2});
    });
    return good && blocks(SIGUSR1) && blocks(SIGSEGV) && !blocks(SIGUSR2) ? 0 : 1;
  });
  EXPECT_EQ(end.exit_code, 0) << end.signal << " " << end.text;
}

// Nobody but the runtime's own threads is there to take it.
TEST(signal_masks, a_signal_that_one_fiber_blocks_reaches_the_process) {
  const auto end = weft_test::in_child([] {
    struct sigaction action {};
    action.sa_handler = [](int) { faults.fetch_add(1); };
    sigaction(SIGTERM, &action, nullptr);
    weft::run({.maxprocs = 2}, [&] {
      block({SIGTERM});
      on_a_new_thread([] {
        kill(getpid(), SIGTERM);
        while (faults.load() == 0) sched_yield();
      });
    });
    return 0;
  });
  EXPECT_EQ(end.exit_code, 0) << end.signal << " " << end.text;
}

std::optional<std::uint64_t> blocked_by_thread_called(const std::string& name) {
  std::optional<std::uint64_t> mask;
  DIR* const tasks = opendir("/proc/self/task");
  while (const dirent* const entry = readdir(tasks)) {
    std::ifstream status(std::string("/proc/self/task/") + entry->d_name + "/status");
    std::string line;
    if (!std::getline(status, line) || line != "Name:\t" + name) continue;
    while (std::getline(status, line))
      if (line.starts_with("SigBlk:")) mask = std::stoull(line.substr(7), nullptr, 16);
  }
  closedir(tasks);
  return mask;
}

TEST(signal_masks, the_monitor_takes_no_signals_but_those_of_its_own_faults) {
  const auto end = weft_test::in_child([] {
    weft::run([] {
      const auto bit = [](int signal) { return std::uint64_t{1} << (signal - 1); };
      std::optional<std::uint64_t> found;
      while (!found) found = blocked_by_thread_called("weft-monitor");  // it sets its mask, then its name
      const std::uint64_t mask = *found;
      for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGPROF, SIGQUIT})
        if ((mask & bit(signal)) == 0) _exit(signal);
      for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL})
        if ((mask & bit(signal)) != 0) _exit(100 + signal);
    });
    return 0;
  });
  EXPECT_EQ(end.exit_code, 0) << end.signal << " " << end.text;
}

TEST(signal_masks, the_monitor_takes_what_a_channel_wants_and_the_caller_of_run_blocks) {
  if (weft_test::has_thread_sanitizer) GTEST_SKIP() << "the sanitizer holds signals back from a thread that sleeps";
  const auto end = weft_test::in_child([] {
    block({SIGTERM, SIGUSR1});
    weft::run([] {
      const auto wanted = weft::signals({SIGTERM});
      kill(getpid(), SIGTERM);
      wanted.recv();
      const auto bit = [](int signal) { return std::uint64_t{1} << (signal - 1); };
      std::optional<std::uint64_t> found;
      while (!found || (*found & bit(SIGTERM)) != 0) found = blocked_by_thread_called("weft-monitor");
      if ((*found & bit(SIGUSR1)) == 0) _exit(1);
      if (blocks(SIGTERM) || !blocks(SIGUSR1)) _exit(2);
    });
    return blocks(SIGTERM) && blocks(SIGUSR1) ? 0 : 3;
  });
  EXPECT_EQ(end.exit_code, 0) << end.signal << " " << end.text;
}

[[gnu::noinline]] int overflow(int depth) {
  volatile char room[512];
  room[0] = static_cast<char>(depth);
  return depth < 0 ? 0 : overflow(depth + 1) + room[0];
}

TEST(signal_masks, an_overflow_is_reported_also_where_the_fault_was_blocked_when_the_thread_began) {
  if (weft_test::has_address_sanitizer || weft_test::has_thread_sanitizer) GTEST_SKIP() << "they report faults";
  const auto end = weft_test::in_child([] {
    block({SIGSEGV, SIGBUS});
    weft::run({.maxprocs = 2}, [] {
      block({SIGSEGV, SIGBUS});
      on_a_new_thread([] { overflow(0); });
    });
    return 0;
  });
  EXPECT_EQ(end.signal, SIGSEGV) << end.exit_code;
  EXPECT_NE(end.text.find("stack overflow"), std::string::npos) << end.text;
}

}  // namespace
