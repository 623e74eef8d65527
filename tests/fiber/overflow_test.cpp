// SPDX-License-Identifier: Apache-2.0
// What a stack overflow says, on which thread and signal stack, and that other faults reach whom they concern.
//
// Each case that ends in a fault is a death test: the child installs the handler, runs a function on a fiber's stack
// (by ucontext: the scheduler is not part of this) and dies of it.
#include "runtime/fiber/overflow.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "runtime/fiber/stack.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

volatile int recursion_limit = 1'000'000'000;  // compilers refuse what never ends
volatile std::uintptr_t bad_address = 16;      // and what never works

// By its C name in the report.
extern "C" [[gnu::noinline]] int weft_test_recurse(int depth) {
  volatile char frame[256];
  frame[depth % 256] = static_cast<char>(depth);
  const int below = depth < recursion_limit ? weft_test_recurse(depth + 1) : 0;
  return below + frame[depth % 256];
}

volatile int sink;
volatile int recursion_start = 0;  // a constant would have its own, nameless copy of the function
extern "C" [[gnu::noinline]] void weft_test_overflow() { sink = weft_test_recurse(recursion_start); }

extern "C" [[gnu::noinline]] int weft_test_large_frame(std::size_t touched) {
  volatile char frame[200 * 1024];
  frame[touched] = 1;
  return frame[touched];
}

