// SPDX-License-Identifier: Apache-2.0
// Copies of fibers, by the protocol of fiber_snapshot.hpp; and what /proc tells of a thread that sleeps in the kernel.
#include "runtime/inspect/fiber_snapshot.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include "runtime/inspect/racy_load.hpp"
#include "runtime/inspect/symbols.hpp"
#include "runtime/sched/g_pool.hpp"
#include "runtime/sched/scheduler.hpp"

namespace weft::rt {

namespace {

constexpr int attempts = 5;

void copy_name(const G& g, char (&out)[G::name_size]) noexcept {
  std::size_t length = 0;
  for (; length + 1 < G::name_size; ++length) {
    const char c = racy_load(g.name[length]);
    if (c == '\0') break;
    out[length] = static_cast<unsigned char>(c) < ' ' || c == 0x7f || c == '"' ? '?' : c;
  }
  out[length] = '\0';
}

void find_thread(const G& g, fiber_snapshot& out) noexcept {
  for (const M* m = sched.all_ms.load(std::memory_order_acquire); m != nullptr; m = m->all_link) {
    if (!m->alive.load(std::memory_order_acquire) || racy_load(m->cur) != &g) continue;
    out.thread = m->tid.load(std::memory_order_relaxed);
    out.blocking = m->blocking_now.load(std::memory_order_relaxed);
    return;
  }
}

// What must not have changed while the frames were followed.
struct witness {
  std::uint64_t id;
  bool on_cpu;
  std::uint64_t wait;
  const stack* stk;
  const void* sp;

