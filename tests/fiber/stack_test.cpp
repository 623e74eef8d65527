// SPDX-License-Identifier: Apache-2.0
// Stacks: guards, addresses, pools, and what happens where the kernel or a limit says no.
//
// Cases that need a process of their own (a seccomp filter, a limit, mlockall, a fault) run as death tests; those that
// need the guard mode probed afresh are in the suite `fresh_process`, whose tests do nothing before the statement that
// the child executes.
#include "runtime/fiber/stack.hpp"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <latch>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

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

namespace weft::rt {
namespace {

constexpr std::size_t kib = 1024;

// A child that faults on purpose: without a sanitizer's report, without a core file.
void die_plainly() {
  signal(SIGSEGV, SIG_DFL);
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
}

void write_byte(char* address) { *static_cast<volatile char*>(address) = 1; }

bool faults(char* address) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return false;
  const char byte = 1;
  const bool written = write(ends[1], &byte, 1) == 1;
  const bool refused = read(ends[0], address, 1) < 0 && errno == EFAULT;
  close(ends[0]);
  close(ends[1]);
  return written && refused;
}

std::size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<std::size_t>(
      std::count(std::istreambuf_iterator<char>(maps), std::istreambuf_iterator<char>(), '\n'));
}

std::size_t locked_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::size_t amount = 0;
    if (word == "VmLck:" && status >> amount) return amount * kib;
  }
  return 0;
}

std::size_t resident_pages(const stack& s) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> present(s.size / page);
  EXPECT_EQ(mincore(s.lo, s.size, present.data()), 0);
  return static_cast<std::size_t>(std::count_if(present.begin(), present.end(), [](unsigned char p) { return p & 1; }));
}

std::vector<stack*> bind_many(stack_cache& cache, std::size_t count, std::size_t size = 0) {
  std::vector<stack*> bound;
  for (std::size_t i = 0; i < count; ++i) {
    stack* const s = bind_stack(cache, size, 0);
    if (s == nullptr) break;
    bound.push_back(s);
  }
  return bound;
}

void put_all(stack_cache& cache, const std::vector<stack*>& stacks) {
  for (stack* const s : stacks) cache.put(s);
}

// Until nothing that idles has memory: a call that finds nothing old enough returns 0, the next one would not.
void trim_everything() {
  for (int quiet = 0; quiet < 2;) quiet = trim_stacks() == 0 ? quiet + 1 : 0;
}

// System calls that a kernel or a container refuses, refused here.
void refuse_guard_install() {
  constexpr unsigned advice = 102;
  std::array<sock_filter, 6> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, advice, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{.len = program.size(), .filter = program.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
    std::perror("seccomp");
    _exit(99);
  }
}

// In a child: says what failed and ends it.
void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "required: %s\n", what);
  _exit(1);
}

class stacks : public testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "fast");
    init_stacks(standard_stack_size);
  }
  void TearDown() override { cache.drain(); }

  stack_cache cache;
};

TEST_F(stacks, are_usable_from_end_to_end) {
  stack* const s = bind_stack(cache, 0, 0);
  ASSERT_NE(s, nullptr);
  EXPECT_EQ(s->size, standard_stack_size);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(s->top) % 16, 0u);
  EXPECT_LE(s->top, s->lo + s->size);
  EXPECT_GT(s->top, s->lo + s->size - kib);
  write_byte(s->lo);
  write_byte(s->lo + s->size - 1);
  cache.put(s);
}

TEST_F(stacks, fault_at_the_first_byte_below) {
  stack* const s = bind_stack(cache, 0, 0);
  ASSERT_NE(s, nullptr);
  EXPECT_EXIT((die_plainly(), write_byte(s->lo - 1)), testing::KilledBySignal(SIGSEGV), "");
  cache.put(s);
}

TEST_F(stacks, fault_at_the_last_byte_of_the_guard) {
  const std::vector<stack*> bound = bind_many(cache, 2);
  ASSERT_EQ(bound.size(), 2u);
  for (stack* const s : bound) {
    EXPECT_EXIT((die_plainly(), write_byte(s->lo - stack_guard_size)), testing::KilledBySignal(SIGSEGV), "");
  }
  put_all(cache, bound);
}