namespace weft::rt {
namespace {

// What the scheduler knows about the owner of a stack.
struct fiber {
  std::uint64_t id;
  const char* name;
  const void* spawn_site;
};

overflow_info describe(void* owner) {
  const fiber& who = *static_cast<fiber*>(owner);
  return {.id = who.id, .name = who.name, .spawn_site = who.spawn_site};
}

stack_cache cache;
fiber parser{7, "parser", nullptr};

void prepare() {
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  init_stacks(64 * 1024);
  describe_owner = describe;
  // The exact place does not matter, only that it is in a function that has a name.
  parser.spawn_site = reinterpret_cast<const char*>(&weft_test_large_frame) + 8;
}

stack* new_stack() {
  stack* const s = bind_stack(cache, 0, 0);
  if (s == nullptr) std::abort();
  s->owner = &parser;
  return s;
}

// Runs `body` on `s`, and if it returns, goes on.
void run_on(const stack& s, std::size_t usable, void (*body)()) {
  static thread_local ucontext_t back;
  ucontext_t there;
  getcontext(&there);
  there.uc_stack.ss_sp = s.lo;
  there.uc_stack.ss_size = usable;
  there.uc_link = &back;
  makecontext(&there, body, 0);
  swapcontext(&back, &there);
}

// 20 KiB of stack, and a local 100 KiB above the end of the frame: sp lies beyond the guard, the access in it.
void overflow_by_one_frame() { sink = weft_test_large_frame(150 * 1024); }

void overflow_on_a_fiber() {
  prepare();
  give_thread_altstack();
  install_overflow_handler();
  const stack* const s = new_stack();
  run_on(*s, static_cast<std::size_t>(s->top - s->lo), weft_test_overflow);
}

void access_bad_address() { *reinterpret_cast<volatile char*>(bad_address) = 1; }

const testing::KilledBySignal by_fault(SIGSEGV);

class overflow_report : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(overflow_report, names_the_fiber_its_stack_and_the_addresses) {
  EXPECT_EXIT(overflow_on_a_fiber(), by_fault,
              "fatal: stack overflow on fiber 7 \"parser\" \\(stack 64 KiB, fault at 0x[0-9a-f]+, sp 0x[0-9a-f]+\\)\n");
}

TEST_F(overflow_report, shows_where_the_fiber_was_spawned) {
  EXPECT_EXIT(overflow_on_a_fiber(), by_fault,
              "spawned at\n    0x[0-9a-f]+ /[^\n]*\\+0x[0-9a-f]+\n(.*\n)*  names\n"
              "    0x[0-9a-f]+ weft_test_large_frame\\+0x8\n");
}

TEST_F(overflow_report, shows_the_frames_and_what_began_the_recursion) {
  EXPECT_EXIT(overflow_on_a_fiber(), by_fault,
              "innermost frames\n    0x[0-9a-f]+ /[^\n]*\\+0x[0-9a-f]+\n"
              "    0x[0-9a-f]+ /[^\n]*\\+0x[0-9a-f]+ \\([0-9]+ times\\)\n    0x[0-9a-f]+ /");
}

TEST_F(overflow_report, shows_the_names_of_functions_last) {
  EXPECT_EXIT(overflow_on_a_fiber(), by_fault,
              // Under a sanitizer the last access may be that of a function which weft_test_recurse calls.
              "  names\n(.*\n)*    0x[0-9a-f]+ weft_test_recurse\\+0x[0-9a-f]+\n"
              "    0x[0-9a-f]+ weft_test_overflow\\+0x[0-9a-f]+\n");
}

TEST_F(overflow_report, names_the_cure) {
  EXPECT_EXIT(overflow_on_a_fiber(), by_fault, "cure: a larger attrs.stack_size or options.stack_size");
}

TEST_F(overflow_report, comes_from_other_threads_too) {
  const auto on_a_thread = [] {
    prepare();
    install_overflow_handler();
    std::thread([] {
      give_thread_altstack();
      const stack* const s = new_stack();
      run_on(*s, static_cast<std::size_t>(s->top - s->lo), weft_test_overflow);
    }).join();
  };
  EXPECT_EXIT(on_a_thread(), by_fault, "fatal: stack overflow on fiber 7 \"parser\"");
}

TEST_F(overflow_report, names_the_fiber_whose_large_frame_reached_beyond_the_guard) {
  const auto by_one_frame = [] {
    prepare();
    give_thread_altstack();
    install_overflow_handler();
    new_stack();
    const stack* const s = new_stack();
    run_on(*s, 20 * 1024, overflow_by_one_frame);
  };
  EXPECT_EXIT(by_one_frame(), by_fault, "fatal: stack overflow on fiber 7 \"parser\"");
}

TEST_F(overflow_report, shows_a_name_without_its_control_characters) {
  const auto with_a_bad_name = [] {
    prepare();
    parser.name = "a\x1b[2Jb\n\xc3\xa9";
    give_thread_altstack();
    install_overflow_handler();
    const stack* const s = new_stack();
    run_on(*s, static_cast<std::size_t>(s->top - s->lo), weft_test_overflow);
  };
  EXPECT_EXIT(with_a_bad_name(), by_fault, "on fiber 7 \"a\\?\\[2Jb\\?\xc3\xa9\" \\(");
}

TEST_F(overflow_report, of_a_stack_without_an_owner_says_so) {
  const auto without_owner = [] {
    prepare();
    give_thread_altstack();
    install_overflow_handler();
    stack* const s = new_stack();
    s->owner = nullptr;
    run_on(*s, static_cast<std::size_t>(s->top - s->lo), weft_test_overflow);
  };
  EXPECT_EXIT(without_owner(), by_fault, "fatal: stack overflow on a stack that no fiber owns \\(stack 64 KiB");
}

TEST_F(overflow_report, tells_a_wild_pointer_from_an_overflow) {
  const auto from_a_thread = [] {
    prepare();
    give_thread_altstack();
    install_overflow_handler();
    *static_cast<volatile char*>(new_stack()->lo - 8) = 1;
  };
  EXPECT_EXIT(from_a_thread(), by_fault,
              "fatal: access through a wild pointer, below the stack of fiber 7 \"parser\", from a thread's own stack");
}

class other_faults : public overflow_report {};

TEST_F(other_faults, take_the_default_action_where_there_was_no_handler) {
  const auto bad_access = [] {
    prepare();
    signal(SIGSEGV, SIG_DFL);
    give_thread_altstack();
    install_overflow_handler();
    access_bad_address();
  };
  EXPECT_EXIT(bad_access(), by_fault, "^$");
}

TEST_F(other_faults, are_not_ignored_for_ever) {
  const auto bad_access = [] {
    prepare();
    signal(SIGSEGV, SIG_IGN);
    install_overflow_handler();
    access_bad_address();
  };
  EXPECT_EXIT(bad_access(), by_fault, "^$");
}

TEST_F(other_faults, reach_the_former_handler_with_their_address) {
  const auto chained = [] {
    prepare();
    struct sigaction theirs {};
    theirs.sa_flags = SA_SIGINFO;
    theirs.sa_sigaction = [](int, siginfo_t* info, void* context) {
      _exit(info->si_addr == reinterpret_cast<void*>(bad_address) && context != nullptr ? 42 : 43);
    };
    sigaction(SIGSEGV, &theirs, nullptr);
    install_overflow_handler();
    access_bad_address();
  };
  EXPECT_EXIT(chained(), testing::ExitedWithCode(42), "");
}

TEST_F(other_faults, reach_a_former_handler_of_the_old_kind_with_its_mask) {
  const auto chained = [] {
    prepare();
    struct sigaction theirs {};
    theirs.sa_handler = [](int number) {
      sigset_t blocked;
      pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
      _exit(number == SIGSEGV && sigismember(&blocked, SIGUSR1) == 1 ? 42 : 43);
    };
    sigemptyset(&theirs.sa_mask);
    sigaddset(&theirs.sa_mask, SIGUSR1);
    sigaction(SIGSEGV, &theirs, nullptr);
    install_overflow_handler();
    access_bad_address();
  };
  EXPECT_EXIT(chained(), testing::ExitedWithCode(42), "");
}

TEST_F(other_faults, on_sigbus_reach_the_former_handler_of_sigbus) {
  const auto chained = [] {
    prepare();
    signal(SIGSEGV, [](int) { _exit(43); });
    signal(SIGBUS, [](int number) { _exit(number == SIGBUS ? 42 : 44); });
    install_overflow_handler();
    // Beyond the end of a file.
    char name[] = "/tmp/weft_overflow_test_XXXXXX";
    const int file = mkstemp(name);
    unlink(name);
    void* const memory = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) _exit(45);
    sink = *static_cast<volatile char*>(memory);
  };
  EXPECT_EXIT(chained(), testing::ExitedWithCode(42), "");
}

TEST_F(other_faults, sent_by_kill_end_the_process_where_there_was_no_handler) {
  const auto killed = [] {
    prepare();
    signal(SIGSEGV, SIG_DFL);
    install_overflow_handler();
    kill(getpid(), SIGSEGV);
  };
  EXPECT_EXIT(killed(), by_fault, "^$");
}

TEST_F(other_faults, sent_by_kill_stay_ignored) {
  const auto killed = [] {
    prepare();
    signal(SIGSEGV, SIG_IGN);
    install_overflow_handler();
    kill(getpid(), SIGSEGV);
    _exit(42);
  };
  EXPECT_EXIT(killed(), testing::ExitedWithCode(42), "^$");
}

TEST_F(other_faults, may_be_left_by_siglongjmp_again_and_again) {
  const auto probing = [] {
    prepare();
    static sigjmp_buf before;
    signal(SIGSEGV, [](int) { siglongjmp(before, 1); });
    give_thread_altstack();
    install_overflow_handler();
    static volatile int survived = 0;
    for (int i = 0; i < 5; ++i) {
      if (sigsetjmp(before, 1) == 0)
        access_bad_address();
      else
        survived = survived + 1;
    }
    _exit(survived == 5 ? 42 : 43);
  };
  EXPECT_EXIT(probing(), testing::ExitedWithCode(42), "");
}

struct sigaction before_theirs {};

TEST_F(other_faults, end_where_a_handler_put_behind_ours_chains_back_to_ours) {
  const auto in_a_circle = [] {
    prepare();
    signal(SIGSEGV, SIG_DFL);
    install_overflow_handler();
    struct sigaction theirs {};
    theirs.sa_flags = SA_SIGINFO;
    theirs.sa_sigaction = [](int number, siginfo_t* info, void* context) {
      static volatile int rounds = 0;
      rounds = rounds + 1;
      if (rounds > 3) _exit(45);
      before_theirs.sa_sigaction(number, info, context);
    };
    sigaction(SIGSEGV, &theirs, &before_theirs);
    if (overflow_handler_installed()) _exit(43);
    install_overflow_handler();
    if (!overflow_handler_installed()) _exit(44);
    access_bad_address();
  };
  EXPECT_EXIT(in_a_circle(), by_fault, "^$");
}

TEST(overflow_handler, is_installed_once_and_stays) {
  install_overflow_handler();
  EXPECT_TRUE(overflow_handler_installed());
  install_overflow_handler();
  EXPECT_TRUE(overflow_handler_installed());
}

class altstack : public testing::Test {
 protected:
  void SetUp() override {
    // A thread begins without one, or with its sanitizer's.
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, &former);
  }
  void TearDown() override {
    former.ss_flags &= SS_DISABLE;
    sigaltstack(&former, nullptr);
  }

