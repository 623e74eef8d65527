// SPDX-License-Identifier: Apache-2.0
//
// The handler of faults in guards, and the alternate stacks it runs on: see overflow.hpp.
//
// Everything below `on_fault` runs in a signal handler, perhaps with malloc's, the loader's or stdio's lock held by the
// very thread that faulted: own formatting, write(2), and tables that are read without a lock. Frames are found by
// frame pointers that stay inside the fiber's stack, so that a broken chain ends the list and faults nowhere. Modules
// come from /proc/self/maps, which the kernel tells without a lock of ours.
//
// Memory order
//  - former_index: stored with release after the slot is written, loaded with acquire by the handler.
//  - reporting: exchanged by the thread that reports; others wait for the end of the process, which it brings.
#include "runtime/fiber/overflow.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <string_view>

#include <weft/detail/atomic.hpp>

#include "runtime/fiber/stack.hpp"

namespace weft::rt {

constinit detail::atomic<overflow_info (*)(void* owner)> describe_owner{nullptr};

namespace {

constexpr std::array fault_signals{SIGSEGV, SIGBUS};
constexpr std::size_t altstack_size = std::size_t{64} << 10;
constexpr std::size_t max_frames = 24;
constexpr std::size_t max_name = 64;

struct former_actions {
  std::array<struct sigaction, fault_signals.size()> of;
};
// Two, so that a later install writes one while handlers read the other.
constinit std::array<former_actions, 2> former_slots{};
constinit detail::atomic<unsigned> former_index{0};
constinit std::mutex installing;
constinit detail::atomic<bool> reporting{false};

// What this thread's alternate stack was before ours. Reached in ordinary calls on an M's own stack only.
struct thread_altstack {
  void* memory = nullptr;
  stack_t replaced{};
};
thread_local constinit thread_altstack given{};

// Collects text, and writes it when full or destroyed.
class signal_writer {
 public:
  signal_writer() noexcept = default;
  ~signal_writer() { flush(); }
  signal_writer(const signal_writer&) = delete;
  signal_writer& operator=(const signal_writer&) = delete;

  signal_writer& operator<<(std::string_view text) noexcept {
    for (const char c : text) {
      if (used_ == buffer_.size()) flush();
      buffer_[used_++] = c;
    }
    return *this;
  }
  signal_writer& decimal(std::uint64_t value) noexcept { return number(value, 10); }
  signal_writer& hex(std::uint64_t value) noexcept { return (*this << "0x").number(value, 16); }

  void flush() noexcept {
    for (std::size_t at = 0; at < used_;) {
      const ssize_t written = write(STDERR_FILENO, buffer_.data() + at, used_ - at);
      if (written < 0 && errno != EINTR) break;
      if (written > 0) at += static_cast<std::size_t>(written);
    }
    used_ = 0;
  }

 private:
  signal_writer& number(std::uint64_t value, unsigned base) noexcept {
    std::array<char, 20> digits;
    std::size_t at = digits.size();
    do {
      digits[--at] = "0123456789abcdef"[value % base];
      value /= base;
    } while (value != 0);
    return *this << std::string_view(digits.data() + at, digits.size() - at);
  }

  std::array<char, 512> buffer_;
  std::size_t used_ = 0;
};

struct registers {
  std::uintptr_t pc;
  std::uintptr_t sp;
  std::uintptr_t fp;
};

registers read_registers(const void* context) noexcept {
  const mcontext_t& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  return {.pc = static_cast<std::uintptr_t>(machine.gregs[REG_RIP]),
          .sp = static_cast<std::uintptr_t>(machine.gregs[REG_RSP]),
          .fp = static_cast<std::uintptr_t>(machine.gregs[REG_RBP])};
#elif defined(__aarch64__)
  return {.pc = machine.pc, .sp = machine.sp, .fp = machine.regs[29]};
#else
#error "weft runs on x86-64 and arm64"
#endif
}

const void* to_pointer(std::uintptr_t address) noexcept { return std::bit_cast<const void*>(address); }

struct code_address {
  std::uintptr_t pc = 0;
  bool is_return_address = false;
  unsigned times = 1;
  std::uintptr_t module_base = 0;
  std::array<char, 96> module{};  // the end of its path

