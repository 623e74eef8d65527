// SPDX-License-Identifier: Apache-2.0
//
// Fiber stacks: address space for a million of them, a guard below each, memory only where a fiber touched it.
//
// A stack lives in a slot of an *arena*: one large PROT_NONE reservation that is opened in steps, so that a million
// stacks cost a handful of mappings. A slot is, from low to high addresses,
//
//     guard (64 KiB, faults) | lo ............ usable ............ top | colour (0 to 15 cache lines)
//
// The guard is wider than a page because code that we did not compile makes frames of 16 KiB without touching the pages
// between: with a one-page guard such a frame lands in the neighbour's live stack and nobody notices.
// The colour shifts the first frame by whole cache lines: without it a thousand parked fibers share one set of the L1.
//
// Invariants
//  - Descriptors and arenas are never freed: any `stack*` ever seen may be read at any later time, also in a signal
//    handler, and an address belongs to the same stack forever.
//  - A stack is in one place: on a fiber, in one P's cache, or in the shared pool of its size.
//  - The guard stands before the first `bind_stack` of its slot returns, and is never taken away.
//  - The hot path (`stack_cache::get`, `put`) makes no system call and takes no lock; a `put` that overflows the cache
//    pushes a whole batch onto the shared pool with one compare-and-swap, so a commit hook may call it.
//  - Memory goes back only in `trim_stacks`.
//
// Locks: see stack.cpp. Pools and arenas survive from one run() to the next.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>

#include <weft/detail/atomic.hpp>

#include "runtime/fiber/sanitizer_context.hpp"

namespace weft::rt {

inline constexpr std::size_t min_stack_size = std::size_t{16} << 10;
inline constexpr std::size_t max_stack_size = std::size_t{1} << 30;
inline constexpr std::size_t standard_stack_size = std::size_t{256} << 10;
inline constexpr std::size_t stack_guard_size = std::size_t{64} << 10;

// One per slot ever opened, type-stable. One cache line, without what only a sanitizer needs: there may be a million.
struct stack {
  char* lo;             // lowest usable byte, right above the guard
  char* top;            // initial stack pointer: 16-aligned, coloured
  std::uint32_t size;   // usable bytes: [lo, lo + size), what was asked for rounded up to a power of two
  std::uint32_t batch;  // in the first stack of a pooled batch: how many are linked
  stack* link;          // next in a cache or a batch
  stack* next_batch;    // in the first stack of a pooled batch: the next batch
  void* owner;          // the G that runs on it, set by the scheduler, read by the overflow handler, cleared by put
  void* runner;  // the context that idles on it, set by the scheduler; null: none, or trim_stacks took its memory
  sanitizer_context* view;  // in a table of its own: untouched memory unless an address sanitizer wants the bounds

  // The frames begin a little below `top`: there the fiber keeps its fiber_locals. Null between two fibers.
  char* first_frame() const noexcept { return top - 16; }
  void*& locals() const noexcept { return *reinterpret_cast<void**>(first_frame()); }
};

// What `init_stacks` was last called with, rounded up to a power of two. Relaxed: it changes only between runs.
extern detail::atomic<std::size_t> default_stack_size;

// A P's own stacks, last in first out. Only the thread that holds the P may call it; `size` anyone.
//
// Two magazines: a put into two full ones hands the older on to the shared pool as it is, without walking it, and a
// fiber count that swings around the edge does not go to the pool each time.
class stack_cache {
 public:
  static constexpr std::size_t magazine_size = 32;

  // No destructor: Ps are never destroyed (statics that outlive main still find them); the thread that retires a P
  // calls `drain`.
  constexpr stack_cache() noexcept = default;
  stack_cache(const stack_cache&) = delete;
  stack_cache& operator=(const stack_cache&) = delete;

  // get: a stack of the default size, or nullptr if none is at hand: then `bind_stack`, on the M's stack. No locked
  // instruction, no system call.
  stack* get() noexcept {
    stack* const s = loaded_.head;
    // The default size may have changed between two runs: what is here is then not it any more.
    if (s == nullptr || held_size_ != default_stack_size.load(std::memory_order_relaxed)) [[unlikely]]
      return refill();
    loaded_.head = s->link;
    --loaded_.count;
    count(-1);
    return s;
  }

  // put: takes a stack that nobody runs on any more. Any size: other sizes go to their shared pool. One locked
  // instruction in 32 calls, none in the others; noexcept, allocates nothing, takes no lock: fit for a commit hook.
  void put(stack* s) noexcept;

  // drain: gives everything to the shared pool. For a P that goes away.
  void drain() noexcept;

  // size: how many stacks are here; approximate when read by another thread.
  [[nodiscard]] std::size_t size() const noexcept { return count_.load(std::memory_order_relaxed); }