// Compilers without -fstack-clash-protection do not touch the pages that a frame covers, only what the code uses.
TEST_F(stacks, fault_under_a_frame_of_16_kib_that_starts_8_kib_above_the_guard) {
  const std::vector<stack*> bound = bind_many(cache, 2);
  ASSERT_EQ(bound.size(), 2u);
  for (stack* const s : bound) {
    char* const lowest_local = s->lo + 8 * kib - 16 * kib;
    EXPECT_EXIT((die_plainly(), write_byte(lowest_local)), testing::KilledBySignal(SIGSEGV), "");
  }
  put_all(cache, bound);
}

TEST_F(stacks, guard_makes_a_system_call_fail_and_is_recognised) {
  stack* const s = bind_stack(cache, 0, 0);
  ASSERT_NE(s, nullptr);
  EXPECT_TRUE(faults(s->lo - 100));
  EXPECT_TRUE(in_guard(s->lo - 100));
  EXPECT_FALSE(faults(s->lo + 100));
  EXPECT_FALSE(in_guard(s->lo + 100));
  cache.put(s);
}

TEST_F(stacks, are_found_by_any_address_of_their_slot) {
  const std::vector<stack*> bound = bind_many(cache, 3);
  ASSERT_EQ(bound.size(), 3u);
  for (stack* const s : bound) {
    EXPECT_EQ(find_stack(s->lo), s);
    EXPECT_EQ(find_stack(s->top - 1), s);
    EXPECT_EQ(find_stack(s->lo + s->size - 1), s);
    EXPECT_EQ(find_stack(s->lo - 1), s);
    EXPECT_EQ(find_stack(s->lo - stack_guard_size), s);
    EXPECT_NE(find_stack(s->lo - stack_guard_size - 1), s);
    EXPECT_NE(find_stack(s->lo + s->size), s);
  }
  put_all(cache, bound);
}

TEST_F(stacks, are_not_found_by_other_addresses) {
  const int local = 0;
  const auto heap = std::make_unique<int>(0);
  EXPECT_EQ(find_stack(&local), nullptr);
  EXPECT_EQ(find_stack(heap.get()), nullptr);
  EXPECT_EQ(find_stack(nullptr), nullptr);
  EXPECT_EQ(find_stack(reinterpret_cast<void*>(~std::uintptr_t{0})), nullptr);
  EXPECT_FALSE(in_guard(&local));
}

TEST_F(stacks, of_slots_not_yet_used_are_not_found) {
  // A shard of its own, so that the slot after the first is certainly unused.
  init_stacks(128 * kib);
  stack* const s = bind_stack(cache, 0, 700);
  ASSERT_NE(s, nullptr);
  EXPECT_EQ(find_stack(s->lo + s->size + stack_guard_size), nullptr);
  cache.put(s);
}

TEST_F(stacks, start_on_different_cache_lines) {
  init_stacks(512 * kib);
  std::set<std::uintptr_t> lines;
  const std::vector<stack*> bound = bind_many(cache, 16);
  for (const stack* const s : bound) lines.insert(reinterpret_cast<std::uintptr_t>(s->top) % 4096 / 64);
  EXPECT_EQ(lines.size(), 16u);
  put_all(cache, bound);
}

TEST_F(stacks, come_back_last_in_first_out) {
  const std::vector<stack*> bound = bind_many(cache, 3);
  ASSERT_EQ(bound.size(), 3u);
  cache.drain();
  put_all(cache, bound);
  EXPECT_EQ(cache.size(), 3u);
  EXPECT_EQ(cache.get(), bound[2]);
  EXPECT_EQ(cache.get(), bound[1]);
  EXPECT_EQ(cache.get(), bound[0]);
  EXPECT_EQ(cache.get(), nullptr);
  EXPECT_EQ(cache.size(), 0u);
  put_all(cache, bound);
}