  // A return address may already belong to the next function: a call of a noreturn function is its caller's last word.
  [[nodiscard]] std::uintptr_t looked_up() const noexcept { return is_return_address ? pc - 1 : pc; }
};

class frame_list {
 public:
  // A recursion is one line, so that the list reaches what began it. Returns false if it is full.
  bool add(std::uintptr_t pc, bool is_return_address) noexcept {
    if (count_ != 0 && frames_[count_ - 1].pc == pc) {
      ++frames_[count_ - 1].times;
      return true;
    }
    if (count_ == frames_.size()) return false;
    frames_[count_].pc = pc;
    frames_[count_].is_return_address = is_return_address;
    ++count_;
    return true;
  }

  void walk(std::uintptr_t fp, const stack& on) noexcept {
    const auto lo = reinterpret_cast<std::uintptr_t>(on.lo);
    const std::uintptr_t last = lo + on.size - 2 * sizeof(std::uintptr_t);
    while (fp % sizeof(fp) == 0 && lo <= fp && fp <= last) {
      const auto* const frame = static_cast<const std::uintptr_t*>(to_pointer(fp));
      if (frame[1] == 0 || !add(frame[1], true)) break;
      if (frame[0] <= fp) break;  // callers lie above
      fp = frame[0];
    }
  }

  // One pass over the mappings for all frames: there may be 65 000 of them.
  void find_modules() noexcept {
    const int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    std::array<char, 1024> chunk;
    std::array<char, 512> line;
    std::array<char, 512> path{};
    std::size_t length = 0;
    std::uintptr_t base = 0;
    for (;;) {
      const ssize_t got = read(file, chunk.data(), chunk.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
        if (chunk[i] != '\n') {
          if (length < line.size() - 1) line[length++] = chunk[i];
          continue;
        }
        line[length] = '\0';
        match(line.data(), path, base);
        length = 0;
      }
    }
    close(file);
  }

  void print(signal_writer& out) const noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      const code_address& frame = frames_[i];
      (out << "    ").hex(frame.pc);
      if (frame.module_base != 0) {
        (out << " " << frame.module.data() << "+").hex(frame.looked_up() - frame.module_base);
      }
      if (frame.times > 1) (out << " (").decimal(frame.times) << " times)";
      out << "\n";
    }
  }

  void print_names(signal_writer& out) const noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      const code_address& frame = frames_[i];
      Dl_info found{};
      const bool known = dladdr(to_pointer(frame.looked_up()), &found) != 0 && found.dli_sname != nullptr;
      (out << "    ").hex(frame.pc) << " ";
      if (known) {
        (out << found.dli_sname << "+").hex(frame.pc - reinterpret_cast<std::uintptr_t>(found.dli_saddr));
      } else {
        out << "?";
      }
      out << "\n";
    }
  }

 private:
  // A line is "begin-end rights offset device inode   path"; a module's first mapping begins where it was loaded.
  void match(const char* line, std::array<char, 512>& path, std::uintptr_t& base) noexcept {
    const char* at = line;
    const std::uintptr_t begin = parse_hex(at);
    if (*at != '-') return;
    ++at;
    const std::uintptr_t end = parse_hex(at);
    const char* const name = std::strchr(at, '/');
    if (name == nullptr) return;
    if (std::strcmp(name, path.data()) != 0) {
      const std::size_t size = std::min(std::strlen(name), path.size() - 1);
      std::memcpy(path.data(), name, size);
      path[size] = '\0';
      base = begin;
    }
    for (std::size_t i = 0; i < count_; ++i) {
      code_address& frame = frames_[i];
      if (frame.looked_up() < begin || frame.looked_up() >= end) continue;
      frame.module_base = base;
      const std::size_t size = std::strlen(path.data());
      const std::size_t kept = std::min(size, frame.module.size() - 1);
      std::memcpy(frame.module.data(), path.data() + size - kept, kept);
      frame.module[kept] = '\0';
    }
  }

  static std::uintptr_t parse_hex(const char*& at) noexcept {
    std::uintptr_t value = 0;
    for (;; ++at) {
      if (*at >= '0' && *at <= '9')
        value = value * 16 + static_cast<std::uintptr_t>(*at - '0');
      else if (*at >= 'a' && *at <= 'f')
        value = value * 16 + static_cast<std::uintptr_t>(*at - 'a' + 10);
      else
        return value;
    }
  }

  std::array<code_address, max_frames> frames_{};
  std::size_t count_ = 0;
};

