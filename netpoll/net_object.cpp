// SPDX-License-Identifier: Apache-2.0
#include <weft/detail/net_object.hpp>

#include "netpoll/open.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

using namespace rt;

void net_object::close() noexcept {
  if (d_ != nullptr) close_descriptor(*d_);
}

void net_object::give_back() noexcept {
  release_descriptor(d_);
  d_ = nullptr;
}

void net_object::set_read_deadline(clock::time_point when) noexcept {
  if (d_ != nullptr) d_->set_deadline(direction::read, when.time_since_epoch().count());
}

void net_object::set_write_deadline(clock::time_point when) noexcept {
  if (d_ != nullptr) d_->set_deadline(direction::write, when.time_since_epoch().count());
}

void net_object::set_deadline(clock::time_point when) noexcept {
  set_read_deadline(when);
  set_write_deadline(when);
}

// Enough for what follows on taking the number; who makes the kernel do TLS later takes it again.
constexpr std::uint32_t short_reads_in_doubt = 32;

int net_object::native_handle() noexcept {
  if (d_ == nullptr || !d_->hold()) return -1;
  d_->lent.store(true, std::memory_order_relaxed);
  d_->in_doubt.store(short_reads_in_doubt, std::memory_order_relaxed);
  const int fd = d_->fd();
  d_->drop();
  return fd;
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
