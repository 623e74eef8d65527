// SPDX-License-Identifier: Apache-2.0
//
// Arenas, guards, pools: see stack.hpp for what a stack is.
//
// An arena is one reservation (64 GiB, less under RLIMIT_AS or where the kernel refuses) for stacks of one size:
//
//     gap | descriptors | sanitizers' views | gap | slot 0 | slot 1 | ...
//
// It starts as PROT_NONE | MAP_NORESERVE and is opened in steps of 64 MiB, descriptors and slots alike, which works in
// every overcommit mode and leaves each arena a handful of mappings. The gap in front stays closed: neighbouring
// anonymous mappings of equal rights merge, and then all Ps would fault on one mapping's lock. Each P has arenas of the
// default size of its own; other sizes share shard 0's.
//
// Locks, all leaves, none held while another is taken:
//  - shard_state::growing, a sleeping lock held across mmap and mprotect (once in 64 MiB): a spin lock there would have
//    every other M burn until the kernel is done. Only `bind_stack` takes it, on an M's stack. One shard has one P, so
//    it is contended only while a P changes hands.
//  - pool::taking serialises the threads that take batches, so that the pop of a lock-free list needs no counter
//    against ABA: the thread that reads `next_batch` knows that no other can remove that batch. Putting takes no lock.
//
// Memory order
//  - arena::end: stored with release when the arena is complete, loaded with acquire by `arena_of`.
//  - arena::used: stored with release when the descriptor is complete, loaded with acquire by `find_stack`.
//  - pool::warm: a batch is pushed with release and popped with acquire: the links inside it are plain.
//  - Everything else is a statistic or a setting: relaxed.
#include "runtime/fiber/stack.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <new>
#include <utility>

#include <weft/detail/annotations.hpp>
#include <weft/detail/atomic.hpp>
#include <weft/detail/spin_lock.hpp>

#include "runtime/base/limits.hpp"
#include "runtime/base/os.hpp"

extern "C" {  // null unless the program is linked with that sanitizer
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* address, std::size_t size);
[[gnu::weak]] void __lsan_register_root_region(const void* begin, std::size_t size);
}

namespace weft::rt {

// Constant-initialised, never destroyed: fibers of static objects may still run when main has returned.
constinit detail::atomic<std::size_t> default_stack_size{standard_stack_size};

namespace {

static_assert(sizeof(void*) == 8, "fiber stacks take address space by the gigabyte");
static_assert(sizeof(stack) == 64);

constexpr std::size_t reservation_size = std::size_t{64} << 30;
constexpr std::size_t step_size = std::size_t{64} << 20;
constexpr std::size_t colours = 16;
constexpr std::size_t colour_step = 64;

constexpr int advice_guard_install = 102;   // MADV_GUARD_INSTALL, newer than the headers we build with
constexpr int this_process_pidfd = -10000;  // PIDFD_SELF; needs no descriptor that a fork would inherit

constexpr std::size_t max_shards = max_width;
constexpr std::size_t max_arenas = 8192;  // more than 8 for each shard

std::size_t size_class(std::size_t size) noexcept {
  const std::size_t wanted = std::clamp(size, min_stack_size, max_stack_size);
  return static_cast<std::size_t>(std::bit_width(wanted - 1) - std::bit_width(min_stack_size - 1));
}

struct arena {
  detail::atomic<char*> end{nullptr};  // null: not ready to be read
  char* base = nullptr;                // of slot 0, that is of its guard
  stack* descriptors = nullptr;
  sanitizer_context* views = nullptr;
  std::size_t size = 0;
  std::size_t slots = 0;
  detail::atomic<std::size_t> used{0};
  std::size_t opened = 0;  // slots; guarded by `growing` of its shard

  [[nodiscard]] std::size_t stride() const noexcept { return size + stack_guard_size; }
  [[nodiscard]] char* slot(std::size_t index) const noexcept { return base + index * stride(); }
};

class WEFT_CAPABILITY("mutex") sleeping_lock {
 public:
  void lock() noexcept WEFT_ACQUIRE() { mutex_.lock(); }
  void unlock() noexcept WEFT_RELEASE() { mutex_.unlock(); }

