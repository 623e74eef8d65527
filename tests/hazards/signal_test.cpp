// SPDX-License-Identifier: Apache-2.0
//
// Hazard: the runtime's handler for stack overflows takes SIGSEGV away from whoever uses it (garbage collectors,
// checkpointers, managed languages). A fault that is not in a guard belongs to them, on a fiber as anywhere.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>

#include <weft/weft.hpp>

#include "tests/support/child.hpp"
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

}  // namespace
