// SPDX-License-Identifier: Apache-2.0
// A socket between socket(2) and the descriptor that it becomes: whatever goes wrong in between, what a function of the
// program throws included, it is closed.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "netpoll/address.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/failure.hpp"
#include "netpoll/open.hpp"
#include "netpoll/os.hpp"

namespace weft::rt {

class raw_socket {
 public:
  /// `type` as SOCK_STREAM. If none can be had, `why` says so.
  raw_socket(int family, int type, failure& why) noexcept : fd_(socket_now(family, type)) {
    if (fd_ < 0) why.error = -fd_;
  }
  ~raw_socket() {
    if (fd_ >= 0) os::close(fd_);
  }
  raw_socket(const raw_socket&) = delete;
  raw_socket& operator=(const raw_socket&) = delete;

  int fd() const noexcept { return fd_; }

  /// Returns true if `result`, of a call on it, is no error; else sets `why`.
  static bool succeeded(int result, failure& why) noexcept {
    if (result < 0) why.error = -result;
    return result >= 0;
  }

  /// As open_descriptor. The socket is given up.
  descriptor* open(file_kind kind, bool short_reads_tell, failure& why) noexcept {
    descriptor* const d = open_descriptor(std::exchange(fd_, -1), short_reads_tell, why.error);
    if (d != nullptr) d->kind = kind;
    return d;
  }

 private:
  int fd_;
};

/// Returns what `open(endpoint, why)` returns for the first address that was found. If that is nullptr, the next one is
/// tried only where the family is not to be had: an address in use is an error, and no reason to serve another family
/// than was asked for. If none can be opened, `at` says why.
template <class Open>
descriptor* open_first(lookup& at, Open open) {
  if (at.error) return nullptr;
  for (const net::endpoint& each : at.found) {
    failure why;
    if (descriptor* const d = open(each, why)) {
      at.error.clear();
      return d;
    }
    const bool family_is_missing = why.error == EAFNOSUPPORT || why.error == EADDRNOTAVAIL;
    if (!family_is_missing || !at.error) {
      at.error = to_code(why);
      at.detail = each.to_string();
    }
    if (!family_is_missing) break;
  }
  return nullptr;
}

}  // namespace weft::rt