 private:
  os::mutex mutex_;
};

class WEFT_SCOPED_CAPABILITY sleeping_guard {
 public:
  explicit sleeping_guard(sleeping_lock& l) noexcept WEFT_ACQUIRE(l) : lock_(l) { lock_.lock(); }
  ~sleeping_guard() WEFT_RELEASE() { lock_.unlock(); }
  sleeping_guard(const sleeping_guard&) = delete;
  sleeping_guard& operator=(const sleeping_guard&) = delete;

 private:
  sleeping_lock& lock_;
};

struct shard_state {
  sleeping_lock growing;
  std::array<arena*, stack_classes> current WEFT_GUARDED_BY(growing){};
  // Slots whose guard could not be made, to be tried again first.
  std::array<stack*, stack_classes> unguarded WEFT_GUARDED_BY(growing){};
};

struct pool {
  detail::atomic<stack*> warm{nullptr};
  detail::spin_lock taking;
  stack* aged WEFT_GUARDED_BY(taking) = nullptr;  // idle since the last trim
  stack* cold WEFT_GUARDED_BY(taking) = nullptr;  // without memory
  detail::atomic<std::size_t> pooled{0};

  void put(stack* batch) noexcept {
    pooled.fetch_add(batch->batch, std::memory_order_relaxed);
    stack* head = warm.load(std::memory_order_relaxed);
    do batch->next_batch = head;
    while (!warm.compare_exchange_weak(head, batch, std::memory_order_release, std::memory_order_relaxed));
  }

  // Those that have memory first, and of these the ones that were used last.
  stack* take() noexcept {
    if (pooled.load(std::memory_order_relaxed) == 0) return nullptr;
    const detail::spin_guard lock(taking);
    stack* batch = warm.load(std::memory_order_acquire);
    while (batch != nullptr && !warm.compare_exchange_weak(batch, batch->next_batch, std::memory_order_acquire)) {
    }
    if (batch == nullptr) batch = pop(aged);
    if (batch == nullptr) batch = pop(cold);
    if (batch != nullptr) pooled.fetch_sub(batch->batch, std::memory_order_relaxed);
    return batch;
  }