void print_fiber(signal_writer& out, const overflow_info& who) noexcept {
  if (who.id == 0) {
    out << "a stack that no fiber owns";
    return;
  }
  (out << "fiber ").decimal(who.id);
  if (who.name == nullptr || who.name[0] == '\0') return;
  // The name may be in the middle of being changed: no byte of it is trusted.
  std::array<char, max_name> shown;
  std::size_t length = 0;
  for (; length < shown.size() && who.name[length] != '\0'; ++length) {
    const auto c = static_cast<unsigned char>(who.name[length]);
    shown[length] = c < ' ' || c == 0x7f ? '?' : who.name[length];
  }
  out << " \"" << std::string_view(shown.data(), length) << "\"";
}

overflow_info owner_info(const stack& of) noexcept {
  const auto describe = describe_owner.load(std::memory_order_relaxed);
  return of.owner != nullptr && describe != nullptr ? describe(of.owner) : overflow_info{};
}

void report(const stack& below, std::uintptr_t address, const void* context) noexcept {
  // Whoever comes second has nothing to add, and mixed lines help nobody.
  while (reporting.exchange(true, std::memory_order_relaxed)) pause();

  const registers at = read_registers(context);
  const overflow_info who = owner_info(below);
  const stack* const current = find_stack(to_pointer(at.sp));
  // The frame pointer also: a large frame may have its end, and so sp, beyond the guard.
  const bool overflowed = current == &below || find_stack(to_pointer(at.fp)) == &below;
  signal_writer out;
  if (overflowed) {
    out << "fatal: stack overflow on ";
    print_fiber(out, who);
  } else {
    out << "fatal: access through a wild pointer, below the stack of ";
    print_fiber(out, who);
    out << ", from ";
    if (current != nullptr)
      print_fiber(out, owner_info(*current));
    else
      out << "a thread's own stack";
  }
  (out << " (stack ").decimal(below.size >> 10) << " KiB, fault at ";
  (out.hex(address) << ", sp ").hex(at.sp) << ")\n";
  out.flush();

  frame_list spawned;
  frame_list innermost;
  if (who.spawn_site != nullptr) spawned.add(reinterpret_cast<std::uintptr_t>(who.spawn_site), true);
  innermost.add(at.pc, false);
  if (const stack* const walked = overflowed ? &below : current) innermost.walk(at.fp, *walked);
  spawned.find_modules();
  innermost.find_modules();
  if (who.spawn_site != nullptr) out << "  spawned at\n";
  spawned.print(out);
  out << "  innermost frames\n";
  innermost.print(out);
  if (overflowed)
    out << "  cure: a larger attrs.stack_size or options.stack_size (WEFT_STACK_SIZE), or smaller frames\n";
  out.flush();

  // Last: if this thread holds the loader's lock, the process hangs here, but has said what matters.
  out << "  names\n";
  out.flush();
  spawned.print_names(out);
  innermost.print_names(out);
}

void take_default_action(int signal, const siginfo_t* info) noexcept {
  struct sigaction fresh {};
  fresh.sa_handler = SIG_DFL;
  sigaction(signal, &fresh, nullptr);
  // A real fault happens again when we return, with the context that a core dump should show. A signal that somebody
  // sent does not: send it again; it is blocked until we return.
  if (info->si_code <= 0) syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal);
}

// Whether this delivery has passed here before: a handler that replaced ours, and that a later install put behind ours,
// may chain back to us. The mark is in the unused end of siginfo_t, which the kernel clears for each delivery, and not
// in a variable of the thread, as a handler may leave by siglongjmp.
bool mark_passed(siginfo_t* info) noexcept {
  constexpr std::uint64_t mark = 0x7765'6674'2073'6567;
  static_assert(sizeof(siginfo_t) == 128);
  char* const end = reinterpret_cast<char*>(info) + sizeof(siginfo_t) - sizeof(mark);
  std::uint64_t found = 0;
  std::memcpy(&found, end, sizeof(found));
  std::memcpy(end, &mark, sizeof(mark));
  return found == mark;
}

std::size_t signal_index(int signal) noexcept { return signal == fault_signals[0] ? 0 : 1; }