  static stack_t present() {
    stack_t now{};
    sigaltstack(nullptr, &now);
    return now;
  }

  stack_t former{};
};

TEST_F(altstack, is_given_and_taken_back) {
  ASSERT_TRUE(give_thread_altstack());
  EXPECT_EQ(present().ss_size, 64u * 1024);
  EXPECT_EQ(present().ss_flags & SS_DISABLE, 0);
  drop_thread_altstack();
  EXPECT_NE(present().ss_flags & SS_DISABLE, 0);
  drop_thread_altstack();
}

TEST_F(altstack, of_the_user_is_kept_if_it_is_large_enough) {
  std::vector<char> own(128 * 1024);
  stack_t theirs{};
  theirs.ss_sp = own.data();
  theirs.ss_size = own.size();
  ASSERT_EQ(sigaltstack(&theirs, nullptr), 0);
  ASSERT_TRUE(give_thread_altstack());
  EXPECT_EQ(present().ss_sp, own.data());
  drop_thread_altstack();
  EXPECT_EQ(present().ss_sp, own.data());
}

TEST_F(altstack, of_the_user_is_restored_if_it_was_too_small) {
  std::vector<char> own(12 * 1024);
  stack_t theirs{};
  theirs.ss_sp = own.data();
  theirs.ss_size = own.size();
  if (sigaltstack(&theirs, nullptr) != 0) GTEST_SKIP() << "this CPU's signal frame is larger than 12 KiB";
  ASSERT_TRUE(give_thread_altstack());
  EXPECT_NE(present().ss_sp, own.data());
  EXPECT_EQ(present().ss_size, 64u * 1024);
  drop_thread_altstack();
  EXPECT_EQ(present().ss_sp, own.data());
  EXPECT_EQ(present().ss_size, own.size());
}

TEST_F(altstack, put_there_later_by_the_user_is_not_taken_away) {
  ASSERT_TRUE(give_thread_altstack());
  std::vector<char> own(64 * 1024);
  stack_t theirs{};
  theirs.ss_sp = own.data();
  theirs.ss_size = own.size();
  ASSERT_EQ(sigaltstack(&theirs, nullptr), 0);
  drop_thread_altstack();
  EXPECT_EQ(present().ss_sp, own.data());
}

}  // namespace
}  // namespace weft::rt