 private:
  friend stack* bind_stack(stack_cache& cache, std::size_t size, unsigned shard) noexcept;

  struct magazine {
    stack* head = nullptr;
    std::size_t count = 0;
  };

  stack* refill() noexcept;
  void load(stack* batch) noexcept;

  // Relaxed load and store, no locked instruction: the owner is the only writer, stats want a figure, not an order.
  void count(std::ptrdiff_t change) noexcept {
    count_.store(count_.load(std::memory_order_relaxed) + static_cast<std::size_t>(change), std::memory_order_relaxed);
  }

  magazine loaded_;
  magazine previous_;
  std::size_t held_size_ = 0;  // of every stack in here
  detail::atomic<std::size_t> count_{0};
};

// init_stacks: sets the default size (16 KiB to 1 GiB, checked by the caller; rounded up to a power of two) and, the
// first time, finds out how this kernel makes guards. Called by run() before there is an M; may be called again.
void init_stacks(std::size_t default_size) noexcept;

// bind_stack: a stack of at least `size` bytes (0: the default) from the cache, else from the shared pool, else a new
// one out of the arena of `shard` (the P's number; any value). Only on an M's or a plain thread's own stack and with no
// spin lock held: it may map memory. nullptr when there is none: errno is ENOMEM (no memory or address space) or EAGAIN
// (the end of `guard_limit`: throw with `guard_limit_message`).
[[nodiscard]] stack* bind_stack(stack_cache& cache, std::size_t size, unsigned shard) noexcept;

// release_stack: gives a stack to the shared pool of its size, for a thread without a cache; same rules as
// `stack_cache::put`, one locked instruction.
void release_stack(stack* s) noexcept;

// stack_class: the class of the stacks that `size` bytes (0: the default) are had from, by powers of two.
inline constexpr std::size_t stack_classes =
    static_cast<std::size_t>(std::bit_width(max_stack_size) - std::bit_width(min_stack_size)) + 1;
[[nodiscard]] std::size_t stack_class(std::size_t size) noexcept;
[[nodiscard]] constexpr std::size_t stack_class_size(std::size_t index) noexcept { return min_stack_size << index; }

// pooled_stacks: how many stacks of that class the shared pool has. Any thread; a hint.
[[nodiscard]] std::size_t pooled_stacks(std::size_t index) noexcept;

// forget_frames: tells an address sanitizer, if the program has one, that the dead frames on `s` are gone. `put` does
// it; needed where a dying fiber's stack goes straight to the next fiber.
void forget_frames(stack* s) noexcept;

// find_stack: the stack whose slot, guard included, holds `address`; nullptr if it is none of ours. Any thread,
// async-signal-safe, no lock; arithmetic after a scan of the arenas (one a P, more beyond 200 000 stacks).
[[nodiscard]] stack* find_stack(const void* address) noexcept;

// in_guard: async-signal-safe; whether `address` lies in the guard of a stack. For system calls that failed with
// EFAULT: the kernel does not raise SIGSEGV for them, so a buffer on an overflowing stack would otherwise look like a
// bad argument.
[[nodiscard]] bool in_guard(const void* address) noexcept;

enum class guard_mode : std::uint8_t {
  install,  // MADV_GUARD_INSTALL, Linux 6.13+: no mapping of its own, no limit
  protect,  // mprotect: two mappings a stack, limited by vm.max_map_count
};

// guard_limit: how many stacks can be guarded; 0 if there is no limit. Valid after init_stacks.
[[nodiscard]] std::size_t guard_limit() noexcept;

// guard_limit_message: a sentence that names the limit, vm.max_map_count, its value and the cure.
[[nodiscard]] std::string guard_limit_message();

// trim_stacks: gives the memory of pooled stacks back to the kernel if they were already idle at the call before, some
// `most` stacks a call (150 ns to 1 µs each, one TLB shootdown for 256). Returns how many. For the monitor, some times
// a second while fibers run; an idle process may stop after the second call in a row that returned 0. Never on a
// fiber's exit.
std::size_t trim_stacks(std::size_t most = 1024) noexcept;

struct stack_stats {
  std::size_t reserved;   // bytes of address space
  std::size_t committed;  // bytes opened for use; resident only where touched
  std::size_t mapped;     // stacks ever made
  std::size_t in_use;     // of these: on a fiber or in a P's cache (subtract the caches' sizes)
  std::size_t pooled;     // of these: in the shared pools
  std::size_t trimmed;    // stacks whose memory trim_stacks gave back, ever
  guard_mode mode;
};
[[nodiscard]] stack_stats read_stack_stats() noexcept;

}  // namespace weft::rt