TEST_F(stacks, forget_their_owner_when_put_back) {
  stack* const s = bind_stack(cache, 0, 0);
  ASSERT_NE(s, nullptr);
  s->owner = &cache;
  cache.put(s);
  EXPECT_EQ(s->owner, nullptr);
}

TEST_F(stacks, spill_into_the_shared_pool_and_serve_another_cache) {
  const std::vector<stack*> bound = bind_many(cache, 300);
  ASSERT_EQ(bound.size(), 300u);
  const std::size_t pooled_before = read_stack_stats().pooled;
  put_all(cache, bound);
  EXPECT_LE(cache.size(), 2 * stack_cache::magazine_size);
  EXPECT_EQ(read_stack_stats().pooled - pooled_before + cache.size(), 300u);

  const std::size_t mapped_before = read_stack_stats().mapped;
  stack_cache other;
  const std::vector<stack*> again = bind_many(other, 300 - cache.size());
  EXPECT_EQ(read_stack_stats().mapped, mapped_before);
  const std::set<stack*> distinct(again.begin(), again.end());
  EXPECT_EQ(distinct.size(), again.size());
  put_all(other, again);
  other.drain();
  EXPECT_EQ(other.size(), 0u);
}

TEST_F(stacks, are_cached_without_a_system_call) {
#if SANITIZED
  GTEST_SKIP() << "a sanitizer makes system calls of its own";
#endif
  const std::vector<stack*> bound = bind_many(cache, 300);
  ASSERT_EQ(bound.size(), 300u);
  const auto churn = [&] {
    // Allows read, write, exit: anything else kills.
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) _exit(99);
    put_all(cache, bound);
    for (int i = 0; i < 1000; ++i) {
      stack* const s = cache.get();
      if (s == nullptr) break;
      cache.put(s);
    }
    syscall(SYS_exit, 0);
  };
  EXPECT_EXIT(churn(), testing::ExitedWithCode(0), "");
  put_all(cache, bound);
}

TEST_F(stacks, of_another_default_size_replace_the_cached_ones) {
  const std::vector<stack*> old = bind_many(cache, 40);
  ASSERT_EQ(old.size(), 40u);
  put_all(cache, old);

  init_stacks(64 * kib);
  EXPECT_EQ(cache.get(), nullptr);
  EXPECT_EQ(cache.size(), 0u);
  stack* const small = bind_stack(cache, 0, 0);
  ASSERT_NE(small, nullptr);
  EXPECT_EQ(small->size, 64 * kib);
  cache.put(small);
  EXPECT_EQ(cache.get(), small);

  // The old ones are not lost: who asks for that size gets one, and only one of a pooled batch.
  const std::size_t mapped_before = read_stack_stats().mapped;
  const std::vector<stack*> again = bind_many(cache, 40, standard_stack_size);
  EXPECT_EQ(read_stack_stats().mapped, mapped_before);
  EXPECT_EQ(std::set<stack*>(again.begin(), again.end()).size(), 40u);
  put_all(cache, again);
  cache.put(small);

  init_stacks(standard_stack_size);
  stack* const standard = bind_stack(cache, 0, 0);
  ASSERT_NE(standard, nullptr);
  EXPECT_EQ(standard->size, standard_stack_size);
  cache.put(standard);
}

TEST_F(stacks, of_a_former_default_size_go_to_their_own_pool) {
  stack* const old = bind_stack(cache, 0, 0);
  ASSERT_NE(old, nullptr);
  init_stacks(64 * kib);
  const std::vector<stack*> small = bind_many(cache, 2);
  ASSERT_EQ(small.size(), 2u);
  put_all(cache, small);
  cache.put(old);
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_EQ(bind_stack(cache, standard_stack_size, 0), old);
  cache.put(old);
}

class stacks_of_size : public stacks, public testing::WithParamInterface<std::size_t> {};