  explicit witness(const G& g) noexcept
      : id(g.id.load(std::memory_order_acquire)),
        on_cpu(g.on_cpu.load(std::memory_order_acquire)),
        wait(g.wait.look()),
        stk(g.load_stack()),
        sp(racy_load(g.sp)) {}
  bool operator==(const witness&) const noexcept = default;
};

void set_state(const G& g, const witness& seen, fiber_snapshot& out) noexcept {
  out.reason = g.reason.load(std::memory_order_relaxed);
  if (seen.stk == nullptr)  // asked first: `on_cpu` may be left from the G's former life
    out.state = fiber_state::unstarted;
  else if (seen.on_cpu)
    out.state = fiber_state::running;
  else if (out.reason == wait_reason::none || wait_word<std_atomics>::is_claimed(seen.wait))
    out.state = fiber_state::runnable;
  else
    out.state = fiber_state::waiting;
  out.since = g.since.load(std::memory_order_relaxed);
}

struct named_call {
  long number;
  const char* name;
};

constexpr named_call named_calls[] = {
    {SYS_read, "read"},
    {SYS_write, "write"},
    {SYS_readv, "readv"},
    {SYS_writev, "writev"},
    {SYS_pread64, "pread"},
    {SYS_pwrite64, "pwrite"},
    {SYS_openat, "open"},
    {SYS_fsync, "fsync"},
    {SYS_fdatasync, "fdatasync"},
    {SYS_flock, "flock"},
    {SYS_fcntl, "fcntl"},
    {SYS_ioctl, "ioctl"},
    {SYS_futex, "futex"},
    {SYS_nanosleep, "nanosleep"},
    {SYS_connect, "connect"},
    {SYS_clock_nanosleep, "clock_nanosleep"},
    {SYS_accept, "accept"},
    {SYS_accept4, "accept"},
    {SYS_recvfrom, "recv"},
    {SYS_recvmsg, "recvmsg"},
    {SYS_sendto, "send"},
    {SYS_sendmsg, "sendmsg"},
    {SYS_ppoll, "poll"},
    {SYS_pselect6, "select"},
    {SYS_epoll_pwait, "epoll_wait"},
    {SYS_wait4, "wait"},
    {SYS_waitid, "waitid"},
    {SYS_getdents64, "readdir"},
#ifdef SYS_poll
    {SYS_poll, "poll"},
    {SYS_select, "select"},
    {SYS_epoll_wait, "epoll_wait"},
    {SYS_open, "open"},
    {SYS_pause, "pause"},
#endif
};

const char* name_of_call(long number) noexcept {
  for (const named_call& call : named_calls)
    if (call.number == number) return call.name;
  return nullptr;
}

// Old return addresses lie about on a stack; one that does not follow a call never was one.
bool follows_a_call(std::uintptr_t pc) noexcept {
  const auto* const code = reinterpret_cast<const unsigned char*>(pc);
#if defined(__x86_64__)
  constexpr unsigned char call_relative = 0xe8, group_5 = 0xff;
  if (racy_load(code[-5]) == call_relative) return true;
  for (int size = 2; size <= 7; ++size)
    if (racy_load(code[-size]) == group_5 && (racy_load(code[-size + 1]) & 0x38) == 0x10) return true;
  return false;
#else
  const std::uint32_t before = std::uint32_t{racy_load(code[-4])} | std::uint32_t{racy_load(code[-3])} << 8 |
                               std::uint32_t{racy_load(code[-2])} << 16 | std::uint32_t{racy_load(code[-1])} << 24;
  constexpr std::uint32_t branch_and_link = 0x94000000, to_register = 0xd63f0000;
  return (before & 0xfc000000) == branch_and_link || (before & 0xfffffc1f) == to_register;
#endif
}

// The C library keeps no frame pointers, so the stack is searched, from the system call outwards, for the code that
// called it.
std::uintptr_t find_caller(std::uintptr_t sp, const stack& on) noexcept {
  constexpr std::uintptr_t search_at_most = 4096;
  const auto lo = reinterpret_cast<std::uintptr_t>(on.lo);
  if (sp < lo || sp >= lo + on.size || sp % sizeof(sp) != 0) return 0;
  const std::uintptr_t end = std::min(lo + on.size, sp + search_at_most);
  for (std::uintptr_t at = sp; at < end; at += sizeof(at)) {
    const std::uintptr_t pc = racy_load(*reinterpret_cast<const std::uintptr_t*>(at));
    if (is_code(pc) && !is_in_c_library(pc) && follows_a_call(pc)) return pc;
  }
  return 0;
}

}  // namespace

bool look_at_fiber(const G& g, fiber_snapshot& out) noexcept {
  for (int attempt = 0; attempt < attempts; ++attempt) {
    const witness before(g);
    if (before.id == 0) return false;
    out.frames.clear();
    out.id = before.id;
    out.thread = 0;
    out.blocking = false;
    set_state(g, before, out);
    copy_name(g, out.name);
    out.spawn_site = racy_load(g.spawn_site);
    out.locked_to_thread = racy_load(g.pinned) != nullptr;
    bool whole = true;
    if (out.state == fiber_state::running) {
      find_thread(g, out);
      whole = out.thread != 0;
    } else if (out.state != fiber_state::unstarted) {
      whole = racy_load(before.stk->owner) == &g && walk_left_stack(*before.stk, before.sp, out.frames);
    }
    std_atomics::fence_seq_cst();  // the second look comes after the frames were read
    if (whole && witness(g) == before) return true;
  }
  out.frames.clear();
  out.state = fiber_state::running;
  return g.id.load(std::memory_order_acquire) == out.id;
}

blocked_call find_blocked_call(pid_t thread, const stack* on) noexcept {
  blocked_call found;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/syscall", static_cast<int>(thread));
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return found;
  char text[256];
  const ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  if (size <= 0) return found;
  text[size] = '\0';
  // "running", or the number, six arguments, sp and pc.
  unsigned long sp = 0;
  if (std::sscanf(text, "%ld %*x %*x %*x %*x %*x %*x %lx", &found.number, &sp) != 2) {
    found.number = -1;
    return found;
  }
  found.name = name_of_call(found.number);
  if (on != nullptr) found.called_from = find_caller(sp, *on);
  return found;
}

}  // namespace weft::rt
