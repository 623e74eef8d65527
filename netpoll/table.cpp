// SPDX-License-Identifier: Apache-2.0
#include "netpoll/table.hpp"

#include <new>

#include <weft/detail/atomic.hpp>

namespace weft::rt {

namespace {

constexpr std::uint32_t per_chunk = 256;
constexpr std::uint32_t max_chunks = most_descriptors / per_chunk;

// Stored by the thread that makes a chunk, before an index into it is given out.
constinit detail::atomic<descriptor*> chunks[max_chunks] = {};
constinit detail::spin_lock lock;
constinit descriptor* free_list WEFT_GUARDED_BY(lock) = nullptr;
constinit std::uint32_t made_chunks WEFT_GUARDED_BY(lock) = 0;

// A bit each. (Numbers beyond the table are let through.) Relaxed: the number itself is passed on by other means.
// Untouched pages of it cost nothing.
constinit detail::atomic<std::uint64_t> noted_numbers[most_descriptors / 64]{};

constexpr std::uint64_t bit_of(int fd) noexcept { return std::uint64_t{1} << (fd % 64); }

descriptor* pop_free() noexcept {
  detail::spin_guard guard(lock);
  descriptor* d = free_list;
  if (d != nullptr) free_list = d->next_free;
  return d;
}

void add_chunk() {
  auto* chunk = new descriptor[per_chunk];
  bool full = false;
  {
    detail::spin_guard guard(lock);
    full = made_chunks == max_chunks;
    if (!full) {
      const std::uint32_t first = made_chunks * per_chunk;
      chunks[made_chunks++].store(chunk, std::memory_order_release);  // pairs with the acquire in descriptor_at
      for (std::uint32_t i = per_chunk; i-- > 0;) {
        chunk[i].index = first + i + 1;
        chunk[i].next_free = free_list;
        free_list = &chunk[i];
      }
    }
  }
  if (full) {
    delete[] chunk;
    throw std::bad_alloc();
  }
}

}  // namespace

descriptor* take_descriptor() {
  for (;;) {
    if (descriptor* d = pop_free()) return d;
    add_chunk();
  }
}

void give_back_descriptor(descriptor* d) noexcept {
  d->retire();
  detail::spin_guard guard(lock);
  d->next_free = free_list;
  free_list = d;
}

bool note_number(int fd) noexcept {
  if (static_cast<std::uint32_t>(fd) >= most_descriptors) return true;
  return (noted_numbers[fd / 64].fetch_or(bit_of(fd), std::memory_order_relaxed) & bit_of(fd)) == 0;
}

void forget_number(int fd) noexcept {
  if (static_cast<std::uint32_t>(fd) >= most_descriptors) return;
  noted_numbers[fd / 64].fetch_and(~bit_of(fd), std::memory_order_relaxed);
}

descriptor& descriptor_at(std::uint32_t index) noexcept {
  return chunks[(index - 1) / per_chunk].load(std::memory_order_acquire)[(index - 1) % per_chunk];
}

}  // namespace weft::rt
