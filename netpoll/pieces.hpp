// SPDX-License-Identifier: Apache-2.0
// Room for the pieces of one system call: as many as the kernel takes, if there are so many; on the stack only a few,
// which may be a small one.
#pragma once

#include <limits.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

namespace weft::rt {

class pieces_of_a_call {
 public:
  explicit pieces_of_a_call(std::size_t wanted) noexcept {
    if (wanted > few) many_.reset(new (std::nothrow) iovec[std::min(wanted, most)]);
    if (many_ != nullptr) room_ = std::min(wanted, most);
  }
  iovec* get() noexcept { return many_ != nullptr ? many_.get() : few_; }
  std::size_t room() const noexcept { return room_; }

 private:
  static constexpr std::size_t few = 64, most = IOV_MAX;

  iovec few_[few];
  std::unique_ptr<iovec[]> many_;
  std::size_t room_ = few;
};

}  // namespace weft::rt