void chain(int signal, siginfo_t* info, void* context) noexcept {
  const struct sigaction& former = former_slots[former_index.load(std::memory_order_acquire)].of[signal_index(signal)];
  const bool has_function = former.sa_handler != SIG_DFL && former.sa_handler != SIG_IGN;
  if (!has_function) {
    // Ignoring a real fault would repeat it forever.
    if (former.sa_handler == SIG_IGN && info->si_code <= 0) return;
    take_default_action(signal, info);
    return;
  }
  if (mark_passed(info)) {
    take_default_action(signal, info);
    return;
  }
  // As the kernel would have called it.
  sigset_t before;
  sigset_t blocked = former.sa_mask;
  if ((former.sa_flags & SA_NODEFER) == 0) sigaddset(&blocked, signal);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  if ((former.sa_flags & SA_NODEFER) != 0) {
    sigset_t own;
    sigemptyset(&own);
    sigaddset(&own, signal);
    pthread_sigmask(SIG_UNBLOCK, &own, nullptr);
  }
  if ((former.sa_flags & SA_SIGINFO) != 0)
    former.sa_sigaction(signal, info, context);
  else
    former.sa_handler(signal);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void on_fault(int signal, siginfo_t* info, void* context) noexcept {
  const int interrupted_errno = errno;
  // si_code > 0: the kernel's own, and si_addr means something.
  const stack* const below = info->si_code > 0 ? find_stack(info->si_addr) : nullptr;
  if (below != nullptr && info->si_addr < below->lo) {
    report(*below, reinterpret_cast<std::uintptr_t>(info->si_addr), context);
    take_default_action(signal, info);
  } else {
    chain(signal, info, context);
  }
  errno = interrupted_errno;
}

bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == &on_fault;
}

// What the kernel pushes on this CPU, and what the report uses beyond it.
std::size_t altstack_needed() noexcept {
  constexpr std::size_t report_uses = std::size_t{16} << 10;
  return std::max<std::size_t>(getauxval(AT_MINSIGSTKSZ), 2048) + report_uses;
}

}  // namespace

void install_overflow_handler() noexcept {
  const std::lock_guard lock(installing);
  std::array<struct sigaction, fault_signals.size()> found{};
  for (std::size_t i = 0; i < found.size(); ++i) sigaction(fault_signals[i], nullptr, &found[i]);
  if (is_ours(found[0]) && is_ours(found[1])) return;

  const unsigned current = former_index.load(std::memory_order_relaxed);
  former_actions& next = former_slots[1 - current];
  for (std::size_t i = 0; i < found.size(); ++i)
    next.of[i] = is_ours(found[i]) ? former_slots[current].of[i] : found[i];
  former_index.store(1 - current, std::memory_order_release);

  struct sigaction ours {};
  ours.sa_sigaction = &on_fault;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&ours.sa_mask);
  for (const int signal : fault_signals) sigaction(signal, &ours, nullptr);
}

bool overflow_handler_installed() noexcept {
  return std::all_of(fault_signals.begin(), fault_signals.end(), [](int signal) {
    struct sigaction found {};
    return sigaction(signal, nullptr, &found) == 0 && is_ours(found);
  });
}

void fault_on_guard(const void* buffer, std::size_t size) noexcept {
  if (size == 0) return;
  const auto* const first = static_cast<const char*>(buffer);
  const auto* const last = first + size - 1;
  const auto touch = [](const char* address) { static_cast<void>(*static_cast<const volatile char*>(address)); };
  if (in_guard(first)) touch(first);
  if (in_guard(last)) touch(last);
  // Both ends may be usable memory, of two stacks: then what lies between them has a guard.
  const stack* const above = find_stack(last);
  if (above != nullptr && first < above->lo) touch(above->lo - 1);
}

bool give_thread_altstack() noexcept {
  stack_t present{};
  sigaltstack(nullptr, &present);
  if ((present.ss_flags & SS_DISABLE) == 0 && present.ss_size >= altstack_needed()) return true;

  // A guard of its own: a handler that overflows must not write into somebody's memory.
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t total = altstack_size + page;
  void* const memory = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  stack_t fresh{};
  fresh.ss_sp = static_cast<char*>(memory) + page;
  fresh.ss_size = altstack_size;
  if (mprotect(memory, page, PROT_NONE) != 0 || sigaltstack(&fresh, nullptr) != 0) {
    munmap(memory, total);
    return false;
  }
  given = {.memory = memory, .replaced = present};
  return true;
}

void drop_thread_altstack() noexcept {
  if (given.memory == nullptr) return;
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  stack_t present{};
  sigaltstack(nullptr, &present);
  // The program may have put its own in place of ours.
  if (present.ss_sp == static_cast<char*>(given.memory) + page) {
    stack_t former = given.replaced;
    former.ss_flags &= SS_DISABLE;
    sigaltstack(&former, nullptr);
  }
  munmap(given.memory, altstack_size + page);
  given = {};
}

}  // namespace weft::rt