TEST_P(stacks_of_size, are_guarded_pooled_and_still_found_after_release) {
  const std::size_t asked = GetParam();
  stack* const s = bind_stack(cache, asked, 3);
  ASSERT_NE(s, nullptr);
  EXPECT_GE(s->size, asked);
  EXPECT_LT(s->size, 2 * asked);
  write_byte(s->lo);
  write_byte(s->top - 1);
  EXPECT_TRUE(faults(s->lo - 1));
  EXPECT_TRUE(faults(s->lo - stack_guard_size));
  cache.put(s);
  EXPECT_EQ(find_stack(s->lo), s);
  EXPECT_TRUE(in_guard(s->lo - 1));
  EXPECT_EQ(bind_stack(cache, asked, 5), s);
  cache.put(s);
}

INSTANTIATE_TEST_SUITE_P(sizes, stacks_of_size,
                         testing::Values(16 * kib, 17 * kib, 64 * kib, 300 * kib, 1024 * kib, 100 * 1024 * kib,
                                         1024 * 1024 * kib));

TEST_F(stacks, give_their_memory_back_when_idle_for_two_trims) {
  const std::vector<stack*> bound = bind_many(cache, 100);
  ASSERT_EQ(bound.size(), 100u);
  trim_everything();
  for (stack* const s : bound) {
    std::memset(s->top - 20 * kib, 1, 20 * kib);
    s->runner = s->top;
  }
  put_all(cache, bound);
  cache.drain();

  EXPECT_EQ(trim_stacks(), 0u);
  EXPECT_GT(resident_pages(*bound[0]), 0u);
  EXPECT_GE(trim_stacks(), 100u);
  for (stack* const s : bound) {
    EXPECT_EQ(resident_pages(*s), 0u);
    EXPECT_EQ(s->runner, nullptr);
    EXPECT_TRUE(faults(s->lo - 1));
  }
  EXPECT_EQ(trim_stacks(), 0u);
  EXPECT_EQ(trim_stacks(), 0u);

  const std::vector<stack*> again = bind_many(cache, 100);
  for (stack* const s : again) write_byte(s->top - 1);
  put_all(cache, again);
}

TEST_F(stacks, keep_their_memory_while_in_use_or_cached) {
  const std::vector<stack*> bound = bind_many(cache, 2);
  ASSERT_EQ(bound.size(), 2u);
  for (stack* const s : bound) write_byte(s->top - 1);
  cache.drain();
  cache.put(bound[1]);
  for (int i = 0; i < 4; ++i) trim_stacks();
  EXPECT_EQ(*(bound[0]->top - 1), 1);
  EXPECT_EQ(*(bound[1]->top - 1), 1);
  cache.put(bound[0]);
}

TEST_F(stacks, are_trimmed_in_portions) {
  const std::vector<stack*> bound = bind_many(cache, 320);
  ASSERT_EQ(bound.size(), 320u);
  cache.drain();
  trim_everything();
  put_all(cache, bound);
  cache.drain();
  EXPECT_EQ(trim_stacks(64), 0u);
  std::size_t total = 0;
  while (const std::size_t count = trim_stacks(64)) {
    EXPECT_LT(count, 64 + stack_cache::magazine_size);
    total += count;
  }
  EXPECT_EQ(total, 320u);
}

TEST_F(stacks, of_many_fibers_cost_few_mappings) {
  if (guard_limit() != 0) GTEST_SKIP() << guard_limit_message();
  const char* const wanted = std::getenv("WEFT_TEST_STACKS");
  const std::size_t count = wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : SANITIZED ? 4'000 : 100'000;
  std::vector<stack*> bound;
  bound.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    stack* const s = bind_stack(cache, 0, static_cast<unsigned>(i % 8));
    ASSERT_NE(s, nullptr) << "stack " << i << ": " << std::strerror(errno);
    write_byte(s->top - 1);
    bound.push_back(s);
  }
  EXPECT_LT(mappings(), 1000u);
  for (std::size_t i = 0; i < count; i += 997) {
    EXPECT_EQ(find_stack(bound[i]->lo), bound[i]);
    EXPECT_TRUE(faults(bound[i]->lo - 1));
  }
  const stack_stats stats = read_stack_stats();
  EXPECT_GE(stats.in_use, count);
  EXPECT_GE(stats.committed, count * (standard_stack_size + stack_guard_size));
  EXPECT_GE(stats.reserved, stats.committed);
  put_all(cache, bound);
  cache.drain();
  trim_everything();
  EXPECT_EQ(resident_pages(*bound[0]), 0u);
}

