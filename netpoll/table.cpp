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

descriptor& descriptor_at(std::uint32_t index) noexcept {
  return chunks[(index - 1) / per_chunk].load(std::memory_order_acquire)[(index - 1) % per_chunk];
}

}  // namespace weft::rt