  static stack* pop(stack*& list) noexcept {
    stack* const batch = list;
    if (batch != nullptr) list = batch->next_batch;
    return batch;
  }
};

constinit std::array<arena, max_arenas> arenas{};
constinit detail::atomic<std::size_t> arenas_begun{0};
constinit std::array<shard_state, max_shards> shards{};
constinit std::array<pool, stack_classes> pools{};

constinit detail::atomic<guard_mode> mode{guard_mode::install};
constinit detail::atomic<std::size_t> map_count_limit{0};
constinit detail::atomic<std::size_t> protected_limit{0};
constinit detail::atomic<std::size_t> protected_stacks{0};

constinit detail::atomic<std::size_t> bytes_reserved{0};
constinit detail::atomic<std::size_t> bytes_committed{0};
constinit detail::atomic<std::size_t> stacks_mapped{0};
constinit detail::atomic<std::size_t> stacks_trimmed{0};

std::size_t page_size() noexcept {
  static const std::size_t size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

std::size_t round_up(std::size_t bytes, std::size_t unit) noexcept { return (bytes + unit - 1) / unit * unit; }

guard_mode probe_guard_mode() noexcept {
  void* const page = mmap(nullptr, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return guard_mode::protect;
  munlock(page, page_size());  // a locked page refuses the guard, and would hide that the kernel can make one
  const bool installs = madvise(page, page_size(), advice_guard_install) == 0;
  munmap(page, page_size());
  return installs ? guard_mode::install : guard_mode::protect;
}

std::size_t read_map_count_limit() noexcept {
  constexpr std::size_t kernel_default = 65530;
  const int file = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
  if (file < 0) return kernel_default;
  std::array<char, 32> text{};
  const ssize_t length = read(file, text.data(), text.size() - 1);
  close(file);
  const std::size_t value = length > 0 ? std::strtoull(text.data(), nullptr, 10) : 0;
  return value != 0 ? value : kernel_default;
}

// What the rest of the program may map beside our stacks: its libraries, its threads, malloc's large blocks.
std::size_t maps_left_to_others(std::size_t limit) noexcept {
  return std::min(std::max<std::size_t>(1024, limit / 32), limit / 2);
}

// An address space that is limited is not ours alone: a reservation takes a small part of it, and the next is made when
// that is full.
std::size_t reservation_wanted() noexcept {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    return std::min<std::size_t>(reservation_size, limit.rlim_cur / 32);
  return reservation_size;
}

struct arena_layout {
  std::size_t slots;
  std::size_t descriptors;  // offsets
  std::size_t views;
  std::size_t base;
  std::size_t total;

  static arena_layout of(std::size_t bytes, std::size_t size) noexcept {
    const std::size_t page = page_size();
    const std::size_t slot = size + stack_guard_size;
    const std::size_t fixed = 4 * page;  // two gaps, and two tables rounded up
    const std::size_t each = slot + sizeof(stack) + sizeof(sanitizer_context);
    const std::size_t slots = std::max<std::size_t>(1, (bytes - std::min(bytes, fixed)) / each);
    const std::size_t views = page + round_up(slots * sizeof(stack), page);
    const std::size_t base = views + round_up(slots * sizeof(sanitizer_context), page) + page;
    return {.slots = slots, .descriptors = page, .views = views, .base = base, .total = base + slots * slot};
  }
};

// Wants shard_state::growing, since it maps memory. nullptr with errno if there is no address space.
arena* reserve_arena(std::size_t size) noexcept {
  std::size_t bytes = reservation_wanted();
  arena_layout layout{};
  void* memory = MAP_FAILED;
  for (;; bytes /= 2) {
    layout = arena_layout::of(bytes, size);
    memory = os::reserve_memory(layout.total);
    if (memory != MAP_FAILED) break;
    if (layout.slots == 1) {
      errno = ENOMEM;  // EAGAIN, from a limit on locked memory, would read as the limit on guards
      return nullptr;
    }
  }

  const std::size_t index = arenas_begun.fetch_add(1, std::memory_order_relaxed);
  if (index >= max_arenas) {
    arenas_begun.store(max_arenas, std::memory_order_relaxed);
    munmap(memory, layout.total);
    errno = ENOMEM;
    return nullptr;
  }
  // A huge page under one touched page makes a parked fiber cost 2 MiB. EINVAL: a kernel without huge pages.
  madvise(memory, layout.total, MADV_NOHUGEPAGE);

  arena& made = arenas[index];
  made.base = static_cast<char*>(memory) + layout.base;
  made.descriptors = reinterpret_cast<stack*>(static_cast<char*>(memory) + layout.descriptors);
  made.views = reinterpret_cast<sanitizer_context*>(static_cast<char*>(memory) + layout.views);
  made.size = size;
  made.slots = layout.slots;
  bytes_reserved.fetch_add(layout.total, std::memory_order_relaxed);
  made.end.store(made.base + layout.slots * made.stride(), std::memory_order_release);
  return &made;
}

// All of it: one slot or one step alone would split the mapping.
void unlock(const arena& locked) noexcept {
  munlock(locked.base, static_cast<std::size_t>(locked.end.load(std::memory_order_acquire) - locked.base));
}

// Page by page around [first, first + count): its neighbours may be open already.
template <class T>
bool open_table(T* first, std::size_t count) noexcept {
  const std::size_t page = page_size();
  const std::size_t before = reinterpret_cast<std::uintptr_t>(first) % page;
  char* const from = reinterpret_cast<char*>(first) - before;
  return os::open_memory(from, round_up(before + count * sizeof(T), page)) == 0;
}

// Wants shard_state::growing.
bool open_step(arena& from) noexcept {
  const std::size_t count = std::min(std::max<std::size_t>(1, step_size / from.stride()), from.slots - from.opened);
  if (!open_table(from.descriptors + from.opened, count) || !open_table(from.views + from.opened, count)) return false;

  // After mlockall(MCL_FUTURE) opening would fill the stacks with memory, and locked pages refuse guards.
  unlock(from);
  // In protect mode each stack is opened by itself and what stays closed below it is the guard.
  if (mode.load(std::memory_order_relaxed) == guard_mode::install) {
    if (os::open_memory(from.slot(from.opened), count * from.stride()) != 0) return false;
    bytes_committed.fetch_add(count * from.stride(), std::memory_order_relaxed);
  }
  from.opened += count;
  return true;
}

// Wants shard_state::growing.
stack* next_slot(arena& from) noexcept {
  const std::size_t index = from.used.load(std::memory_order_relaxed);
  if (index == from.opened && !open_step(from)) return nullptr;
  char* const lo = from.slot(index) + stack_guard_size;
  sanitizer_context* const view = from.views + index;
  stack* const made = new (from.descriptors + index) stack{.lo = lo,
                                                           .top = lo + from.size - index % colours * colour_step,
                                                           .size = static_cast<std::uint32_t>(from.size),
                                                           .batch = 0,
                                                           .link = nullptr,
                                                           .next_batch = nullptr,
                                                           .owner = nullptr,
                                                           .runner = nullptr,
                                                           .view = view};
  if (__asan_unpoison_memory_region != nullptr) new (view) sanitizer_context{.bottom = lo, .size = from.size};
  from.used.store(index + 1, std::memory_order_release);
  return made;
}

const arena* arena_of(const void* address) noexcept {
  const char* const wanted = static_cast<const char*>(address);
  const std::size_t count = std::min(arenas_begun.load(std::memory_order_relaxed), max_arenas);
  for (std::size_t i = 0; i < count; ++i) {
    const char* const end = arenas[i].end.load(std::memory_order_acquire);
    if (end != nullptr && arenas[i].base <= wanted && wanted < end) return &arenas[i];
  }
  return nullptr;
}

bool install_guard(const stack& made) noexcept {
  char* const guard = made.lo - stack_guard_size;
  if (os::advise_memory(guard, stack_guard_size, advice_guard_install) == 0) return true;
  if (errno != EINVAL) return false;
  // Locked since it was opened.
  if (const arena* const home = arena_of(guard)) unlock(*home);
  if (os::advise_memory(guard, stack_guard_size, advice_guard_install) == 0) return true;
  return mprotect(guard, stack_guard_size, PROT_NONE) == 0;
}

bool open_protected(const stack& made) noexcept {
  if (protected_stacks.fetch_add(1, std::memory_order_relaxed) >= protected_limit.load(std::memory_order_relaxed)) {
    errno = EAGAIN;
  } else if (os::open_memory(made.lo, made.size) == 0) {
    bytes_committed.fetch_add(made.size, std::memory_order_relaxed);
    return true;
  }
  protected_stacks.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

stack* map_stack(std::size_t index, shard_state& home) noexcept {
  stack* made = nullptr;
  {
    const sleeping_guard lock(home.growing);
    stack*& retry = home.unguarded[index];
    arena*& current = home.current[index];
    if (retry != nullptr) {
      made = retry;
      retry = made->link;
    } else {
      if (current == nullptr || current->used.load(std::memory_order_relaxed) == current->slots) {
        arena* const fresh = reserve_arena(stack_class_size(index));
        if (fresh == nullptr) return nullptr;
        current = fresh;
      }
      made = next_slot(*current);
      if (made == nullptr) return nullptr;
    }
  }
  const bool guarded = mode.load(std::memory_order_relaxed) == guard_mode::install ? install_guard(*made)  //
                                                                                   : open_protected(*made);
  if (!guarded) {
    const int reason = errno;
    const sleeping_guard lock(home.growing);
    made->link = home.unguarded[index];
    home.unguarded[index] = made;
    errno = reason;
    return nullptr;
  }
  // What only a parked fiber refers to is not a leak. Without the guard, which the leak checker cannot read.
  if (__lsan_register_root_region != nullptr) __lsan_register_root_region(made->lo, made->size);
  stacks_mapped.fetch_add(1, std::memory_order_relaxed);
  return made;
}

// Collects stacks and returns their memory in one call for many: each call interrupts all CPUs that run this process.
class page_returner {
 public:
  void add(const stack& idle) noexcept {
    if (count_ == ranges_.size()) flush();
    ranges_[count_++] = {idle.lo, idle.size};
    total_ += idle.size;
  }

  void flush() noexcept {
    if (count_ == 0) return;
    const long done = syscall(SYS_process_madvise, this_process_pidfd, ranges_.data(), count_, MADV_DONTNEED, 0);
    // Refused by kernels that cannot address oneself so, and cut short beyond 2 GiB.
    if (done < 0 || static_cast<std::size_t>(done) != total_) {
      for (std::size_t i = 0; i < count_; ++i) madvise(ranges_[i].iov_base, ranges_[i].iov_len, MADV_DONTNEED);
    }
    count_ = 0;
    total_ = 0;
  }

 private:
  std::array<iovec, 256> ranges_;
  std::size_t count_ = 0;
  std::size_t total_ = 0;
};

std::size_t trim_pool(pool& from, std::size_t most) noexcept {
  if (from.pooled.load(std::memory_order_relaxed) == 0) return 0;
  stack* taken = nullptr;
  std::size_t count = 0;
  {
    const detail::spin_guard lock(from.taking);
    while (count < most && from.aged != nullptr) {
      stack* const batch = pool::pop(from.aged);
      batch->next_batch = taken;
      taken = batch;
      count += batch->batch;
    }
    if (from.aged == nullptr) from.aged = from.warm.exchange(nullptr, std::memory_order_acquire);
    from.pooled.fetch_sub(count, std::memory_order_relaxed);
  }
  if (taken == nullptr) return 0;

  page_returner returner;
  stack* last = taken;
  for (stack* batch = taken; batch != nullptr; last = batch, batch = batch->next_batch)
    for (stack* s = batch; s != nullptr; s = s->link) {
      s->runner = nullptr;
      returner.add(*s);
    }
  returner.flush();

  const detail::spin_guard lock(from.taking);
  last->next_batch = from.cold;
  from.cold = taken;
  from.pooled.fetch_add(count, std::memory_order_relaxed);
  return count;
}

}  // namespace

void release_stack(stack* s) noexcept {
  forget_frames(s);
  s->owner = nullptr;
  s->link = nullptr;
  s->batch = 1;
  pools[size_class(s->size)].put(s);
}

std::size_t stack_class(std::size_t size) noexcept {
  return size_class(size != 0 ? size : default_stack_size.load(std::memory_order_relaxed));
}

std::size_t pooled_stacks(std::size_t index) noexcept { return pools[index].pooled.load(std::memory_order_relaxed); }

void stack_cache::put(stack* s) noexcept {
  if (s->size != held_size_) [[unlikely]] {
    if (s->size != default_stack_size.load(std::memory_order_relaxed)) {
      release_stack(s);
      return;
    }
    drain();
    held_size_ = s->size;
  }
  forget_frames(s);
  s->owner = nullptr;
  if (loaded_.count == magazine_size) [[unlikely]] {
    if (previous_.head != nullptr) {
      count(-static_cast<std::ptrdiff_t>(previous_.count));
      previous_.head->batch = static_cast<std::uint32_t>(previous_.count);
      pools[size_class(held_size_)].put(previous_.head);
    }
    previous_ = loaded_;
    loaded_ = {};
  }
  s->link = loaded_.head;
  loaded_.head = s;
  ++loaded_.count;
  count(1);
}

void stack_cache::drain() noexcept {
  for (magazine* const each : {&loaded_, &previous_}) {
    if (each->head == nullptr) continue;
    each->head->batch = static_cast<std::uint32_t>(each->count);
    pools[size_class(held_size_)].put(each->head);
    *each = {};
  }
  count_.store(0, std::memory_order_relaxed);
}

stack* stack_cache::refill() noexcept {
  if (held_size_ != default_stack_size.load(std::memory_order_relaxed)) drain();
  if (previous_.head == nullptr) return nullptr;
  std::swap(loaded_, previous_);
  return get();
}

// Wants an empty cache: `get` has just said so.
void stack_cache::load(stack* batch) noexcept {
  held_size_ = batch->size;
  loaded_ = {batch, batch->batch};
  count(static_cast<std::ptrdiff_t>(batch->batch));
}

void init_stacks(std::size_t default_size) noexcept {
  static const guard_mode probed = probe_guard_mode();
  mode.store(probed, std::memory_order_relaxed);
  if (probed == guard_mode::protect) {
    const std::size_t maps = read_map_count_limit();
    map_count_limit.store(maps, std::memory_order_relaxed);
    protected_limit.store((maps - maps_left_to_others(maps)) / 2, std::memory_order_relaxed);
  }
  default_stack_size.store(stack_class_size(size_class(default_size)), std::memory_order_relaxed);
}

stack* bind_stack(stack_cache& cache, std::size_t size, unsigned shard) noexcept {
  const std::size_t usual_size = default_stack_size.load(std::memory_order_relaxed);
  const std::size_t index = size_class(size != 0 ? size : usual_size);
  if (stack_class_size(index) == usual_size) {
    if (stack* const s = cache.get()) return s;
    if (stack* const batch = pools[index].take()) {
      cache.load(batch);
      return cache.get();
    }
    return map_stack(index, shards[shard % max_shards]);
  }
  stack* const s = pools[index].take();
  if (s == nullptr) return map_stack(index, shards[0]);
  // More than one if this was the default size of an earlier run.
  if (stack* const rest = s->link) {
    rest->batch = s->batch - 1;
    pools[index].put(rest);
  }
  return s;
}

void forget_frames(stack* s) noexcept {
  if (__asan_unpoison_memory_region != nullptr) __asan_unpoison_memory_region(s->lo, s->size);
}

stack* find_stack(const void* address) noexcept {
  const arena* const home = arena_of(address);
  if (home == nullptr) return nullptr;
  const auto index = static_cast<std::size_t>(static_cast<const char*>(address) - home->base) / home->stride();
  return index < home->used.load(std::memory_order_acquire) ? home->descriptors + index : nullptr;
}

bool in_guard(const void* address) noexcept {
  const stack* const s = find_stack(address);
  return s != nullptr && static_cast<const char*>(address) < s->lo;
}

std::size_t guard_limit() noexcept { return protected_limit.load(std::memory_order_relaxed); }

std::string guard_limit_message() {
  const std::size_t limit = guard_limit();
  if (limit == 0) return "fiber stacks are guarded by MADV_GUARD_INSTALL, without a limit";
  return "at most " + std::to_string(limit) +
         " fiber stacks can be guarded here: this kernel has no MADV_GUARD_INSTALL, " +
         "so each takes two mappings, and vm.max_map_count is " +
         std::to_string(map_count_limit.load(std::memory_order_relaxed)) +
         "; raise it (sysctl -w vm.max_map_count=2100000 is enough for a million fibers) or run on Linux 6.13 or newer";
}

std::size_t trim_stacks(std::size_t most) noexcept {
  std::size_t count = 0;
  for (pool& each : pools) count += trim_pool(each, most - std::min(count, most));
  stacks_trimmed.fetch_add(count, std::memory_order_relaxed);
  return count;
}

stack_stats read_stack_stats() noexcept {
  std::size_t pooled = 0;
  for (const pool& each : pools) pooled += each.pooled.load(std::memory_order_relaxed);
  const std::size_t mapped = stacks_mapped.load(std::memory_order_relaxed);
  return {.reserved = bytes_reserved.load(std::memory_order_relaxed),
          .committed = bytes_committed.load(std::memory_order_relaxed),
          .mapped = mapped,
          .in_use = mapped - std::min(mapped, pooled),
          .pooled = pooled,
          .trimmed = stacks_trimmed.load(std::memory_order_relaxed),
          .mode = mode.load(std::memory_order_relaxed)};
}

}  // namespace weft::rt