// Each stack carries the number of the thread that has it; a stack in two hands shows.
TEST_F(stacks, are_in_one_hand_at_a_time) {
  constexpr int threads = 4;
  constexpr int rounds = SANITIZED ? 5'000 : 400'000;
  std::atomic<int> running{threads};
  std::latch all_here(threads);
  std::atomic<int> shared_stacks{0};
  std::vector<std::jthread> team;
  for (int number = 0; number < threads; ++number) {
    team.emplace_back([&, number] {
      stack_cache own;
      std::mt19937 random(static_cast<unsigned>(number));
      std::vector<stack*> held;
      all_here.arrive_and_wait();
      for (int round = 0; round < rounds; ++round) {
        // In waves, so that batches go to the shared pool and come from it all the time.
        if (round / 200 % 2 == 0) {
          const std::size_t size = random() % 16 == 0 ? 32 * kib : 0;
          stack* const s = bind_stack(own, size, static_cast<unsigned>(number));
          if (s == nullptr || s->owner != nullptr) {
            ++shared_stacks;
            break;
          }
          s->owner = &own;
          s->top[-1] = static_cast<char>(number);
          held.push_back(s);
        } else if (!held.empty()) {
          std::swap(held[random() % held.size()], held.back());
          stack* const s = held.back();
          held.pop_back();
          if (s->owner != &own || s->top[-1] != static_cast<char>(number)) ++shared_stacks;
          own.put(s);
        }
      }
      put_all(own, held);
      own.drain();
      --running;
    });
  }
  while (running.load() != 0) {
    trim_stacks(128);
    std::this_thread::yield();
  }
  EXPECT_EQ(shared_stacks.load(), 0);
}

class fresh_process : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

void use_protected_guards_to_the_end() {
  refuse_guard_install();
  init_stacks(64 * kib);
  require(read_stack_stats().mode == guard_mode::protect, "protect mode");

  std::ifstream file("/proc/sys/vm/max_map_count");
  std::size_t maps = 0;
  file >> maps;
  const std::size_t limit = guard_limit();
  require(limit > 0 && limit < maps / 2, "a limit below half of vm.max_map_count");
  const std::string message = guard_limit_message();
  require(message.find(std::to_string(limit)) != std::string::npos, "the limit in the message");
  require(message.find("vm.max_map_count is " + std::to_string(maps)) != std::string::npos, "its cause in the message");
  require(message.find("Linux 6.13") != std::string::npos, "the cure in the message");

  stack_cache cache;
  const std::vector<stack*> bound = bind_many(cache, limit + 1);
  require(errno == EAGAIN, "EAGAIN at the end of the guards");
  require(bound.size() == limit, "as many stacks as the limit says");
  for (std::size_t i = 0; i < bound.size(); i += 991) {
    write_byte(bound[i]->lo);
    write_byte(bound[i]->top - 1);
    require(faults(bound[i]->lo - 1), "a guard at the first byte below");
    require(faults(bound[i]->lo - stack_guard_size), "a guard of full width");
    require(find_stack(bound[i]->lo - 1) == bound[i], "the stack of that guard");
  }
  void* const other = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(other != MAP_FAILED, "mappings left to the rest of the program");

  // A refused slot is tried again first: address space does not leak away with each refusal.
  for (int i = 0; i < 100; ++i) require(bind_stack(cache, 0, 0) == nullptr, "no stack beyond the limit");
  const std::size_t stride = bound[0]->size + stack_guard_size;
  require(find_stack(bound.back()->lo + stride) != nullptr, "the refused slot");
  require(find_stack(bound.back()->lo + 2 * stride) == nullptr, "one refused slot for many refusals");

  // What is given back can be used again.
  cache.put(bound[0]);
  require(bind_stack(cache, 0, 0) == bound[0], "a pooled stack beyond the limit");
  std::fprintf(stderr, "%s\n", message.c_str());
  _exit(0);
}

TEST_F(fresh_process, without_guard_install_stacks_end_at_the_map_count_and_say_so) {
  EXPECT_EXIT(use_protected_guards_to_the_end(), testing::ExitedWithCode(0), "vm.max_map_count is [0-9]+; raise it");
}

void bind_under_a_limited_address_space() {
  init_stacks(standard_stack_size);
  const rlimit limit{std::size_t{2} << 30, std::size_t{2} << 30};
  setrlimit(RLIMIT_AS, &limit);
  stack_cache cache;
  stack* const first = bind_stack(cache, 0, 0);
  require(first != nullptr, "a stack");
  const std::size_t rest = std::size_t{3} << 29;
  void* const other = mmap(nullptr, rest, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(other != MAP_FAILED, "address space left to the rest of the program");
  munmap(other, rest);

  cache.put(first);
  const std::vector<stack*> bound = bind_many(cache, 100'000);
  require(errno == ENOMEM, "ENOMEM at the end of the address space");
  require(bound.size() > 3'000, "most of the address space in use");
  for (stack* const s : bound) write_byte(s->top - 1);
  cache.put(bound[0]);
  require(bind_stack(cache, 0, 0) == bound[0], "a pooled stack beyond the limit");
  _exit(0);
}

TEST_F(fresh_process, under_a_limited_address_space_there_is_an_error_and_no_abort) {
#if SANITIZED
  GTEST_SKIP() << "a sanitizer's shadow does not fit into a limited address space";
#endif
  EXPECT_EXIT(bind_under_a_limited_address_space(), testing::ExitedWithCode(0), "");
}

bool may_lock_all_memory() {
  const pid_t child = fork();
  if (child == 0) _exit(mlockall(MCL_CURRENT | MCL_FUTURE) == 0 ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void bind_with_locked_memory(bool before) {
  if (before) require(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall");
  init_stacks(standard_stack_size);
  require(before || read_stack_stats().mapped == 0, "a fresh process");
  const std::size_t maps_before = mappings();
  stack_cache cache;
  std::vector<stack*> bound = bind_many(cache, 10);
  if (!before) require(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall");
  // Beyond the first step of 64 MiB, so that one is opened under the lock.
  const std::vector<stack*> more = bind_many(cache, 300);
  bound.insert(bound.end(), more.begin(), more.end());
  require(bound.size() == 310, "310 stacks");
  require(read_stack_stats().mode == guard_mode::protect || mappings() < maps_before + 50, "no mapping for each guard");
  require(locked_memory() < std::size_t{1} << 30, "a reservation that is not locked");
  for (stack* const s : bound) {
    write_byte(s->top - 1);
    require(faults(s->lo - 1), "a guard");
  }
  // Only the first step is filled, if it was open when everything was locked. A step has some 200 stacks.
  std::size_t resident = 0;
  for (std::size_t i = before ? 0 : 210; i < bound.size(); ++i) resident += resident_pages(*bound[i]);
  require(resident <= 2 * bound.size(), "stacks that are not filled with memory");
  _exit(0);
}

TEST_F(fresh_process, after_mlockall_stacks_have_guards_and_are_not_filled) {
  if (!may_lock_all_memory()) GTEST_SKIP() << "mlockall is refused here: RLIMIT_MEMLOCK";
  EXPECT_EXIT(bind_with_locked_memory(true), testing::ExitedWithCode(0), "");
}

TEST_F(fresh_process, when_mlockall_comes_later_stacks_have_guards) {
  if (!may_lock_all_memory()) GTEST_SKIP() << "mlockall is refused here: RLIMIT_MEMLOCK";
  EXPECT_EXIT(bind_with_locked_memory(false), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace weft::rt
